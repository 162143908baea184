import Platform

/// The symbols of an applet's file, for messages. The file is searched only when a message is printed.
public struct Symbols: ~Copyable {
  private let file: FileContents
  private let bias: UInt64

  /// - Parameter file: the names of a large one are read now, since a sandbox may forbid that later.
  init(_ file: consuming FileContents, bias: UInt64) {
    self.bias = bias
    var file = file
    if !file.isWhole { Self.reduce(&file) }
    self.file = file
  }

  private static func reduce(_ file: inout FileContents) {
    var kept: [Range<Int>] = []
    // Parts that cannot be read stay zero, and have no symbols.
    if let sections = SymbolTable.sections(file.bytes) {
      try? file.read([sections])
      if let table = SymbolTable(file.bytes) {
        kept = [0..<table.headerSize, sections, table.symbols, table.strings]
        try? file.read(kept)
      }
    }
    file.keep(kept)
  }

  /// The function or object at an address, or the last symbol of unknown size before it in the same section.
  /// - Returns: its name, with a question mark for each byte that is not printable ASCII, and the offset from its start, in
  ///   bytes; nil if the file has no symbol there.
  public func nearest(to address: UInt64) -> (name: String, offset: UInt64)? {
    let bytes = file.bytes
    guard let table = SymbolTable(bytes), address >= bias else { return nil }
    let address = address - bias
    var best: SymbolTable.Symbol?
    for index in 0..<table.count {
      guard let symbol = table.symbol(index), table.reaches(symbol, address) else { continue }
      if best.map({ symbol.isNearer(than: $0) }) ?? true { best = symbol }
    }
    guard let best else { return nil }
    let name = bytes[best.name].map { (UInt8(ascii: "!")...UInt8(ascii: "~")).contains($0) ? $0 : UInt8(ascii: "?") }
    return (String(decoding: name, as: UTF8.self), address - best.value)
  }
}

/// An ELF file's symbol table, SHT_SYMTAB, with every offset checked.
struct SymbolTable {
  struct Symbol {
    let name: Range<Int>
    let value: UInt64
    /// 0 if unknown, as in assembly.
    let size: UInt64
    let isFunction: Bool
    let section: Int

    /// Whether it is a better match for an address that both include: symbols with a size take precedence over labels.
    func isNearer(than other: Symbol) -> Bool {
      if (size > 0) != (other.size > 0) { return size > 0 }
      if value != other.value { return value > other.value }
      return isFunction && !other.isFunction
    }
  }

  private let bytes: UnsafeRawBufferPointer
  private let elfClass: ELFClass
  private let sections: Range<Int>
  let symbols: Range<Int>
  let strings: Range<Int>

  /// Maximum length of a name, in bytes; a longer one is cut.
  private static let nameLimit = 80

  var count: Int { symbols.count / elfClass.symbolSize }

  /// Size of the file header, in bytes.
  var headerSize: Int { elfClass.fileHeaderSize }

  /// The range of the section headers; nil if there are none.
  static func sections(_ bytes: UnsafeRawBufferPointer) -> Range<Int>? {
    guard let elfClass = elfClass(of: bytes) else { return nil }
    func number(_ narrow: Int, _ wide: Int) -> Int {
      Int(bytes.loadUnaligned(fromByteOffset: elfClass.pick(narrow, wide), as: UInt16.self))
    }
    guard number(46, 58) == elfClass.sectionHeaderSize else { return nil }
    let offset = elfClass.word(bytes, 0, 32, 40)
    let size = number(48, 60) * elfClass.sectionHeaderSize
    guard offset <= UInt64(bytes.count), UInt64(bytes.count) - offset >= UInt64(size) else { return nil }
    return Int(offset)..<Int(offset) + size
  }

  /// The class of a file with a whole file header; nil if there is none.
  private static func elfClass(of bytes: UnsafeRawBufferPointer) -> ELFClass? {
    guard bytes.count > 4, let elfClass = ELFClass(bytes[4]), bytes.count >= elfClass.fileHeaderSize else { return nil }
    return elfClass
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let elfClass = Self.elfClass(of: bytes), let sections = Self.sections(bytes) else { return nil }
    func content(_ header: Int) -> Range<Int>? {
      let (start, size) = (elfClass.word(bytes, header, 16, 24), elfClass.word(bytes, header, 20, 32))
      guard start <= UInt64(bytes.count), size <= UInt64(bytes.count) - start else { return nil }
      return Int(start)..<Int(start + size)
    }
    for header in stride(from: sections.lowerBound, to: sections.upperBound, by: elfClass.sectionHeaderSize) {
      guard bytes.loadUnaligned(fromByteOffset: header + 4, as: UInt32.self) == 2 else { continue }
      let link = Int(bytes.loadUnaligned(fromByteOffset: header + elfClass.pick(24, 40), as: UInt32.self))
      guard link < sections.count / elfClass.sectionHeaderSize, let symbols = content(header),
        let strings = content(sections.lowerBound + link * elfClass.sectionHeaderSize)
      else { return nil }
      self.bytes = bytes
      self.elfClass = elfClass
      self.sections = sections
      self.symbols = symbols
      self.strings = strings
      return
    }
    return nil
  }

  /// A symbol of code or data; nil for any other kind.
  func symbol(_ index: Int) -> Symbol? {
    let entry = symbols.lowerBound + index * elfClass.symbolSize
    let kind = bytes[entry + elfClass.pick(12, 4)] & 0xf
    let section = bytes.loadUnaligned(fromByteOffset: entry + elfClass.pick(14, 6), as: UInt16.self)
    // STT_NOTYPE (as in assembly), STT_OBJECT or STT_FUNC; defined in a section, not a constant of a linker script (SHN_ABS).
    guard kind <= 2, section != 0, section < 0xff00 else { return nil }
    let name = Int(bytes.loadUnaligned(fromByteOffset: entry, as: UInt32.self))
    guard name < strings.count else { return nil }
    let start = strings.lowerBound + name
    let limit = min(strings.upperBound, start + Self.nameLimit)
    let end: Int = (start..<limit).first { bytes[$0] == 0 } ?? limit
    guard end > start, !isLocal(bytes[start..<end]) else { return nil }
    // The address of a function in T32 has bit 0 set.
    let value = elfClass.word(bytes, entry, 4, 8) & (elfClass == .narrow && kind == 2 ? ~1 : .max)
    return Symbol(
      name: start..<end, value: value, size: elfClass.word(bytes, entry, 8, 16), isFunction: kind == 2,
      section: Int(section))
  }

  /// Whether a name is generated by the compiler: a label (".L" and a number), or a mapping symbol for disassemblers ("$x", "$d.1",
  /// on riscv64 also "$xrv64i2p1").
  private func isLocal(_ name: Slice<UnsafeRawBufferPointer>) -> Bool {
    let first = name[name.startIndex]
    guard name.count >= 2, first == UInt8(ascii: ".") || first == UInt8(ascii: "$") else { return false }
    let second = name[name.startIndex + 1]
    if first == UInt8(ascii: ".") { return second == UInt8(ascii: "L") }
    guard [UInt8(ascii: "a"), UInt8(ascii: "d"), UInt8(ascii: "t"), UInt8(ascii: "x")].contains(second) else {
      return false
    }
    let rest = name.dropFirst(2)
    return rest.first.map { $0 == UInt8(ascii: ".") } ?? true
      || rest.starts(with: [UInt8(ascii: "r"), UInt8(ascii: "v")])
  }

  /// Whether a symbol includes an address: up to its size, or without one to the end of its section.
  func reaches(_ symbol: Symbol, _ address: UInt64) -> Bool {
    guard address >= symbol.value else { return false }
    if symbol.size > 0 { return address - symbol.value < symbol.size }
    guard symbol.section < sections.count / elfClass.sectionHeaderSize else { return true }
    let header = sections.lowerBound + symbol.section * elfClass.sectionHeaderSize
    // SHF_ALLOC: the section is in memory.
    guard elfClass.word(bytes, header, 8, 8) & 2 != 0 else { return true }
    let (start, size) = (elfClass.word(bytes, header, 12, 16), elfClass.word(bytes, header, 20, 32))
    return address >= start && address - start < size
  }
}
