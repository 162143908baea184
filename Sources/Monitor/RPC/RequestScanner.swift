/// Finds where a JSON-RPC request ends in bytes that arrive a part at a time, before anything is made of them.
package struct RequestScanner {
  /// What the bytes so far are.
  package enum Found: Equatable {
    /// White space alone, or the beginning of a request.
    case incomplete
    /// A whole request, by its bytes; `id` are those of its identifier, as it stands there.
    case request(Range<Int>, id: Range<Int>?)
    /// Nothing that a request can begin with, or one that nests deeper than `depthLimit`.
    case malformed
  }

  /// How deep arrays and objects may nest; what reads them goes as deep.
  package static let depthLimit = 32

  package static func scan(_ bytes: UnsafeRawBufferPointer) -> Found {
    var at = 0
    while at < bytes.count, isSpace(bytes[at]) { at += 1 }
    guard at < bytes.count else { return .incomplete }
    guard bytes[at] == 0x7b else { return .malformed }
    let start = at
    var depth = 0
    var id: Range<Int>?
    /// Where the value of the outermost object's member "id" begins.
    var idStart: Int?
    var lastString: Range<Int>?
    while at < bytes.count {
      switch bytes[at] {
      case 0x22:  // a string
        let first = at
        at += 1
        while at < bytes.count, bytes[at] != 0x22 { at += bytes[at] == 0x5c ? 2 : 1 }
        guard at < bytes.count else { return .incomplete }
        lastString = first..<at + 1
      case 0x3a where depth == 1:  // the colon of a member
        if let name = lastString, bytes[name].elementsEqual([0x22, 0x69, 0x64, 0x22]) { idStart = at + 1 }
      case 0x2c where depth == 1:
        if let begin = idStart { id = trimmed(bytes, begin..<at) }
        idStart = nil
      case 0x7b, 0x5b:
        depth += 1
        guard depth <= depthLimit else { return .malformed }
      case 0x7d, 0x5d:
        depth -= 1
        if depth == 0 {
          if let begin = idStart { id = trimmed(bytes, begin..<at) }
          return .request(start..<at + 1, id: id)
        }
      default: break
      }
      at += 1
    }
    return .incomplete
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func trimmed(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end, isSpace(bytes[start]) { start += 1 }
    while end > start, isSpace(bytes[end - 1]) { end -= 1 }
    return start..<end
  }
}
