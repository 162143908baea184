import Machine
import AppletABI
import Platform

/// Call 1: one byte for the console.
func putCharacter(_ context: ExecCtx) throws(ExecError) {
  try context.emit { console, giveUp throws(Errno) in
    try console.put(UInt8(truncatingIfNeeded: context.a1), giveUp: giveUp)
  }
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
}
