import Machine
import AppletABI
import CLinux
import Platform

/// Call 0x101: bytes from standard input; waits until there are some, or it has ended.
func read(_ context: ExecCtx) throws(ExecError) {
  // What was written so far is seen before its reader waits: a prompt.
  do { try context.flush() } catch {
    context.repeatCall()
    throw error
  }
  try context.withBuffer(at: context.a1, count: context.a2, for: .write) { _ in }
  guard context.a2 > 0 else { return context.ret(UInt64(0)) }
  while true {
    _ = try context.wait(for: context.input)
    let result = try context.withBuffer(at: context.a1, count: context.a2, for: .write) {
      linux_read(context.input, $0.baseAddress, $0.count)
    }
    if result >= 0 { return context.ret(UInt64(result)) }
    // Somebody else took it first, or a signal came.
    if result == -Int(EAGAIN) || result == -Int(EINTR) { continue }
    throw .input(Errno(Int32(truncatingIfNeeded: -result)))
  }
}
