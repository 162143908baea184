/// Bytes of a connection on their way to becoming messages: Varlink ends each with a zero byte.
public struct MessageBuffer {
  /// Most bytes that a message may have.
  public static let limit = 1 << 20

  /// How deep arrays and objects of a message may nest; what reads them goes as deep, on any thread's stack.
  public static let depthLimit = 32

  /// Bytes that there is room for at first, and kept once a longer message is gone: with the array's own, half a KiB.
  private static let least = 480

  private var bytes: [UInt8] = []
  /// Where the bytes that are not taken yet begin, and end. Behind them is room.
  private var start = 0
  private var end = 0
  /// Bytes that were searched for the end of a message, and hold none.
  private var searched = 0

  public init() {}

  /// Bytes that wait, of whole messages or not.
  public var count: Int { end - start }

  /// Adds what arrives.
  /// - Parameter read: puts it into the room that it is given: 256 bytes at least, more where more has come before. It answers how
  ///   many bytes that were, or 0 or less for none.
  /// - Returns: what `read` has answered.
  public mutating func fill(by read: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
    makeRoom()
    let end = end
    let result = bytes.withUnsafeMutableBytes { read(UnsafeMutableRawBufferPointer(rebasing: $0[end...])) }
    self.end += max(result, 0)
    return result
  }

  private mutating func makeRoom() {
    let room = 256
    if start == end {
      if bytes.count > Self.least { bytes = [] }
      (start, end, searched) = (0, 0, 0)
    }
    guard bytes.count - end < room else { return }
    // No byte is moved more often than others have come and gone, or the room has doubled.
    let waiting = count
    let size = max(Self.least, 2 * (waiting + room))
    var larger = [UInt8](repeating: 0, count: size)
    for index in 0..<waiting { larger[index] = bytes[start + index] }
    bytes = larger
    (start, end, searched) = (0, waiting, max(searched - start, 0))
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
    if let zero = bytes[from..<end].firstIndex(of: 0) {
      guard zero - start <= Self.limit else { return .tooLong }
      let message = Array(bytes[start..<zero])
      start = zero + 1
      searched = start
      return .message(message)
    }
    searched = end
    return count > Self.limit ? .tooLong : .incomplete
  }
}
