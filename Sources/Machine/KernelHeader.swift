/// The first 64 bytes of a Linux kernel that is started by its boot protocol (Documentation/arch/arm64/booting.rst,
/// Documentation/arch/riscv/boot-image-header.rst).
public struct KernelHeader: Equatable, Sendable {
  public let architecture: Architecture
  /// Bytes from a 2 MiB boundary, or on riscv64 from the memory's start, to the image.
  public let textOffset: UInt64
  /// Bytes of memory that the kernel takes from the image's start on, more than the file has.
  public let imageSize: UInt64
  /// arm64: the kernel's page size in bytes; nil where it does not say.
  public let pageSize: UInt64?

  /// Bytes of the header.
  public static let size = 64

  /// Why 64 bytes are no header that can be used.
  public enum Problem: Error, Equatable, Sendable {
    /// Neither architecture's magic number is there.
    case notKernel
    case bigEndian
    /// arm64: a kernel before Linux 3.17, which does not say its size.
    case noSize
  }

  /// - Parameter bytes: at least 64.
  public init(_ bytes: UnsafeRawBufferPointer) throws(Problem) {
    guard bytes.count >= Self.size else { throw .notKernel }
    func word(_ offset: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
    switch UInt32(truncatingIfNeeded: word(56)) {
    case 0x644d_5241: architecture = .arm64  // "ARM\x64"
    case 0x0543_5352: architecture = .riscv64  // "RSC\x05"
    default: throw .notKernel
    }
    textOffset = word(8)
    imageSize = word(16)
    let flags = word(24)
    guard flags & 1 == 0 else { throw .bigEndian }
    guard imageSize > 0 else { throw .noSize }
    let pages = flags >> 1 & 3
    pageSize = architecture == .arm64 && pages > 0 ? 1024 << (pages * 2) : nil
  }
}
