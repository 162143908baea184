/// Finds the end of a JSON-RPC request in data that arrives in parts, before it is parsed. No byte is scanned twice.
package struct RequestScanner {
  /// What the bytes so far are.
  package enum Found: Equatable {
    /// White space only, or the beginning of a request.
    case incomplete
    /// A complete request, and the range of its identifier.
    case request(Range<Int>, id: Range<Int>?)
    /// Not the beginning of a request, or one that is nested deeper than `depthLimit`.
    case malformed
  }

  /// The maximum nesting of arrays and objects, which bounds the recursion of the parser.
  package static let depthLimit = 32

  /// The next byte to read; past the end after a backslash in a string.
  private var at = 0
  private var start: Int?
  private var depth = 0
  private var isInString = false
  /// Where the last string begins; less than 0 if that was dropped.
  private var stringStart = 0
  /// Whether the last string is "id".
  private var isID = false
  /// Where the value of the outermost object's member "id" begins.
  private var idStart: Int?
  /// The identifier.
  private(set) var id: Range<Int>?

  package init() {}

  /// Scans bytes that are all there.
  package static func scan(_ bytes: UnsafeRawBufferPointer) -> Found {
    var scanner = RequestScanner()
    return scanner.scan(bytes)
  }

  /// Continues the scan.
  /// - Parameter bytes: those of the last call that were not dropped, and what has arrived since. After a request or malformed
  ///   bytes, the next scan needs a new scanner.
  package mutating func scan(_ bytes: UnsafeRawBufferPointer) -> Found {
    if start == nil {
      while at < bytes.count, Self.isSpace(bytes[at]) { at += 1 }
      guard at < bytes.count else { return .incomplete }
      guard bytes[at] == 0x7b else { return .malformed }
      start = at
    }
    let start = start ?? 0
    while true {
      if isInString {
        while at < bytes.count, bytes[at] != 0x22 { at += bytes[at] == 0x5c ? 2 : 1 }
        guard at < bytes.count else { return .incomplete }
        isInString = false
        isID =
          at - stringStart == 3 && stringStart >= 0 && bytes[stringStart + 1] == 0x69 && bytes[stringStart + 2] == 0x64
        at += 1
      }
      guard at < bytes.count else { return .incomplete }
      switch bytes[at] {
      case 0x22:  // a string
        isInString = true
        stringStart = at
      case 0x3a where depth == 1:  // the colon of a member
        if isID { idStart = at + 1 }
      case 0x2c where depth == 1: endMember(bytes)
      case 0x7b, 0x5b:
        depth += 1
        guard depth <= Self.depthLimit else { return .malformed }
      case 0x7d, 0x5d:
        depth -= 1
        if depth == 0 {
          endMember(bytes)
          at += 1
          return .request(start..<at, id: id)
        }
      default: break
      }
      at += 1
    }
  }

  /// Drops bytes that were scanned, for a request that is too long to be kept: all that are not of an identifier whose end is still
  /// to come, or of a name that may be "id". The identifier so far must have been taken.
  /// - Parameter count: number of bytes that there are.
  /// - Returns: number of bytes at the front that the caller must remove.
  mutating func drop(of count: Int) -> Int {
    id = nil
    var kept = min(at, count)
    if isInString, kept - stringStart <= 3 { kept = stringStart }
    if let idStart {
      // A longer identifier is none that any client has.
      if count - idStart > Self.idLimit { self.idStart = nil } else { kept = min(kept, idStart) }
    }
    kept = max(kept, 0)
    at -= kept
    start = start.map { _ in 0 }
    stringStart -= kept
    idStart = idStart.map { $0 - kept }
    return kept
  }

  /// Maximum size, in bytes, of the identifier of a request that is not kept.
  static let idLimit = 1024

  private mutating func endMember(_ bytes: UnsafeRawBufferPointer) {
    if let begin = idStart { id = Self.trimmed(bytes, begin..<at) }
    idStart = nil
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func trimmed(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
    var (start, end) = (range.lowerBound, range.upperBound)
    while start < end, isSpace(bytes[start]) { start += 1 }
    while end > start, isSpace(bytes[end - 1]) { end -= 1 }
    return start..<end
  }
}
