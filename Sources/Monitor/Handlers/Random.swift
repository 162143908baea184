import Machine
import AppletABI
import CLinux
import Platform

/// Call 3: random bytes from the host's kernel.
func getrandom(_ context: ExecCtx) throws(ExecError) {
  let failure = try context.withBuffer(at: context.a1, count: context.a2, for: .write) { buffer -> Errno? in
    var filled = 0
    while filled < buffer.count {
      // Requests of at most 64 KiB, so that a stop does not wait for a gigabyte.
      let result = linux_getrandom(buffer.baseAddress! + filled, min(buffer.count - filled, 65536))
      if result == -Int(EINTR) { continue }
      if let errno = Errno(result: result) { return errno }
      filled += result
    }
    return nil
  }
  if let failure { throw .host(failure) }
}
