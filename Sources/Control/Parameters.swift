import JSON
import Platform

/// A call's parameters, with type checks; a missing parameter is equal to null.
public struct Parameters {
  private let value: JSONValue

  /// The parameters in an object.
  public init(_ value: JSONValue) { self.value = value }

  private subscript(name: String) -> JSONValue? {
    let found = value[name]
    return found == .null ? nil : found
  }

  /// Whether a parameter is present and not null.
  public func has(_ name: String) -> Bool { self[name] != nil }

  /// A string without a zero byte; nil if it is missing.
  public func string(_ name: String) throws(ControlError) -> String? {
    guard let value = self[name] else { return nil }
    // The kernel would end the string at a zero byte.
    guard case .string(let text) = value, !text.hasZero else { throw .invalidParameter(name) }
    return text
  }

  /// A boolean; false if it is missing.
  public func bool(_ name: String) throws(ControlError) -> Bool {
    guard let value = self[name] else { return false }
    guard case .bool(let flag) = value else { throw .invalidParameter(name) }
    return flag
  }

  /// An integer in a range; nil if it is missing.
  public func integer(_ name: String, in range: ClosedRange<Int64>) throws(ControlError) -> Int64? {
    guard let value = self[name] else { return nil }
    guard case .integer(let number) = value, range.contains(number) else { throw .invalidParameter(name) }
    return number
  }

  /// An array of strings without zero bytes; empty if it is missing.
  public func strings(_ name: String) throws(ControlError) -> [String] {
    var found: [String] = []
    for value in try array(name) {
      guard case .string(let text) = value, !text.hasZero else { throw .invalidParameter(name) }
      found.append(text)
    }
    return found
  }

  /// An array; empty if it is missing.
  public func array(_ name: String) throws(ControlError) -> [JSONValue] {
    guard let value = self[name] else { return [] }
    guard case .array(let values) = value else { throw .invalidParameter(name) }
    return values
  }

  /// The parameters in a nested object; nil if it is missing.
  public func object(_ name: String) throws(ControlError) -> Parameters? {
    guard let value = self[name] else { return nil }
    guard case .object = value else { throw .invalidParameter(name) }
    return Parameters(value)
  }

  /// The name of an applet, which must be present.
  public func name() throws(ControlError) -> String {
    guard let name = try string("name"), AppletName.isValid(name) else { throw .invalidParameter("name") }
    return name
  }

  /// A 64-bit number in hexadecimal.
  public func address(_ name: String) throws(ControlError) -> UInt64 {
    guard let text = try string(name), text.hasPrefix("0x"), let number = UInt64(text.dropFirst(2), radix: 16) else {
      throw .invalidParameter(name)
    }
    return number
  }

  /// Bytes in base64; nil if the parameter is missing.
  public func bytes(_ name: String) throws(ControlError) -> [UInt8]? {
    guard let text = try string(name) else { return nil }
    guard let bytes = Base64.decode(text) else { throw .invalidParameter(name) }
    return bytes
  }
}

/// Names of applets. They are names of directories too, so they cannot be paths.
public enum AppletName {
  /// Whether a name is valid: 1 to 64 letters, digits, "-", "_" and ".", the first a letter or digit.
  public static func isValid(_ name: String) -> Bool {
    guard (1...64).contains(name.utf8.count), let first = name.utf8.first, isLetterOrDigit(first) else { return false }
    return name.utf8.allSatisfy {
      isLetterOrDigit($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_")
    }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: false
    }
  }
}

extension String {
  /// This text as one line for a terminal or a log. Control characters, which a terminal may interpret, and characters that are
  /// invisible or change the order of others become question marks.
  /// - Parameter maxBytes: maximum length, in bytes.
  public func printable(maxBytes: Int = .max) -> String {
    var line = ""
    var count = 0
    for scalar in unicodeScalars {
      let shown: Unicode.Scalar = Self.isHidden(scalar.value) ? "?" : scalar
      count += UTF8.width(shown)
      if count > maxBytes { break }
      line.unicodeScalars.append(shown)
    }
    return line
  }

  private static func isHidden(_ value: UInt32) -> Bool {
    if value < 0x7f { return value < 0x20 }
    return hidden.contains { $0.contains(value) }
  }

  /// Control characters from DEL on, line separators, and Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), which
  /// includes zero-width characters and controls of the writing direction.
  private static var hidden: [ClosedRange<UInt32>] {
    [
      0x7f...0x9f, 0xad...0xad, 0x34f...0x34f, 0x61c...0x61c, 0x115f...0x1160, 0x17b4...0x17b5, 0x180b...0x180f,
      0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0x3164...0x3164, 0xfe00...0xfe0f, 0xfeff...0xfeff,
      0xffa0...0xffa0, 0xfff0...0xfffb, 0x1bca0...0x1bca3, 0x1d173...0x1d17a, 0xe0000...0xe0fff,
    ]
  }
}

/// Base64: RFC 4648, section 4, with padding.
public enum Base64 {
  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// The text for bytes.
  public static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    var at = 0
    while at < bytes.count {
      let count = min(3, bytes.count - at)
      var group: UInt32 = 0
      for index in 0..<3 { group = group << 8 | (index < count ? UInt32(bytes[at + index]) : 0) }
      for index in 0..<4 { text.append(index <= count ? letters[Int(group >> UInt32(18 - 6 * index) & 63)] : 0x3d) }
      at += 3
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// - Returns: nil if it is not base64.
  public static func decode(_ text: String) -> [UInt8]? {
    var bytes: [UInt8] = []
    let text = Array(text.utf8)
    guard text.count % 4 == 0 else { return nil }
    bytes.reserveCapacity(text.count / 4 * 3)
    var at = 0
    while at < text.count {
      let isLast = at + 4 == text.count
      let padding = !isLast || text[at + 3] != 0x3d ? 0 : text[at + 2] == 0x3d ? 2 : 1
      var group: UInt32 = 0
      for index in 0..<4 {
        guard let value = index < 4 - padding ? value(of: text[at + index]) : 0 else { return nil }
        group = group << 6 | value
      }
      for index in 0..<3 - padding { bytes.append(UInt8(truncatingIfNeeded: group >> UInt32(16 - 8 * index))) }
      at += 4
    }
    return bytes
  }

  private static func value(of letter: UInt8) -> UInt32? {
    switch letter {
    case 0x41...0x5a: UInt32(letter - 0x41)
    case 0x61...0x7a: UInt32(letter - 0x61) + 26
    case 0x30...0x39: UInt32(letter - 0x30) + 52
    case 0x2b: 62
    case 0x2f: 63
    default: nil
    }
  }
}
