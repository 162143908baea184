import Machine

/// Builds ELF files, valid and invalid ones: each field of the headers can have any value.
public struct ELFBuilder {
  /// A program header and the bytes to which it refers.
  public struct Segment {
    /// PT_LOAD.
    public var type: UInt32 = 1
    public var flags: UInt32
    public var address: UInt64
    public var content: [UInt8]
    /// p_offset; nil for the offset of the content.
    public var offset: UInt64?
    /// p_filesz; nil for the size of the content.
    public var fileSize: UInt64?
    /// p_memsz; nil for the size of the content.
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
  public var fileClass: UInt8
  /// EI_DATA: 1 for little-endian, 2 for big-endian.
  public var data: UInt8 = 1
  /// e_type: 1 REL, 2 EXEC, 3 DYN, 4 CORE.
  public var type: UInt16 = 2
  public var machine: UInt16
  /// e_flags.
  public var flags: UInt32 = 0
  /// Whether fields have the sizes and places of a 32-bit file.
  private let isNarrow: Bool
  public var entry: UInt64
  /// e_phoff; nil for the offset of the program headers.
  public var programHeaders: UInt64?
  public var programHeaderSize: UInt16
  /// e_phnum; nil for the number of program headers.
  public var programHeaderCount: UInt16?
  public var segments: [Segment]
  /// Written as a symbol table with its strings, unless it is empty.
  public var symbols: [Symbol] = []
  /// Addresses of sections in memory (SHF_ALLOC), numbered from 3; only written if there are symbols.
  public var sections: [Range<UInt64>] = []
  /// Contents of sections of notes (SHT_NOTE), after those in memory; written if there are symbols.
  public var noteSections: [[UInt8]] = []
  /// Bytes after the segments and before the symbols, such as debug information.
  public var padding = 0

  public static let read: UInt32 = 4
  public static let write: UInt32 = 2
  public static let execute: UInt32 = 1

  public init(_ architecture: Architecture, entry: UInt64, segments: [Segment]) {
    isNarrow = architecture == .aarch32
    fileClass = isNarrow ? 1 : 2
    machine = isNarrow ? 40 : architecture == .arm64 ? 183 : 243
    flags = isNarrow ? 0x500_0400 : 0
    programHeaderSize = isNarrow ? 32 : 56
    self.entry = entry
    self.segments = segments
  }

  /// A valid applet: text, constants, data with zeroed memory. Its code is `code`, followed by zeros.
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

  /// Adds a note in a segment of its own (PT_NOTE).
  /// - Parameter owner: with its zero byte, and whatever follows that.
  public mutating func addNote(_ owner: String, _ type: UInt32, _ value: [UInt32]) {
    var segment = Segment(Self.read, at: 0, Self.note(owner, type, value))
    segment.type = 4
    segments.append(segment)
  }

  /// The bytes of a note.
  public static func note(_ owner: String, _ type: UInt32, _ value: [UInt32]) -> [UInt8] {
    var content: [UInt8] = []
    for word in [UInt32(owner.utf8.count), UInt32(value.count * 4), type] { content.append(word) }
    content += Array(owner.utf8)
    while content.count % 4 != 0 { content.append(UInt8(0)) }
    for word in value { content.append(word) }
    return content
  }

  /// The file.
  public func bytes() -> [UInt8] {
    var contents: [UInt8] = []
    var headers: [UInt8] = []
    let start = isNarrow ? 52 + segments.count * 32 : 64 + segments.count * 56
    for segment in segments {
      headers.append(segment.type)
      if !isNarrow { headers.append(segment.flags) }
      word(segment.offset ?? UInt64(start + contents.count), &headers)
      word(segment.address, &headers)
      word(segment.address, &headers)
      word(segment.fileSize ?? UInt64(segment.content.count), &headers)
      word(segment.memorySize ?? UInt64(segment.content.count), &headers)
      if isNarrow { headers.append(segment.flags) }
      word(4096, &headers)
      contents += segment.content
    }
    contents += [UInt8](repeating: 0xaa, count: padding)
    let (tables, sectionOffset) = tables(from: start + contents.count)
    var file = magic + [fileClass, data, 1, 0] + [UInt8](repeating: 0, count: 8)
    file.append(type)
    file.append(machine)
    file.append(UInt32(1))
    word(entry, &file)
    word(programHeaders ?? (isNarrow ? 52 : 64), &file)
    word(UInt64(sectionOffset), &file)
    file.append(flags)
    file.append(UInt16(isNarrow ? 52 : 64))
    file.append(programHeaderSize)
    file.append(programHeaderCount ?? UInt16(segments.count))
    file.append(UInt16(isNarrow ? 40 : 64))
    file.append(UInt16(symbols.isEmpty ? 0 : 3 + sections.count + noteSections.count))
    file.append(UInt16(0))
    return file + headers + contents + tables
  }

  /// Appends a number of the file's class.
  private func word(_ value: UInt64, _ bytes: inout [UInt8]) {
    if isNarrow { bytes.append(UInt32(truncatingIfNeeded: value)) } else { bytes.append(value) }
  }

  /// Symbols, their names, and the headers of the null section, the symbols, the names, and the sections in memory.
  private func tables(from start: Int) -> (bytes: [UInt8], headers: Int) {
    guard !symbols.isEmpty else { return ([], 0) }
    var names: [UInt8] = [0]
    var table = [UInt8](repeating: 0, count: isNarrow ? 16 : 24)
    for symbol in symbols {
      table.append(UInt32(names.count))
      if isNarrow {
        word(symbol.value, &table)
        word(symbol.size, &table)
      }
      table.append(symbol.kind)
      table.append(UInt8(0))
      table.append(symbol.section)
      if !isNarrow {
        word(symbol.value, &table)
        word(symbol.size, &table)
      }
      names += Array(symbol.name.utf8) + [0]
    }
    var headers = [UInt8](repeating: 0, count: isNarrow ? 40 : 64)
    func section(_ type: UInt32, flags: UInt64, _ address: UInt64, _ offset: Int, _ size: Int, link: UInt32) {
      headers.append(UInt32(0))
      headers.append(type)
      word(flags, &headers)
      word(address, &headers)
      word(UInt64(offset), &headers)
      word(UInt64(size), &headers)
      headers.append(link)
      headers.append(UInt32(1))
      word(8, &headers)
      word(isNarrow ? 16 : 24, &headers)
    }
    section(2, flags: 0, 0, start, table.count, link: 2)
    section(3, flags: 0, 0, start + table.count, names.count, link: 0)
    for range in sections {
      section(1, flags: 2, range.lowerBound, 0, Int(range.upperBound - range.lowerBound), link: 0)
    }
    let notes = noteSections.flatMap { $0 }
    var offset = start + table.count + names.count
    for note in noteSections {
      section(7, flags: 2, 0, offset, note.count, link: 0)
      offset += note.count
    }
    return (table + names + notes + headers, offset)
  }
}

extension [UInt8] {
  /// Appends a number, least significant byte first.
  mutating func append(_ number: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: number.littleEndian) { append(contentsOf: $0) }
  }
}
