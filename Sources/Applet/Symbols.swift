import Platform

/// The names in an applet's file, for messages. Looked up only when one is printed.
public struct Symbols: ~Copyable {
  private let file: FileContents
  private let bias: UInt64

  init(_ file: consuming FileContents, bias: UInt64) {
    self.file = file
    self.bias = bias
  }

  /// The function or object at an address, or the last one before it in the same section.
  /// - Returns: its name, with anything but printable ASCII replaced, and the bytes from its beginning; nil where the file
  ///   names nothing there.
  public func nearest(to address: UInt64) -> (name: String, offset: UInt64)? {
    let bytes = file.bytes
    guard let table = SymbolTable(bytes), address >= bias else { return nil }
    var best: (name: Range<Int>, start: UInt64)?
    for index in 0..<table.count {
      guard let symbol = table.symbol(index), symbol.value <= address - bias else { continue }
      // A sized symbol says where it ends; the others reach to the next one.
      if symbol.size > 0, address - bias - symbol.value >= symbol.size { continue }
      if let best, best.start >= symbol.value { continue }
      best = (symbol.name, symbol.value)
    }
    guard let best else { return nil }
    let name = bytes[best.name].map { (0x21...0x7e).contains($0) ? $0 : 0x3f }
    return (String(decoding: name, as: UTF8.self), address - bias - best.start)
  }
}

/// An ELF file's symbol table, SHT_SYMTAB, with every offset checked.
private struct SymbolTable {
  private let bytes: UnsafeRawBufferPointer
  private let symbols: Range<Int>
  private let strings: Range<Int>

  private static let entrySize = 24
  private static let sectionSize = 64
  /// Most bytes of a name that are shown.
  private static let nameLimit = 80

  var count: Int { symbols.count / Self.entrySize }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 64, bytes.loadUnaligned(fromByteOffset: 58, as: UInt16.self) == UInt16(Self.sectionSize) else {
      return nil
    }
    let offset = bytes.loadUnaligned(fromByteOffset: 40, as: UInt64.self)
    let count = Int(bytes.loadUnaligned(fromByteOffset: 60, as: UInt16.self))
    guard offset <= UInt64(bytes.count), UInt64(bytes.count) - offset >= UInt64(count * Self.sectionSize) else {
      return nil
    }

    func content(_ section: Int) -> Range<Int>? {
      let header = Int(offset) + section * Self.sectionSize
      let start = bytes.loadUnaligned(fromByteOffset: header + 24, as: UInt64.self)
      let size = bytes.loadUnaligned(fromByteOffset: header + 32, as: UInt64.self)
      guard start <= UInt64(bytes.count), size <= UInt64(bytes.count) - start else { return nil }
      return Int(start)..<Int(start + size)
    }

    for section in 0..<count {
      let header = Int(offset) + section * Self.sectionSize
      guard bytes.loadUnaligned(fromByteOffset: header + 4, as: UInt32.self) == 2 else { continue }
      let link = Int(bytes.loadUnaligned(fromByteOffset: header + 40, as: UInt32.self))
      guard link < count, let symbols = content(section), let strings = content(link) else { return nil }
      self.bytes = bytes
      self.symbols = symbols
      self.strings = strings
      return
    }
    return nil
  }

  /// A symbol of code or data; nil for any other kind.
  func symbol(_ index: Int) -> (name: Range<Int>, value: UInt64, size: UInt64)? {
    let entry = symbols.lowerBound + index * Self.entrySize
    let kind = bytes[entry + 4] & 0xf
    // No type (as assembly has it), object, function; defined in a section.
    guard kind <= 2, bytes.loadUnaligned(fromByteOffset: entry + 6, as: UInt16.self) != 0 else { return nil }
    let name = Int(bytes.loadUnaligned(fromByteOffset: entry, as: UInt32.self))
    guard name < strings.count else { return nil }
    let start = strings.lowerBound + name
    let limit = min(strings.upperBound, start + Self.nameLimit)
    let end: Int = (start..<limit).first { bytes[$0] == 0 } ?? limit
    // "$x" and "$d" mark code and data for disassemblers; names without letters say nothing.
    guard end > start, !(bytes[start] == 0x24 && end - start <= 3) else { return nil }
    let value = bytes.loadUnaligned(fromByteOffset: entry + 8, as: UInt64.self)
    return (start..<end, value, bytes.loadUnaligned(fromByteOffset: entry + 16, as: UInt64.self))
  }
}
