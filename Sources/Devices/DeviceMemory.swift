import Applet
import Platform

/// A guest's memory as its devices reach it: one run of guest-physical addresses. Whoever gives an address gets bytes that
/// lie inside, or nothing.
///
/// The guest's processors change the bytes at any time: what decides something is copied before it is looked at.
public final class DeviceMemory: @unchecked Sendable {
  /// Guest-physical addresses of the memory.
  public let range: Range<UInt64>
  /// What lies behind it; the guest's processors share it.
  public let shared: SharedMemory

  /// Maps zeroed memory; none of it exists before it is touched.
  /// - Parameters:
  ///   - address: guest-physical address of the first byte.
  ///   - count: bytes, greater than zero; a multiple of the host's page size.
  ///   - alignment: a power of two that the host's address is a multiple of as well as the guest's, so that the kernel can
  ///     map both by blocks of that size.
  /// - Throws: the kernel's error, ENOMEM where there is no room.
  public convenience init(at address: UInt64, count: Int, alignment: Int = 4096, kernel: any Kernel) throws(Errno) {
    guard count > 0, !address.addingReportingOverflow(UInt64(clamping: count)).overflow else { throw .noMemory }
    self.init(at: address, try SharedMemory(count: count, alignment: alignment, kernel: kernel))
  }

  /// Memory that is mapped already, from a guest-physical address on that leaves room for all of it.
  public init(at address: UInt64, _ shared: SharedMemory) {
    self.shared = shared
    range = address..<address + UInt64(shared.bytes.count)
  }

  /// All of the memory.
  @inline(__always)
  public var bytes: UnsafeMutableRawBufferPointer { shared.bytes }

  /// The bytes at a guest-physical address, as long as this object lives.
  /// - Returns: nil unless every byte of them is in the memory.
  @inline(__always)
  public func bytes(at address: UInt64, count: UInt64) -> UnsafeMutableRawBufferPointer? {
    let size = range.upperBound - range.lowerBound
    guard address >= range.lowerBound, count <= size, address - range.lowerBound <= size - count else { return nil }
    return UnsafeMutableRawBufferPointer(rebasing: bytes[Int(address - range.lowerBound)...].prefix(Int(count)))
  }
}
