import Platform

/// A guest's memory for its devices: one range of guest-physical addresses. An access returns bytes within it, or nothing.
///
/// The guest's CPUs may change the bytes at any time: a value must be copied before it is checked.
public final class DeviceMemory: Sendable {
  /// Guest-physical addresses of the memory.
  public let range: Range<UInt64>
  /// The memory in this process, shared with the guest's CPUs.
  public let shared: SharedMemory

  /// Maps zeroed memory, which is allocated when it is touched.
  /// - Parameters:
  ///   - address: guest-physical address of the first byte.
  ///   - count: size in bytes, greater than zero; a multiple of the host's page size.
  ///   - alignment: a power of two that divides the addresses in the host and in the guest, so that the kernel can map both in
  ///     blocks of that size.
  /// - Throws: the kernel's error, ENOMEM if there is not enough memory.
  public convenience init(at address: UInt64, count: Int, alignment: Int = 4096, kernel: any Kernel) throws(Errno) {
    guard count > 0, !address.addingReportingOverflow(UInt64(clamping: count)).overflow else { throw .noMemory }
    self.init(at: address, try SharedMemory(count: count, alignment: alignment, kernel: kernel))
  }

  /// Memory that is already mapped, at a guest-physical address at which it does not wrap around.
  public init(at address: UInt64, _ shared: SharedMemory) {
    self.shared = shared
    range = address..<address + UInt64(shared.bytes.count)
  }

  /// All of the memory.
  @inline(__always)
  public var bytes: UnsafeMutableRawBufferPointer { shared.bytes }

  /// The bytes at a guest-physical address, valid while this object exists.
  /// - Returns: nil unless all bytes are in the memory.
  @inline(__always)
  public func bytes(at address: UInt64, count: UInt64) -> UnsafeMutableRawBufferPointer? {
    let size = range.upperBound - range.lowerBound
    guard address >= range.lowerBound, count <= size, address - range.lowerBound <= size - count else { return nil }
    return UnsafeMutableRawBufferPointer(rebasing: bytes[Int(address - range.lowerBound)...].prefix(Int(count)))
  }
}
