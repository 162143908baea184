import AppletABI
import CLinux
import Machine
import Platform

/// Call 0x101: reads from standard input; waits until there is data, or the input has ended.
@inline(never)
func read(_ context: ExecCtx) throws(ExecError) {
  // Write pending output before waiting: it may be a prompt.
  do { try context.flush() } catch {
    context.repeatCall()
    throw error
  }
  try context.checkBuffer(at: context.a1, count: context.a2, for: .write)
  guard context.a2 > 0 else { return context.ret(UInt64(0)) }
  while true {
    _ = try context.wait(for: context.input)
    let result = try context.readInput(at: context.a1, count: context.a2)
    if result >= 0 { return context.ret(UInt64(result)) }
    // Another reader took the data, or a signal arrived.
    if result == -Int(EAGAIN) || result == -Int(EINTR) { continue }
    throw .input(Errno(Int32(truncatingIfNeeded: -result)))
  }
}

extension ExecCtx {
  /// Reads available input.
  /// - Returns: the number of bytes, 0 at the end of input, or a negative errno value: EAGAIN if another CPU has taken
  ///   the data.
  /// - Throws: `ExecError.badRange`.
  func readInput(at address: UInt64, count: UInt64) throws(ExecError) -> Int {
    // The same input may have woken several CPUs.
    let isShared = guest.cpus.count > 1
    return try fill(at: address, count: count, turn: { $0.reading }) { buffer in
      if isShared, !linux_can_read(input) { return -Int(EAGAIN) }
      return linux_read(input, buffer.baseAddress, buffer.count)
    }
  }
}
