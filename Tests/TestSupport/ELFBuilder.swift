import Machine

/// Writes ELF files, good and bad ones: each field of the headers can be set to anything.
public struct ELFBuilder {
  /// A program header and the bytes it speaks of.
  public struct Segment {
    /// PT_LOAD.
    public var type: UInt32 = 1
    public var flags: UInt32
    public var address: UInt64
    public var content: [UInt8]
    /// p_offset; nil for where the content really is.
    public var offset: UInt64?
    /// p_filesz; nil for the content's size.
    public var fileSize: UInt64?
    /// p_memsz; nil for the content's size.
    public var memorySize: UInt64?

    public init(_ flags: UInt32, at address: UInt64, _ content: [UInt8], memorySize: UInt64? = nil) {
      self.flags = flags
      self.address = address
      self.content = content
      self.memorySize = memorySize
    }
  }

  public struct Symbol {
    public var name: String
    public var value: UInt64
    public var size: UInt64
    /// The low four bits of st_info: 0 no type, 1 object, 2 function, 3 section, 4 file.
    public var kind: UInt8 = 2
    /// st_shndx; 0 for a symbol that is not defined here.
    public var section: UInt16 = 1

    public init(_ name: String, at value: UInt64, size: UInt64 = 0) {
      self.name = name
      self.value = value
      self.size = size
    }
  }

  public var magic: [UInt8] = [0x7f, 0x45, 0x4c, 0x46]
  /// EI_CLASS: 1 for 32 bits, 2 for 64.
  public var fileClass: UInt8 = 2
  /// EI_DATA: 1 for little-endian, 2 for big-endian.
  public var data: UInt8 = 1
  /// e_type: 1 REL, 2 EXEC, 3 DYN, 4 CORE.
  public var type: UInt16 = 2
  public var machine: UInt16
  public var entry: UInt64
  /// e_phoff; nil for where the program headers really are.
  public var programHeaders: UInt64?
  public var programHeaderSize: UInt16 = 56
  /// e_phnum; nil for the true number.
  public var programHeaderCount: UInt16?
  public var segments: [Segment]
  /// Written as a symbol table with its strings, where there are any.
  public var symbols: [Symbol] = []

  public static let read: UInt32 = 4
  public static let write: UInt32 = 2
  public static let execute: UInt32 = 1

  public init(_ architecture: Architecture, entry: UInt64, segments: [Segment]) {
    machine = architecture == .arm64 ? 183 : 243
    self.entry = entry
    self.segments = segments
  }

  /// A good applet: text, constants, variables with more memory than file. Its code is `code`, and zeros behind it.
  public static func applet(_ architecture: Architecture, at base: UInt64 = 0x8000_0000, code: [UInt8] = [])
    -> ELFBuilder
  {
    ELFBuilder(
      architecture, entry: base + 0x40,
      segments: [
        Segment(read | execute, at: base, [UInt8](repeating: 0, count: 0x40) + code + [UInt8](repeating: 0, count: 64)),
        Segment(read, at: base + 0x1000, Array("constants".utf8)),
        Segment(read | write, at: base + 0x2000, Array("variables".utf8), memorySize: 0x1800),
      ])
  }

  /// The file.
  public func bytes() -> [UInt8] {
    var contents: [UInt8] = []
    var headers: [UInt8] = []
    let start = 64 + segments.count * 56
    for segment in segments {
      headers.append(segment.type)
      headers.append(segment.flags)
      headers.append(segment.offset ?? UInt64(start + contents.count))
      headers.append(segment.address)
      headers.append(segment.address)
      headers.append(segment.fileSize ?? UInt64(segment.content.count))
      headers.append(segment.memorySize ?? UInt64(segment.content.count))
      headers.append(UInt64(4096))
      contents += segment.content
    }
    let (tables, sectionOffset) = sections(from: start + contents.count)
    var file = magic + [fileClass, data, 1, 0] + [UInt8](repeating: 0, count: 8)
    file.append(type)
    file.append(machine)
    file.append(UInt32(1))
    file.append(entry)
    file.append(programHeaders ?? 64)
    file.append(UInt64(sectionOffset))
    file.append(UInt32(0))
    file.append(UInt16(64))
    file.append(programHeaderSize)
    file.append(programHeaderCount ?? UInt16(segments.count))
    file.append(UInt16(64))
    file.append(UInt16(symbols.isEmpty ? 0 : 3))
    file.append(UInt16(0))
    return file + headers + contents + tables
  }

  /// Symbols, their names, and the headers of three sections: none, symbols, names.
  private func sections(from start: Int) -> (bytes: [UInt8], headers: Int) {
    guard !symbols.isEmpty else { return ([], 0) }
    var names: [UInt8] = [0]
    var table = [UInt8](repeating: 0, count: 24)
    for symbol in symbols {
      table.append(UInt32(names.count))
      table.append(symbol.kind)
      table.append(UInt8(0))
      table.append(symbol.section)
      table.append(symbol.value)
      table.append(symbol.size)
      names += Array(symbol.name.utf8) + [0]
    }
    var headers = [UInt8](repeating: 0, count: 64)
    for (type, offset, size, link) in [
      (UInt32(2), start, table.count, UInt32(2)), (3, start + table.count, names.count, 0),
    ] {
      headers.append(UInt32(0))
      headers.append(type)
      headers.append(UInt64(0))
      headers.append(UInt64(0))
      headers.append(UInt64(offset))
      headers.append(UInt64(size))
      headers.append(link)
      headers.append(UInt32(1))
      headers.append(UInt64(8))
      headers.append(UInt64(24))
    }
    return (table + names + headers, start + table.count + names.count)
  }
}

extension [UInt8] {
  /// Appends a number, least significant byte first.
  mutating func append(_ number: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
  }
}
