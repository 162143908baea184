import CLibFDT

/// Writes a flattened device tree sequentially, with libfdt's sequential-write functions.
///
/// After an error all further calls do nothing, and `finish` throws it.
struct TreeWriter: ~Copyable {
  private let buffer: UnsafeMutableRawBufferPointer
  private var failure: Int32

  /// - Parameter buffer: memory for the tree, which must outlive this value and is written only by it.
  init(_ buffer: UnsafeMutableRawBufferPointer) {
    self.buffer = buffer
    // To search the string block for each name costs more than all else; duplicates only cost space.
    failure = fdt_create_with_flags(
      buffer.baseAddress, Int32(clamping: buffer.count), UInt32(FDT_CREATE_FLAG_NO_NAME_DEDUP))
    if failure == 0 { failure = fdt_finish_reservemap(buffer.baseAddress) }
  }

  /// Completes the tree.
  /// - Returns: its size in bytes.
  consuming func finish() throws(DeviceTreeError) -> Int {
    note(fdt_finish(buffer.baseAddress))
    if failure == -FDT_ERR_NOSPACE { throw .noSpace(bytes: buffer.count) }
    if failure != 0 { throw .library(failure) }
    return Int(swiftlet_fdt_totalsize(buffer.baseAddress))
  }

  private mutating func note(_ result: Int32) { if failure == 0 { failure = result } }

  // MARK: Nodes

  /// Writes a node; `body` writes its properties and then its child nodes. The root's name is empty.
  mutating func node(_ name: StaticString, _ body: (inout TreeWriter) -> Void) {
    if failure == 0 { note(fdt_begin_node(buffer.baseAddress, Self.text(name))) }
    body(&self)
    if failure == 0 { note(fdt_end_node(buffer.baseAddress)) }
  }

  /// Writes a node with a unit address: `name@address`.
  mutating func node(_ name: StaticString, at address: UInt64, _ body: (inout TreeWriter) -> Void) {
    // A name from this module, an at sign, 16 digits and a zero byte.
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: name.utf8CodeUnitCount + 18) { full in
      var end = 0
      while end < name.utf8CodeUnitCount {
        full[end] = CChar(bitPattern: name.utf8Start[end])
        end += 1
      }
      full[end] = CChar(bitPattern: UInt8(ascii: "@"))
      var digits = max((64 - address.leadingZeroBitCount + 3) / 4, 1)
      while digits > 0 {
        digits -= 1
        end += 1
        let digit = UInt8(truncatingIfNeeded: address >> UInt64(digits * 4) & 15)
        full[end] = CChar(bitPattern: digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      }
      full[end + 1] = 0
      if failure == 0 { note(fdt_begin_node(buffer.baseAddress, full.baseAddress)) }
    }
    body(&self)
    if failure == 0 { note(fdt_end_node(buffer.baseAddress)) }
  }

  // MARK: Properties

  /// A property without a value.
  mutating func property(_ name: StaticString) { property(name, bytes: UnsafeRawBufferPointer(start: nil, count: 0)) }

  /// Strings, separated by zero bytes in the text.
  mutating func property(_ name: StaticString, _ text: StaticString) {
    // A static string ends with a zero byte.
    property(name, bytes: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount + 1))
  }

  mutating func property(_ name: StaticString, text: String) {
    var text = text
    let count = text.utf8.count
    withValue(of: name, count: count + 1) { value in
      text.withUTF8 { value.copyMemory(from: UnsafeRawBufferPointer($0)) }
      value[count] = 0
    }
  }

  mutating func property(_ name: StaticString, bytes: UnsafeRawBufferPointer) {
    withValue(of: name, count: bytes.count) { $0.copyMemory(from: bytes) }
  }

  /// Cells of 32 bits.
  mutating func property(_ name: StaticString, _ cell: UInt32) {
    withValue(of: name, count: 4) { $0.storeBytes(of: cell.bigEndian, as: UInt32.self) }
  }

  mutating func property(_ name: StaticString, _ first: UInt32, _ second: UInt32, _ third: UInt32? = nil) {
    withValue(of: name, count: third == nil ? 8 : 12) {
      $0.storeBytes(of: first.bigEndian, as: UInt32.self)
      $0.storeBytes(of: second.bigEndian, toByteOffset: 4, as: UInt32.self)
      if let third { $0.storeBytes(of: third.bigEndian, toByteOffset: 8, as: UInt32.self) }
    }
  }

  mutating func property(_ name: StaticString, cells: [UInt32]) {
    withValue(of: name, count: cells.count * 4) {
      for (index, cell) in cells.enumerated() {
        $0.storeBytes(of: cell.bigEndian, toByteOffset: index * 4, as: UInt32.self)
      }
    }
  }

  /// A value of two cells.
  mutating func property(_ name: StaticString, wide value: UInt64) {
    withValue(of: name, count: 8) { $0.storeBytes(of: value.bigEndian, as: UInt64.self) }
  }

  /// `reg` with the ranges that are not empty: address and size of two cells each.
  mutating func reg(_ ranges: [Range<UInt64>]) {
    withValue(of: "reg", count: ranges.count * 16) { value in
      for (index, range) in ranges.enumerated() { Self.store(range, in: value, at: index * 16) }
    }
  }

  mutating func reg(_ range: Range<UInt64>) {
    withValue(of: "reg", count: 16) { Self.store(range, in: $0, at: 0) }
  }

  @inline(__always)
  private static func store(_ range: Range<UInt64>, in value: UnsafeMutableRawBufferPointer, at offset: Int) {
    value.storeBytes(of: range.lowerBound.bigEndian, toByteOffset: offset, as: UInt64.self)
    let size = range.upperBound - range.lowerBound
    value.storeBytes(of: size.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
  }

  /// Adds a property of this size, whose value `body` fills in.
  private mutating func withValue(
    of name: StaticString, count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void
  ) {
    guard failure == 0 else { return }
    var value: UnsafeMutableRawPointer?
    note(fdt_property_placeholder(buffer.baseAddress, Self.text(name), Int32(clamping: count), &value))
    // libfdt returns `count` bytes within the buffer, or an error.
    if failure == 0 { body(UnsafeMutableRawBufferPointer(start: value, count: count)) }
  }

  /// A static string as a C string: it exists as long as the process and ends with a zero byte.
  private static func text(_ string: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
  }
}
