import CJansson

/// Why a file is not JSON, and where. Lines and columns begin at 1.
package struct JSONSyntaxError: Error, Equatable {
  package let line: Int
  package let column: Int
  package let reason: String
}

extension JSONValue {
  /// Parses the object or array in a file that a person writes: no member may occur twice.
  package static func parse(file bytes: UnsafeRawBufferPointer) throws(JSONSyntaxError) -> JSONValue {
    let flags = Int(JSON_REJECT_DUPLICATES)
    var error = json_error_t()
    let text = bytes.bindMemory(to: CChar.self)
    guard let root = load(text, flags, &error) else {
      throw JSONSyntaxError(
        line: max(Int(error.line), 1), column: max(Int(error.column), 1),
        reason: String(cString: swiftlet_json_error_text(&error)))
    }
    defer { swiftlet_json_release(root) }
    return JSONValue(root)
  }

  /// Where a member is in the text of a value: the first of this name among the least deeply nested ones; nil if there is none.
  /// - Parameter bytes: JSON.
  package static func position(of member: String, in bytes: UnsafeRawBufferPointer) -> (line: Int, column: Int)? {
    var best: (depth: Int, line: Int, column: Int)?
    var (line, column, depth, at) = (1, 1, 0, 0)
    while at < bytes.count {
      switch bytes[at] {
      case 0x0a: (line, column) = (line + 1, 0)
      case 0x5b, 0x7b: depth += 1
      case 0x5d, 0x7d: depth -= 1
      case 0x22:
        let start = at
        at += 1
        while at < bytes.count, bytes[at] != 0x22 { at += bytes[at] == 0x5c ? 2 : 1 }
        at = min(at, bytes.count)
        let name = UnsafeRawBufferPointer(rebasing: bytes[(start + 1)..<max(at, start + 1)])
        if name.elementsEqual(member.utf8), isName(bytes[at...].dropFirst()), depth < best?.depth ?? .max {
          best = (depth, line, column)
        }
        column += characters(name) + 1
      default: break
      }
      if at < bytes.count, bytes[at] & 0xc0 != 0x80 { column += 1 }
      at += 1
    }
    return best.map { ($0.line, $0.column) }
  }

  /// Whether a string before these bytes is the name of a member.
  private static func isName(_ rest: Slice<UnsafeRawBufferPointer>) -> Bool {
    rest.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0a && $0 != 0x0d } == 0x3a
  }

  /// Number of characters in UTF-8.
  private static func characters(_ bytes: UnsafeRawBufferPointer) -> Int { bytes.count { $0 & 0xc0 != 0x80 } }
}
