import CLinux

/// Strings of the operating system: paths and command-line arguments, which are bytes in any encoding.
///
/// A `String` has characters only. Bytes that are not UTF-8 are therefore represented by characters that no text contains, one for
/// each byte, and converted back when the string is passed to the system, as in Python (PEP 383): U+10FF80 to U+10FFFF, at the end
/// of the private use areas. These characters themselves are treated as invalid UTF-8, so that every sequence of bytes is
/// preserved.
extension String {
  /// The character for byte zero, which is not used; the others follow it.
  private static let escapes: UInt32 = 0x10_ff00
  /// The first two bytes of these characters in UTF-8.
  private static let escapeStart: (UInt8, UInt8) = (0xf4, 0x8f)

  /// Converts bytes from the system.
  public init(osBytes bytes: UnsafeRawBufferPointer) {
    self = String(decoding: bytes, as: UTF8.self)
    // Most strings need no conversion.
    if bytes.allSatisfy({ $0 < 0x80 }) || !hasEscapes && utf8.elementsEqual(bytes) { return }
    var text = String.UnicodeScalarView()
    var rest = bytes[...]
    while let byte = rest.first {
      let scalar = Self.scalar(rest) ?? Unicode.Scalar(Self.escapes + UInt32(byte))
      // Both are scalars; their range distinguishes escapes.
      guard let scalar else { break }
      text.append(scalar)
      rest = rest.dropFirst(scalar.value >= Self.escapes ? 1 : UTF8.width(scalar))
    }
    self = String(text)
  }

  /// The same, for a string that is terminated by a zero byte.
  public init(osBytes text: UnsafePointer<CChar>) {
    var count = 0
    while text[count] != 0 { count += 1 }
    self.init(osBytes: UnsafeRawBufferPointer(start: text, count: count))
  }

  /// Converts to bytes for the system.
  public var osBytes: [UInt8] {
    guard hasEscapes else { return Array(utf8) }
    var bytes: [UInt8] = []
    for scalar in unicodeScalars {
      if scalar.value >= Self.escapes {
        bytes.append(UInt8(truncatingIfNeeded: scalar.value))
      } else {
        bytes.append(contentsOf: String(scalar).utf8)
      }
    }
    return bytes
  }

  /// Calls `body` with the bytes for the system, terminated by a zero byte.
  @inline(__always)
  public func withOSString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result {
    guard hasEscapes else { return withCString(body) }
    return (osBytes + [0]).withUnsafeBytes { bytes in
      // The array has at least one byte.
      body(bytes.baseAddress!.assumingMemoryBound(to: CChar.self))
    }
  }

  /// Calls `body` with the bytes, if none of them is zero or begins an escape, as in almost all strings.
  @inline(__always)
  package func withPlainCString<Result>(_ body: (UnsafePointer<CChar>) -> Result) -> Result? {
    let count = utf8.count
    // The C library takes a tenth of the instructions of a loop. Both functions stay within the string, which ends with a zero byte.
    return withCString { text in
      strlen(text) == count && memchr(text, Int32(Self.escapeStart.0), count) == nil ? body(text) : nil
    }
  }

  /// Whether it has a zero byte, at which the kernel would end it.
  public var hasZero: Bool { withCString { strlen($0) } != utf8.count }

  private var isPlain: Bool { withPlainCString { _ in true } ?? false }

  /// Whether it has only characters, so that it can be sent to other programs.
  public var isCharacters: Bool { !hasEscapes }

  private var hasEscapes: Bool {
    if isPlain { return false }
    var previous: UInt8 = 0
    for byte in utf8 {
      if byte == Self.escapeStart.1, previous == Self.escapeStart.0 {
        return unicodeScalars.contains { $0.value >= Self.escapes }
      }
      previous = byte
    }
    return false
  }

  /// The character at the beginning of bytes; nil if they are not UTF-8, or it is one that represents a byte.
  private static func scalar(_ bytes: Slice<UnsafeRawBufferPointer>) -> Unicode.Scalar? {
    let start = bytes.startIndex
    let (count, least): (Int, UInt32)
    var value = UInt32(bytes[start])
    switch bytes[start] {
    case 0..<0x80: return Unicode.Scalar(bytes[start])
    case 0xc2..<0xe0: (count, least, value) = (2, 0x80, value & 0x1f)
    case 0xe0..<0xf0: (count, least, value) = (3, 0x800, value & 0xf)
    case 0xf0..<0xf5: (count, least, value) = (4, 0x1_0000, value & 7)
    default: return nil
    }
    guard bytes.count >= count else { return nil }
    for index in 1..<count {
      guard bytes[start + index] & 0xc0 == 0x80 else { return nil }
      value = value << 6 | UInt32(bytes[start + index] & 0x3f)
    }
    guard value >= least, value < escapes else { return nil }
    return Unicode.Scalar(value)
  }
}
