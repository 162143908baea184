import JSON

/// A call's parameters, read with their types; a missing one and a null one are the same.
public struct Parameters {
  private let value: JSONValue

  public init(_ value: JSONValue) { self.value = value }

  private subscript(name: String) -> JSONValue? {
    let found = value[name]
    return found == .null ? nil : found
  }

  public func has(_ name: String) -> Bool { self[name] != nil }

  public func string(_ name: String) throws(ControlError) -> String? {
    guard let value = self[name] else { return nil }
    // A zero byte would end the string early wherever the kernel reads it.
    guard case .string(let text) = value, !text.utf8.contains(0) else { throw .invalidParameter(name) }
    return text
  }

  public func bool(_ name: String) throws(ControlError) -> Bool {
    guard let value = self[name] else { return false }
    guard case .bool(let flag) = value else { throw .invalidParameter(name) }
    return flag
  }

  public func integer(_ name: String, in range: ClosedRange<Int64>) throws(ControlError) -> Int64? {
    guard let value = self[name] else { return nil }
    guard case .integer(let number) = value, range.contains(number) else { throw .invalidParameter(name) }
    return number
  }

  public func strings(_ name: String) throws(ControlError) -> [String] {
    var found: [String] = []
    for value in try array(name) {
      guard case .string(let text) = value, !text.utf8.contains(0) else { throw .invalidParameter(name) }
      found.append(text)
    }
    return found
  }

  public func array(_ name: String) throws(ControlError) -> [JSONValue] {
    guard let value = self[name] else { return [] }
    guard case .array(let values) = value else { throw .invalidParameter(name) }
    return values
  }

  public func object(_ name: String) throws(ControlError) -> Parameters? {
    guard let value = self[name] else { return nil }
    guard case .object = value else { throw .invalidParameter(name) }
    return Parameters(value)
  }

  /// The name of an applet that must be there.
  public func name() throws(ControlError) -> String {
    guard let name = try string("name"), AppletName.isValid(name) else { throw .invalidParameter("name") }
    return name
  }

  /// A 64-bit number in hexadecimal digits.
  public func address(_ name: String) throws(ControlError) -> UInt64 {
    guard let text = try string(name), text.hasPrefix("0x"), let number = UInt64(text.dropFirst(2), radix: 16) else {
      throw .invalidParameter(name)
    }
    return number
  }

  public func bytes(_ name: String) throws(ControlError) -> [UInt8]? {
    guard let text = try string(name) else { return nil }
    guard let bytes = Base64.decode(text) else { throw .invalidParameter(name) }
    return bytes
  }
}

/// Names of applets: also names of folders, so nothing that could lead elsewhere.
public enum AppletName {
  public static func isValid(_ name: String) -> Bool {
    guard (1...64).contains(name.utf8.count), let first = name.utf8.first, isLetterOrDigit(first) else { return false }
    return name.utf8.allSatisfy { isLetterOrDigit($0) || $0 == 0x2d || $0 == 0x2e || $0 == 0x5f }
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    default: false
    }
  }
}

extension String {
  /// One line of this text for a terminal or a log: control characters, which a terminal may obey, become question marks.
  /// - Parameter most: bytes at which it is cut.
  public func printable(most: Int = .max) -> String {
    var line = ""
    var count = 0
    for scalar in unicodeScalars {
      let shown: Unicode.Scalar = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) ? "?" : scalar
      count += UTF8.width(shown)
      if count > most { break }
      line.unicodeScalars.append(shown)
    }
    return line
  }
}

/// Bytes as text: RFC 4648, section 4, with padding.
public enum Base64 {
  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

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

  /// - Returns: nil for what is not base64.
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
