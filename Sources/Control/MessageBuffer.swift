/// Bytes of a connection on their way to becoming messages: Varlink ends each with a zero byte.
public struct MessageBuffer {
  /// Most bytes that a message may have.
  public static let limit = 1 << 20

  /// How deep arrays and objects of a message may nest; what reads them goes as deep, on any thread's stack.
  public static let depthLimit = 32

  private var bytes: [UInt8] = []
  /// Where the bytes that are not taken yet begin.
  private var start = 0
  /// Bytes that were searched for the end of a message, and hold none.
  private var searched = 0

  public init() {}

  /// Bytes that wait, of whole messages or not.
  public var count: Int { bytes.count - start }

  /// Adds what has arrived.
  public mutating func append(_ new: UnsafeRawBufferPointer) {
    if start > 0, start == bytes.count {
      bytes.removeAll(keepingCapacity: bytes.capacity <= 4096)
      (start, searched) = (0, 0)
    } else if start > Self.limit {
      bytes.removeFirst(start)
      searched -= start
      start = 0
    }
    bytes.append(contentsOf: new)
  }

  /// What to do with the bytes so far.
  public enum Next: Equatable {
    /// A message, without its zero byte.
    case message([UInt8])
    /// More bytes are needed.
    case incomplete
    /// More bytes than a message may have, and no end of it.
    case tooLong
  }

  /// Takes the next message.
  public mutating func next() -> Next {
    let from = max(start, searched)
    if let end = bytes[from...].firstIndex(of: 0) {
      guard end - start <= Self.limit else { return .tooLong }
      let message = Array(bytes[start..<end])
      start = end + 1
      searched = start
      return .message(message)
    }
    searched = bytes.count
    return count > Self.limit ? .tooLong : .incomplete
  }
}
