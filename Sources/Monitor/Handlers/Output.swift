import Machine
import AppletABI
import Platform

/// Call 1: one byte for the console.
func putCharacter(_ context: ExecCtx) throws(ExecError) {
  do { try context.console.put(UInt8(truncatingIfNeeded: context.a1)) } catch { throw .output(error) }
}

/// Call 0x100: bytes for the console.
func write(_ context: ExecCtx) throws(ExecError) {
  let count = context.a2
  let failure = try context.withBuffer(at: context.a1, count: count, for: .read) { bytes -> Errno? in
    do throws(Errno) { try context.console.put(UnsafeRawBufferPointer(bytes)) } catch { return error }
    return nil
  }
  if let failure { throw .output(failure) }
  context.ret(count)
}
