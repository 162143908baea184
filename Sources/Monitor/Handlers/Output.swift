import Machine
import AppletABI
import Platform

/// Call 1: one byte for the console.
func putCharacter(_ context: ExecCtx) throws(ExecError) {
  // Now: another processor's call may stand there while the console's reader is waited for.
  let byte = UInt8(truncatingIfNeeded: context.a1)
  try context.emit { console, giveUp throws(Errno) in try console.put(byte, giveUp: giveUp) }
}

/// Call 0x100: bytes for the console.
func write(_ context: ExecCtx) throws(ExecError) {
  let count = context.a2
  let result = try context.withBuffer(at: context.a1, count: count, for: .read) { bytes -> Result<Void, ExecError> in
    do throws(ExecError) {
      try context.emit { console, giveUp throws(Errno) in
        try console.put(UnsafeRawBufferPointer(bytes), giveUp: giveUp)
      }
      return .success(())
    } catch { return .failure(error) }
  }
  context.ret(count)
  try result.get()
}

extension ExecCtx {
  /// Sends output to the console. Where its reader is slow, a stop or a limit ends the wait.
  @inline(__always)
  func emit(_ body: (Console, Console.GiveUp) throws(Errno) -> Void) throws(ExecError) {
    if let processors, !processors.others.isEmpty, let caller = processors.caller {
      return try emitBeside(processors, caller, body)
    }
    var ending: ExecError?
    do throws(Errno) {
      try body(console) {
        do throws(ExecError) { try checkStops() } catch {
          ending = error
          return true
        }
        return false
      }
    } catch { throw ending ?? .output(error) }
  }

  /// The same where other processors may be in the monitor: they are let in meanwhile, for a slow reader would keep them
  /// waiting, and with them whoever stops the context. One at a time sends.
  @inline(never)
  private func emitBeside(
    _ processors: Processors, _ caller: RunControl, _ body: (Console, Console.GiveUp) throws(Errno) -> Void
  ) throws(ExecError) {
    try lettingOthersIn(processors, caller) { () throws(ExecError) in
      func check() throws(ExecError) {
        processors.monitor.acquire()
        defer { processors.monitor.release() }
        processors.caller = caller
        try checkStops()
      }
      try processors.sending.take(check)
      defer { processors.sending.giveBack() }
      var ending: ExecError?
      do throws(Errno) {
        try body(console) {
          do throws(ExecError) { try check() } catch {
            ending = error
            return true
          }
          return false
        }
      } catch { throw ending ?? .output(error) }
    }
  }
}
