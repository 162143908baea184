import Machine
import AppletABI
import CLinux
import Platform

/// Call 3: random bytes from the host's kernel.
func getrandom(_ context: ExecCtx) throws(ExecError) {
  let result = try context.withBuffer(at: context.a1, count: context.a2, for: .write) { buffer in
    Result { () throws(ExecError) in try fill(buffer, context) }
  }
  try result.get()
}

private func fill(_ buffer: UnsafeMutableRawBufferPointer, _ context: ExecCtx) throws(ExecError) {
  var filled = 0
  while filled < buffer.count {
    // In pieces, so that a stop does not wait for a gigabyte.
    if filled > 0 { try context.checkStopsInCall() }
    let result = linux_getrandom(buffer.baseAddress! + filled, min(buffer.count - filled, 65536))
    if result == -Int(EINTR) { continue }
    do { filled += try checked(result) } catch { throw .host(error) }
  }
}
