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

  /// Bytes that its file has at least; 0 where it does not say.
  public let fileSize: UInt64

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

  /// - Parameter bytes: the kernel's first: at least 64, and more for its EFI headers.
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
    fileSize = Self.sectionsEnd(bytes)
  }

  /// Where the last section of an EFI executable ends (PE format, "COFF File Header" and "Section Table"), which a kernel with
  /// an EFI stub is as well; 0 for anything else.
  private static func sectionsEnd(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    func word(_ offset: Int) -> Int? {
      guard offset >= 0, offset <= bytes.count - 4 else { return nil }
      return Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    // "MZ", and where "PE" is; behind it the number of sections, and the size of the header before their table.
    guard let start = word(0x3c), bytes[0] == 0x4d, bytes[1] == 0x5a, word(start) == 0x4550,
      let sections = word(start + 4).map({ $0 >> 16 }), let rest = word(start + 20).map({ $0 & 0xffff })
    else { return 0 }
    var end = 0
    for section in 0..<sections {
      let entry = start + 24 + rest + section * 40
      guard let size = word(entry + 16), let offset = word(entry + 20) else { return 0 }
      end = max(end, offset + size)
    }
    return UInt64(end)
  }
}
