/// The format of a Linux kernel's file, from its first 64 bytes.
public enum KernelFormat: Equatable, Sendable {
  /// Not compressed: it starts with a `KernelHeader`, or is not a kernel.
  case plain
  /// Compressed with gzip (RFC 1952): offset and size of the compressed data, in bytes; nil if it extends to the file's end.
  case gzip(offset: UInt64, size: UInt64?)
  /// Compressed with a method that is not supported.
  case other(Compression)

  /// The compression method.
  public enum Compression: Equatable, Sendable {
    /// Compression methods that are recognized but not supported.
    case xz, zstd, lz4, bzip2, lzma, lzop

    /// The usual name of the program.
    public var name: StaticString {
      switch self {
      case .xz: "xz"
      case .zstd: "zstd"
      case .lz4: "lz4"
      case .bzip2: "bzip2"
      case .lzma: "lzma"
      case .lzop: "lzop"
      }
    }
  }

  /// - Parameter bytes: the file's first 64 bytes, or all if it has fewer.
  public init(_ bytes: UnsafeRawBufferPointer) {
    if Self.begins(bytes, 0, [0x1f, 0x8b, 0x08]) {
      self = .gzip(offset: 0, size: nil)
    } else if let (_, compression) = Self.signatures.first(where: { Self.begins(bytes, 0, $0.bytes) }) {
      self = .other(compression)
    } else if bytes.count >= KernelHeader.size, Self.begins(bytes, 0, "MZ"), Self.begins(bytes, 4, "zimg") {
      self.init(zboot: bytes)
    } else {
      self = .plain
    }
  }

  /// A kernel that decompresses itself, but only under UEFI (drivers/firmware/efi/libstub/zboot-header.S of Linux): "MZ", "zimg"
  /// at offset 4, the payload's offset and size at 8 and 12, the name of the compression at 24.
  private init(zboot bytes: UnsafeRawBufferPointer) {
    func word(_ offset: Int) -> UInt64 { UInt64(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    if Self.begins(bytes, 24, "gzip\0") {
      self = .gzip(offset: word(8), size: word(12))
    } else {
      self = Self.types.first { Self.begins(bytes, 24, $0.type) }.map { .other($0.compression) } ?? .plain
    }
  }

  private static func begins(_ bytes: UnsafeRawBufferPointer, _ offset: Int, _ prefix: [UInt8]) -> Bool {
    bytes.count >= offset + prefix.count && zip(bytes[offset...], prefix).allSatisfy { $0 == $1 }
  }

  private static func begins(_ bytes: UnsafeRawBufferPointer, _ offset: Int, _ prefix: StaticString) -> Bool {
    begins(bytes, offset, Array(UnsafeBufferPointer(start: prefix.utf8Start, count: prefix.utf8CodeUnitCount)))
  }

  private static var signatures: [(bytes: [UInt8], compression: Compression)] {
    [
      ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], .xz), ([0x28, 0xb5, 0x2f, 0xfd], .zstd),
      ([0x02, 0x21, 0x4c, 0x18], .lz4), ([0x04, 0x22, 0x4d, 0x18], .lz4), ([0x42, 0x5a, 0x68], .bzip2),
      ([0x5d, 0x00, 0x00], .lzma), ([0x89, 0x4c, 0x5a, 0x4f], .lzop),
    ]
  }

  private static var types: [(type: StaticString, compression: Compression)] {
    [("xz", .xz), ("zstd", .zstd), ("lz4", .lz4), ("lzma", .lzma), ("lzo", .lzop)]
  }
}
