import Machine
import Platform

/// Call 1: writes one byte to the console.
@inline(never)
func putCharacter(_ context: ExecCtx) throws(ExecError) {
  // Read a1 now: another CPU's call may be in the frame after a wait for the console's reader.
  let byte = UInt8(truncatingIfNeeded: context.a1)
  try context.emit { console, mustStop throws(Errno) in try console.put(byte, mustStop: mustStop) }
}

/// Call 0x100: writes bytes to the console.
@inline(never)
func write(_ context: ExecCtx) throws(ExecError) {
  let count = context.a2
  let result = try context.send(at: context.a1, count: count)
  context.ret(count)
  try result.get()
}

extension ExecCtx {
  /// Sends bytes of guest memory to the console.
  /// - Returns: the error that kept them from being sent.
  /// - Throws: the errors of `withBuffer`.
  @inline(__always)
  func send(at address: UInt64, count: UInt64) throws(ExecError) -> Result<Void, ExecError> {
    try withBuffer(at: address, count: count, for: .read) { bytes in
      Result { () throws(ExecError) in
        try emit { console, mustStop throws(Errno) in
          try console.put(UnsafeRawBufferPointer(bytes), mustStop: mustStop)
        }
      }
    }
  }

  /// Sends output to the console. If its reader is slow, a stop or a limit ends the wait. One CPU at a time sends.
  @inline(__always)
  func emit(_ body: (Console, Console.MustStop) throws(Errno) -> Void) throws(ExecError) {
    if let (program, cpu) = caller { return try emit(program, cpu, body) }
    var ending: ExecError?
    do throws(Errno) {
      try body(console) { isStopped(&ending) { () throws(ExecError) in try checkStops() } }
    } catch { throw ending ?? .output(error) }
  }

  @inline(never)
  private func emit(
    _ program: ProgramMode, _ cpu: CPU, _ body: (Console, Console.MustStop) throws(Errno) -> Void
  ) throws(ExecError) {
    try unlocked(program, cpu, program.sending) { () throws(ExecError) in
      var ending: ExecError?
      do throws(Errno) {
        try body(console) { isStopped(&ending) { () throws(ExecError) in try checkStops(on: cpu, program) } }
      } catch { throw ending ?? .output(error) }
    }
  }

  /// - Parameter ending: the stop or limit that `check` throws.
  @inline(__always)
  private func isStopped(_ ending: inout ExecError?, _ check: () throws(ExecError) -> Void) -> Bool {
    do throws(ExecError) { try check() } catch {
      ending = error
      return true
    }
    return false
  }
}
