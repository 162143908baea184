import CLinux

/// Memory that several contexts share, or that is added to one; initially zero.
public final class SharedMemory: @unchecked Sendable {
  private let mapping: Mapping
  /// Offset of the memory in the mapping, and size of the memory, in bytes.
  private let offset: Int
  private let count: Int

  /// - Parameters:
  ///   - count: bytes; a multiple of the host's page size, greater than zero.
  ///   - alignment: of the first byte's address in this process, a power of two. With it the kernel can map blocks of that size.
  ///   - hugePages: whether the kernel may back it with transparent huge pages.
  /// - Throws: the kernel's error: ENOMEM if there is not enough memory, EINVAL if count or alignment are invalid.
  public init(count: Int, alignment: Int = 4096, hugePages: Bool = true, kernel: any Kernel) throws(Errno) {
    guard count > 0, count % linux_page_size() == 0, alignment > 0, alignment & (alignment - 1) == 0 else {
      throw .invalid
    }
    let (size, overflow) = count.addingReportingOverflow(alignment > 4096 ? alignment : 0)
    guard !overflow else { throw .noMemory }
    mapping = try Mapping(anonymous: size, hugePages: hugePages, kernel: kernel)
    offset = -Int(bitPattern: mapping.start) & (alignment - 1)
    self.count = count
  }

  /// The bytes. Guests may change them at any time. The pointer is valid while this object exists.
  @inline(__always)
  public var bytes: UnsafeMutableRawBufferPointer {
    // The mapping is larger than the memory by the alignment, and the offset is smaller than that.
    UnsafeMutableRawBufferPointer(start: mapping.start + offset, count: count)
  }

  /// Up to `count` bytes from an offset within the memory; fewer at its end.
  @inline(__always)
  package func bytes(from start: Int, count: Int) -> UnsafeMutableRawBufferPointer {
    let all = bytes
    precondition(start >= 0 && start <= all.count && count >= 0)
    // Within the mapping, as above.
    return UnsafeMutableRawBufferPointer(start: mapping.start + offset + start, count: min(count, all.count - start))
  }

  /// Copies the contents of another memory of the same size.
  package func copyContents(of other: SharedMemory) { mapping.copyContents(of: other.mapping) }
}
