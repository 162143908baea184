import AppletABI
import CLinux
import Machine
import Platform

/// Call 3: returns random bytes of the host's kernel.
@inline(never)
func getrandom(_ context: ExecCtx) throws(ExecError) {
  let (address, count) = (context.a1, context.a2)
  // Check the whole buffer before the first piece is written.
  if count > ExecCtx.piece { try context.checkBuffer(at: address, count: count, for: .write) }
  var filled: UInt64 = 0
  repeat {
    // In pieces, so that a stop need not wait for a gigabyte.
    if filled > 0 { try context.checkStopsInCall() }
    let result = try context.fill(at: address &+ filled, count: min(count - filled, ExecCtx.piece)) {
      linux_getrandom($0.baseAddress, $0.count)
    }
    if result == -Int(EINTR) { continue }
    do { filled += UInt64(try checked(result)) } catch { throw .host(error) }
  } while filled < count
}
