import CLinux
import Platform

/// A guest's memory as its devices reach it: one run of guest-physical addresses. Whoever gives an address gets bytes that
/// lie inside, or nothing.
///
/// The guest's processors change the bytes at any time: what decides something is copied before it is looked at.
public final class DeviceMemory: @unchecked Sendable {
  /// Guest-physical addresses of the memory.
  public let range: Range<UInt64>
  private let mapping: Mapping
  /// Bytes of the mapping before the first of the memory.
  private let offset: Int

  /// Maps zeroed memory; none of it exists before it is touched.
  /// - Parameters:
  ///   - address: guest-physical address of the first byte.
  ///   - count: bytes, greater than zero; a multiple of the host's page size.
  ///   - alignment: a power of two that the host's address is a multiple of as well as the guest's, so that the kernel can
  ///     map both by blocks of that size.
  /// - Throws: the kernel's error, ENOMEM where there is no room.
  public init(at address: UInt64, count: Int, alignment: Int = 4096, kernel: any Kernel) throws(Errno) {
    let (end, overflow) = address.addingReportingOverflow(UInt64(clamping: count))
    let (size, sizeOverflow) = count.addingReportingOverflow(alignment)
    guard count > 0, !overflow, !sizeOverflow else { throw .noMemory }
    mapping = try Mapping(anonymous: size, kernel: kernel)
    range = address..<end
    offset = -Int(bitPattern: mapping.start) & (alignment - 1)
  }

  /// All of the memory.
  public var bytes: UnsafeMutableRawBufferPointer {
    // `size` above leaves room for the offset, which is less than the alignment.
    UnsafeMutableRawBufferPointer(start: mapping.start + offset, count: Int(range.upperBound - range.lowerBound))
  }

  /// The bytes at a guest-physical address, as long as this object lives.
  /// - Returns: nil unless every byte of them is in the memory.
  @inline(__always)
  public func bytes(at address: UInt64, count: UInt64) -> UnsafeMutableRawBufferPointer? {
    let size = range.upperBound - range.lowerBound
    guard address >= range.lowerBound, count <= size, address - range.lowerBound <= size - count else { return nil }
    return UnsafeMutableRawBufferPointer(
      start: mapping.start + offset + Int(address - range.lowerBound), count: Int(count))
  }
}
