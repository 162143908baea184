/// Bytes received on a connection, split into messages: Varlink terminates each with a zero byte.
public struct MessageBuffer {
  /// Maximum size of a message, in bytes.
  public static let limit = 1 << 20

  /// Maximum nesting depth of arrays and objects in a message. The parser is recursive and runs on any thread's stack.
  public static let depthLimit = 32

  /// Initial capacity, in bytes, to which it returns after a longer message: half a KiB with the array's header.
  private static let minCapacity = 480

  private var bytes: [UInt8] = []
  /// The range of bytes that have not been consumed. The rest of the array is free.
  private var start = 0
  private var end = 0
  /// Bytes that were searched without finding the end of a message.
  private var searched = 0

  /// An empty buffer.
  public init() {}

  /// Number of bytes that have not been consumed, including those of an incomplete message.
  public var count: Int { end - start }

  /// Size of the buffer in memory, including free space.
  public var size: Int { bytes.count }

  /// Receives bytes.
  /// - Parameter read: writes bytes to the buffer that it is given, which has at least 256 bytes. Returns their number,
  ///   or 0 or less for none.
  /// - Returns: the result of `read`.
  public mutating func fill(by read: (UnsafeMutableRawBufferPointer) -> Int) -> Int {
    makeSpace()
    let end = end
    let result = bytes.withUnsafeMutableBytes { read(UnsafeMutableRawBufferPointer(rebasing: $0[end...])) }
    self.end += max(result, 0)
    return result
  }

  private mutating func makeSpace() {
    let space = 256
    if start == end {
      if bytes.count > Self.minCapacity { bytes = [] }
      (start, end, searched) = (0, 0, 0)
    }
    guard bytes.count - end < space else { return }
    // Amortized: a byte is moved only after as many others were consumed, or when the capacity doubles.
    let waiting = count
    let size = max(Self.minCapacity, min(2 * (waiting + space), max(waiting, Self.limit) + 2 * space))
    var larger = [UInt8](repeating: 0, count: size)
    for index in 0..<waiting { larger[index] = bytes[start + index] }
    bytes = larger
    (start, end, searched) = (0, waiting, max(searched - start, 0))
  }

  /// The state of the bytes received so far.
  public enum Next: Equatable {
    /// A message, without its zero byte.
    case message([UInt8])
    /// More bytes are needed.
    case incomplete
    /// The message is longer than the maximum.
    case tooLong
  }

  /// Removes the next message.
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
