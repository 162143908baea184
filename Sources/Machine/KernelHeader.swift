/// Why 64 bytes are not the header of a supported kernel.
public enum KernelHeaderError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The magic number of neither architecture is present.
  case notKernel
  /// arm64: a kernel for big-endian CPUs.
  case bigEndian
  /// arm64: a kernel before Linux 3.17, whose header has no size.
  case noSize

  /// The error, in words that follow the name of the file.
  public var description: String {
    switch self {
    case .notKernel: "not a Linux kernel for ARM64 or RISC-V"
    case .bigEndian: "a big-endian kernel"
    case .noSize: "a kernel without its size in the header"
    }
  }
}

/// The first 64 bytes of a Linux kernel that is started by its boot protocol (Documentation/arch/arm64/booting.rst,
/// Documentation/arch/riscv/boot-image-header.rst).
public struct KernelHeader: Equatable, Sendable {
  /// The architecture of the kernel.
  public let architecture: Architecture
  /// Offset of the image from a 2 MiB boundary, or on riscv64 from the start of memory, in bytes.
  public let textOffset: UInt64
  /// Memory that the kernel uses from the image's start, in bytes; more than the file has.
  public let imageSize: UInt64
  /// arm64: the kernel's page size, in bytes; nil if not specified.
  public let pageSize: UInt64?

  /// Minimum size of the file, in bytes; 0 if not specified.
  public let fileSize: UInt64

  /// Size of the header, in bytes.
  public static let size = 64

  /// - Parameter bytes: the first bytes of the kernel: at least 64, and more to include its EFI headers.
  public init(_ bytes: UnsafeRawBufferPointer) throws(KernelHeaderError) {
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

  /// The end of the last section of an EFI executable (PE format, "COFF File Header" and "Section Table"), as a kernel with an EFI
  /// stub is one; 0 for other files.
  private static func sectionsEnd(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    func word(_ offset: Int) -> Int? {
      guard offset >= 0, offset <= bytes.count - 4 else { return nil }
      return Int(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
    // "MZ", and the offset of "PE"; after it the number of sections, and the size of the header before the section table.
    guard let start = word(0x3c), bytes[0] == UInt8(ascii: "M"), bytes[1] == UInt8(ascii: "Z"), word(start) == 0x4550,
      let sections = word(start + 4).map({ $0 >> 16 }), let rest = word(start + 20).map({ $0 & 0xffff })
    else { return 0 }
    var end = 0
    for section in 0..<sections {
      let entry = start + 24 + rest + section * 40
      guard let size = word(entry + 16), let offset = word(entry + 20) else { return 0 }
      // A section without bytes in the file may have any offset.
      if size > 0 { end = max(end, offset + size) }
    }
    return UInt64(end)
  }
}
