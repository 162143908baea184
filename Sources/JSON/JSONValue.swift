import CJansson
import CLinux

/// A JSON value (RFC 8259) as RPC arguments and results have it.
public enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case real(Double)
  case string(String)
  case array([JSONValue])
  /// Members in their order.
  case object([JSONMember])

  /// The member of an object; nil where this is no object or has none of that name.
  public subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    // Most names differ in length, which is found out sooner.
    let count = name.utf8.count
    return members.first { $0.name.utf8.count == count && $0.name.utf8.elementsEqual(name.utf8) }?.value
  }
}

/// A member of a JSON object.
public struct JSONMember: Equatable, Sendable {
  public let name: String
  public let value: JSONValue

  public init(_ name: String, _ value: JSONValue) {
    self.name = name
    self.value = value
  }
}

extension JSONValue {
  /// Why bytes are no value.
  package enum Refusal: Error {
    case malformed
    /// It is JSON, with a number that no `Double` can be.
    case numberTooGreat
  }

  /// Reads one value that fills the bytes. Where an integer in it has more than 64 bits and a sign, all its numbers are real
  /// ones, as Go's are in an `interface{}`.
  ///
  /// The caller has bounded how deep values nest: reading goes as deep as they do.
  package static func parse(_ bytes: UnsafeRawBufferPointer) throws(Refusal) -> JSONValue {
    _ = isSeeded
    let text = bytes.bindMemory(to: CChar.self)
    let flags = Int(JSON_DECODE_ANY | JSON_ALLOW_NUL)
    var error = json_error_t()
    var root = json_loadb(text.baseAddress, text.count, flags, &error)
    if root == nil, swiftlet_json_is_overflow(&error) != 0 {
      root = json_loadb(text.baseAddress, text.count, flags | Int(JSON_DECODE_INT_AS_REAL), &error)
    }
    guard let root else { throw swiftlet_json_is_overflow(&error) != 0 ? .numberTooGreat : .malformed }
    defer { swiftlet_json_release(root) }
    return JSONValue(root)
  }

  /// The same.
  /// - Returns: nil for what is not JSON, or has such a number.
  package init?(parsing bytes: UnsafeRawBufferPointer) {
    do { self = try Self.parse(bytes) } catch { return nil }
  }

  /// Reads one value that fills the bytes, unless arrays and objects nest deeper than a limit.
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

  /// jansson's hash tables are given a seed that nobody can guess: by itself it opens /dev/urandom, which a sandbox refuses,
  /// and then takes the time.
  private static let isSeeded: Bool = {
    var number = 0
    withUnsafeMutableBytes(of: &number) { _ = linux_getrandom($0.baseAddress, $0.count) }
    // Zero would make jansson choose for itself.
    json_object_seed(max(number & 0x7fff_ffff, 1))
    return true
  }()

  private init(_ value: UnsafeMutablePointer<json_t>) {
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

  /// The value as text, as Go's encoding/json writes it: compact, with the characters that HTML knows escaped.
  /// - Returns: nil where there is no memory for it.
  package var encoded: [UInt8]? {
    var text: [UInt8] = []
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

  /// Adds the text of what is no array and no object: each real number with as many digits as it needs by itself.
  private func appendScalar(to text: inout [UInt8]) -> Bool {
    _ = Self.isSeeded
    guard let value = makeJansson() else { return false }
    defer { swiftlet_json_release(value) }
    // Seventeen digits tell every number from every other; most need fewer.
    let flags = Int(JSON_COMPACT | JSON_ENCODE_ANY) | (digits & 0x1f) << 11  // JSON_REAL_PRECISION
    func write(to room: UnsafeMutableRawBufferPointer) -> Int {
      let size = json_dumpb(value, room.bindMemory(to: CChar.self).baseAddress, room.count, flags)
      if size <= room.count { Self.appendAsGo(UnsafeRawBufferPointer(rebasing: room[..<size]), to: &text) }
      return size
    }
    // On the stack, as long as the size is a literal and no greater. A longer text says how long it is.
    let size = withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1, write)
    return size > 0 && (size <= 1024 || withUnsafeTemporaryAllocation(byteCount: size, alignment: 1, write) == size)
  }

  /// Significant digits that this number needs to be read back as it is.
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
    // Arrays and objects are written by `append`.
    case .null, .array, .object: return json_null()
    case .bool(let value): return value ? json_true() : json_false()
    case .integer(let value): return json_integer(value)
    case .real(let value):
      // Go writes whole numbers without a fraction.
      if value == value.rounded(), value.magnitude < 9_007_199_254_740_992 { return json_integer(Int64(value)) }
      return json_real(value) ?? json_null()  // infinities and NaN are no JSON
    case .string(let value): return Self.makeString(value)
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

  /// What jansson leaves as it is and Go's encoder escapes, or writes in capitals and Go does not. These characters stand in
  /// strings alone, so their place need not be looked at.
  private static func appendAsGo(_ text: UnsafeRawBufferPointer, to result: inout [UInt8]) {
    var at = 0
    while true {
      // Most bytes stay as they are.
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

  /// Adds `\uXXXX`.
  private static func appendEscape(_ unit: UInt16, to result: inout [UInt8]) {
    for index in 0..<6 as Range<UInt16> {
      let digit = UInt8(truncatingIfNeeded: unit >> (20 - 4 * index) & 0xf)
      result.append(index == 0 ? 0x5c : index == 1 ? 0x75 : digit < 10 ? 0x30 + digit : 0x57 + digit)
    }
  }
}
