import Applet
import Machine

/// The context's memory, for handlers and whoever else looks at a context that does not run.
extension ExecCtx {
  /// Copies bytes out of the context's memory; of what an applet hands over in a call, `withBuffer` gives the bytes themselves.
  /// - Parameters:
  ///   - address: the first byte's, as the applet has it.
  ///   - access: what the applet itself must be allowed there; nothing to read whatever is its own.
  /// - Throws: `ExecError.badRange` where some byte is no region's, or a region's without that access.
  public func readMemory(at address: UInt64, count: Int, for access: Access = []) throws(ExecError) -> [UInt8] {
    let count = UInt64(clamping: count)
    guard let range = GuestRange(start: address, count: count) else {
      throw .badRange(call: a0, address: address, count: count, .outside)
    }
    do { return try memory.read(range, for: access) } catch {
      throw .badRange(call: a0, address: address, count: count, error == .access ? .access : .outside)
    }
  }

  /// Copies bytes into the context's memory, and its shadows', whatever the applet itself may do there; to code too.
  /// - Throws: `ExecError.badRange` where some byte of it is no region's; nothing is written then.
  public func writeMemory(at address: UInt64, _ bytes: [UInt8]) throws(ExecError) {
    do { try memory.write(bytes, at: address) } catch {
      throw .badRange(call: a0, address: address, count: UInt64(bytes.count), .outside)
    }
    guard let range = GuestRange(start: address, count: UInt64(bytes.count)) else { return }
    lockstep?.copyOutput(range)
    for copy in [self] + shadows { copy.cleanForExecution(range.start..<range.end) }
  }
}
