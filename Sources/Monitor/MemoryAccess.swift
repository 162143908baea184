import Applet
import Machine

/// The context's memory, for handlers, and for the owner while the context does not run.
extension ExecCtx {
  /// Copies bytes from the context's memory. For a buffer of a call, `withBuffer` gives access without a copy.
  /// - Parameters:
  ///   - address: the guest address of the first byte.
  ///   - count: bytes; a negative number throws.
  ///   - access: the access that the applet itself must have there; empty to read any of its regions.
  /// - Throws: `ExecError.badRange` if a byte is outside all regions, or in a region without that access.
  public func readMemory(at address: UInt64, count: Int, for access: Access = []) throws(ExecError) -> [UInt8] {
    let size = UInt64(bitPattern: Int64(count))
    guard count >= 0, let range = GuestRange(start: address, count: size) else {
      throw .badRange(call: a0, address: address, count: size, .outside)
    }
    do { return try memory.read(range, for: access) } catch {
      throw .badRange(call: a0, address: address, count: size, error == .access ? .access : .outside)
    }
  }

  /// The 32 bits at an address, or the first 16, in the low half, where memory ends after a compressed instruction; nil where the
  /// guest may not execute.
  /// - Parameter physical: gives the address in memory of a virtual one.
  func instruction(at address: UInt64, physical: (UInt64) -> UInt64? = { $0 }) -> UInt32? {
    func half(_ address: UInt64) -> UInt32? {
      guard let place = physical(address), let range = GuestRange(start: place, count: 2) else { return nil }
      return try? memory.withBytes(range, for: .execute) { UInt32($0.loadUnaligned(as: UInt16.self)) }
    }
    return half(address).map { $0 | (half(address &+ 2) ?? 0) << 16 }
  }

  /// Copies bytes into the memory of the context and its shadows, including code and other read-only regions.
  /// - Throws: `ExecError.badRange` if a byte is outside all regions; nothing is written then.
  public func writeMemory(at address: UInt64, _ bytes: [UInt8]) throws(ExecError) {
    do { try guest.memory.write(bytes, at: address) } catch {
      throw .badRange(call: a0, address: address, count: UInt64(bytes.count), .outside)
    }
    guard let range = GuestRange(start: address, count: UInt64(bytes.count)) else { return }
    if let lockstep = applet?.lockstep { bytes.withUnsafeBytes { lockstep.copyOutput(range, $0) } }
    for guest in guests { guest.cleanForExecution(range.start..<range.end) }
  }
}
