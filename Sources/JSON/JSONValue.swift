import CJansson
import CLinux

/// A JSON value (RFC 8259), as in the arguments and results of an RPC.
public enum JSONValue: Equatable, Sendable {
  /// null.
  case null
  /// true or false.
  case bool(Bool)
  /// An integer of 64 bits.
  case integer(Int64)
  /// A number with a fraction or an exponent, or an integer that exceeds 64 bits.
  case real(Double)
  /// A string.
  case string(String)
  /// Elements, in order.
  case array([JSONValue])
  /// Members, in order.
  case object([JSONMember])

  /// The member with a name; nil if this is not an object or has no such member.
  public subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    // Most names differ in length, and comparing that is cheaper.
    let count = name.utf8.count
    return members.first { $0.name.utf8.count == count && $0.name.utf8.elementsEqual(name.utf8) }?.value
  }
}

/// A member of a JSON object.
public struct JSONMember: Equatable, Sendable {
  /// The name.
  public let name: String
  /// The value.
  public let value: JSONValue

  /// A member with a name and a value.
  public init(_ name: String, _ value: JSONValue) {
    self.name = name
    self.value = value
  }
}

extension JSONValue {
  /// Why bytes are not a value.
  package enum Refusal: Error {
    case malformed
    /// It is JSON with a number that exceeds the range of `Double`.
    case numberTooGreat
  }

  /// Parses one value that fills the bytes. If an integer in it does not fit 64 bits with a sign, all its numbers become real
  /// numbers, as in Go's `interface{}`.
  ///
  /// The caller must have limited the nesting depth: the parser is recursive.
  package static func parse(_ bytes: UnsafeRawBufferPointer) throws(Refusal) -> JSONValue {
    let text = bytes.bindMemory(to: CChar.self)
    let flags = Int(JSON_DECODE_ANY | JSON_ALLOW_NUL)
    var error = json_error_t()
    var root = load(text, flags, &error)
    if root == nil, swiftlet_json_is_overflow(&error) != 0 {
      root = load(text, flags | Int(JSON_DECODE_INT_AS_REAL), &error)
    }
    guard let root else { throw swiftlet_json_is_overflow(&error) != 0 ? .numberTooGreat : .malformed }
    defer { swiftlet_json_release(root) }
    return JSONValue(root)
  }

  static func load(_ text: UnsafeBufferPointer<CChar>, _ flags: Int, _ error: inout json_error_t)
    -> UnsafeMutablePointer<json_t>?
  {
    _ = isSeeded
    return json_loadb(text.baseAddress, text.count, flags, &error)
  }

  /// The same.
  /// - Returns: nil for bytes that are not JSON, or contain a number out of range.
  package init?(parsing bytes: UnsafeRawBufferPointer) {
    do { self = try Self.parse(bytes) } catch { return nil }
  }

  /// Parses one value that fills the bytes, if arrays and objects do not nest deeper than a limit.
  package init?(parsing bytes: UnsafeRawBufferPointer, depthLimit: Int) {
    var depth = 0
    var isString = false
    var at = 0
    while at < bytes.count {
      switch bytes[at] {
      case 0x22: isString.toggle()
      case 0x5c where isString: at += 1
      case 0x5b where !isString, 0x7b where !isString:
        depth += 1
        guard depth <= depthLimit else { return nil }
      case 0x5d where !isString, 0x7d where !isString: depth -= 1
      default: break
      }
      at += 1
    }
    self.init(parsing: bytes)
  }

  /// Seeds jansson's hash tables with a random number. By itself jansson would open /dev/urandom, which the sandbox forbids, and
  /// then fall back to the time, which can be guessed.
  private static let isSeeded: Bool = {
    var number = 0
    withUnsafeMutableBytes(of: &number) { _ = linux_getrandom($0.baseAddress, $0.count) }
    // With zero, jansson chooses a seed itself.
    json_object_seed(max(number & 0x7fff_ffff, 1))
    return true
  }()

  init(_ value: UnsafeMutablePointer<json_t>) {
    switch json_type(rawValue: json_type.RawValue(swiftlet_json_type(value))) {
    case JSON_OBJECT:
      var members: [JSONMember] = []
      var at = json_object_iter(value)
      while let here = at {
        let name = json_object_iter_key(here)
        if let name, let member = json_object_iter_value(here) {
          let bytes = UnsafeRawBufferPointer(start: name, count: json_object_iter_key_len(here))
          members.append(JSONMember(String(decoding: bytes, as: UTF8.self), JSONValue(member)))
        }
        at = json_object_iter_next(value, here)
      }
      self = .object(members)
    case JSON_ARRAY:
      self = .array((0..<json_array_size(value)).map { json_array_get(value, $0).map { JSONValue($0) } ?? .null })
    case JSON_STRING:
      let bytes = UnsafeRawBufferPointer(start: json_string_value(value), count: json_string_length(value))
      self = .string(String(decoding: bytes, as: UTF8.self))
    case JSON_INTEGER: self = .integer(json_integer_value(value))
    case JSON_REAL: self = .real(json_real_value(value))
    case JSON_TRUE: self = .bool(true)
    case JSON_FALSE: self = .bool(false)
    default: self = .null
    }
  }

  /// The value as text, as Go's encoding/json writes it: compact, with the special characters of HTML escaped.
  /// - Returns: nil if memory runs out.
  package var encoded: [UInt8]? {
    var text: [UInt8] = []
    // Most values fit, so that the text is allocated once.
    text.reserveCapacity(250)
    return append(to: &text) ? text : nil
  }

  private func append(to text: inout [UInt8]) -> Bool {
    switch self {
    case .array(let values):
      text.append(0x5b)
      for index in values.indices {
        if index > 0 { text.append(0x2c) }
        guard values[index].append(to: &text) else { return false }
      }
      text.append(0x5d)
    case .object(let members):
      text.append(0x7b)
      for index in members.indices {
        if index > 0 { text.append(0x2c) }
        guard JSONValue.string(members[index].name).append(to: &text) else { return false }
        text.append(0x3a)
        guard members[index].value.append(to: &text) else { return false }
      }
      text.append(0x7d)
    default: return appendScalar(to: &text)
    }
    return true
  }

  /// Appends the text of a value that is not an array or object.
  private func appendScalar(to text: inout [UInt8]) -> Bool {
    switch self {
    case .bool(let value): text.append(contentsOf: (value ? "true" : "false").utf8)
    case .integer(let value): text.append(contentsOf: String(value).utf8)
    case .string(let value) where Self.appendPlain(value, to: &text): break
    case .real, .string: return appendWithJansson(to: &text)
    case .null, .array, .object: text.append(contentsOf: "null".utf8)
    }
    return true
  }

  /// Appends a string if no character of it needs an escape, as in nearly all: jansson would copy it and make a hash table first.
  private static func appendPlain(_ value: String, to text: inout [UInt8]) -> Bool {
    var value = value
    return value.withUTF8 { bytes in
      // Printable ASCII without ", & < > and \.
      let isPlain = bytes.allSatisfy {
        $0 >= 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x26 && $0 != 0x3c && $0 != 0x3e && $0 != 0x5c
      }
      guard isPlain else { return false }
      text.append(0x22)
      text.append(contentsOf: bytes)
      text.append(0x22)
      return true
    }
  }

  /// Appends a real number, with as many digits as it needs, or a string.
  private func appendWithJansson(to text: inout [UInt8]) -> Bool {
    _ = Self.isSeeded
    guard let value = makeJansson() else { return false }
    defer { swiftlet_json_release(value) }
    // Seventeen digits distinguish all numbers; most need fewer.
    let flags = Int(JSON_COMPACT | JSON_ENCODE_ANY) | (digits & 0x1f) << 11  // JSON_REAL_PRECISION
    func write(to buffer: UnsafeMutableRawBufferPointer) -> Int {
      let size = json_dumpb(value, buffer.bindMemory(to: CChar.self).baseAddress, buffer.count, flags)
      if size <= buffer.count { Self.appendAsGo(UnsafeRawBufferPointer(rebasing: buffer[..<size]), to: &text) }
      return size
    }
    // On the stack: that needs a literal size of at most 1,024 bytes. For a longer text the result is its size.
    let size = withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1, write)
    return size > 0 && (size <= 1024 || withUnsafeTemporaryAllocation(byteCount: size, alignment: 1, write) == size)
  }

  /// Number of significant digits with which this number is read back unchanged.
  private var digits: Int {
    guard case .real(let number) = self else { return 17 }
    for digits in 15...16 {
      var text: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
      let same = withUnsafeMutableBytes(of: &text) { buffer -> Bool in
        guard let value = json_real(number) else { return false }
        defer { swiftlet_json_release(value) }
        let target = buffer.bindMemory(to: CChar.self)
        let size = json_dumpb(value, target.baseAddress, target.count - 1, Int(JSON_ENCODE_ANY) | digits << 11)
        guard size > 0, size < target.count else { return false }
        return JSONValue(parsing: UnsafeRawBufferPointer(rebasing: buffer[..<size])) == self
      }
      if same { return digits }
    }
    return 17
  }

  private func makeJansson() -> UnsafeMutablePointer<json_t>? {
    switch self {
    case .real(let value):
      // Go writes whole numbers without a fraction.
      if value == value.rounded(), value.magnitude < 9_007_199_254_740_992 { return json_integer(Int64(value)) }
      return json_real(value) ?? json_null()  // JSON has no infinities and NaN
    case .string(let value): return Self.makeString(value)
    // `appendScalar` writes the others itself.
    default: return json_null()
    }
  }

  private static func makeString(_ value: String) -> UnsafeMutablePointer<json_t>? {
    var value = value
    return value.withUTF8 { bytes in
      guard !bytes.isEmpty else { return json_string("") }
      let text = UnsafeRawBufferPointer(bytes).bindMemory(to: CChar.self)
      return json_stringn(text.baseAddress, text.count)
    }
  }

  /// Escapes the characters that Go's encoder escapes and jansson does not, and writes jansson's escapes in lower case. These
  /// characters occur only within strings, so the position does not matter.
  private static func appendAsGo(_ text: UnsafeRawBufferPointer, to result: inout [UInt8]) {
    var at = 0
    while true {
      // Most bytes are copied unchanged.
      let start = at
      var byte: UInt8 = 0
      while at < text.count {
        byte = text[at]
        if byte == 0x5c || byte == 0x3c || byte == 0x3e || byte == 0x26 || byte == 0xe2 { break }
        at += 1
      }
      result.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<at]))
      guard at < text.count else { return }
      var (count, escaped): (Int, UInt16?) = (1, nil)
      switch byte {
      case 0x3c, 0x3e, 0x26: escaped = UInt16(byte)  // < > &
      case 0xe2 where at + 2 < text.count && text[at + 1] == 0x80 && text[at + 2] & 0xfe == 0xa8:
        (count, escaped) = (3, 0x2028 | UInt16(text[at + 2] & 1))
      case 0x5c where at + 5 < text.count && text[at + 1] == 0x75: count = 6  // \uXXXX
      case 0x5c where at + 1 < text.count: count = 2
      default: break
      }
      if let escaped {
        appendEscape(escaped, to: &result)
      } else {
        for index in at..<at + count {
          let byte = text[index]
          result.append(count == 6 && byte >= 0x41 && byte <= 0x46 ? byte | 0x20 : byte)
        }
      }
      at += count
    }
  }

  /// Appends `\uXXXX`.
  private static func appendEscape(_ unit: UInt16, to result: inout [UInt8]) {
    for index in 0..<6 as Range<UInt16> {
      let digit = UInt8(truncatingIfNeeded: unit >> (20 - 4 * index) & 0xf)
      result.append(index == 0 ? 0x5c : index == 1 ? 0x75 : digit < 10 ? 0x30 + digit : 0x57 + digit)
    }
  }
}
