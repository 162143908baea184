/// A request of a driver: buffers for the device to read, followed by buffers for it to write. The object is reused.
public struct DescriptorChain {
  /// Index of the first descriptor, which identifies the chain in the used ring.
  public internal(set) var head: UInt16 = 0
  /// The buffers that the device reads.
  public var readable = BufferList()
  /// The buffers that the device writes.
  public var writable = BufferList()

  /// An empty chain.
  public init() {}

  mutating func clear() {
    readable.clear()
    writable.clear()
  }

  mutating func append(_ bytes: UnsafeMutableRawBufferPointer, isWritable: Bool) throws(QueueError) {
    if isWritable {
      writable.append(bytes)
    } else {
      guard writable.isEmpty else { throw .order }
      readable.append(bytes)
    }
  }
}

/// Buffers in guest memory, consumed from the front. Their boundaries have no meaning.
public struct BufferList {
  private var buffers: [UnsafeMutableRawBufferPointer] = []
  /// The current buffer, and how much of it is consumed.
  private var index = 0
  private var consumed = 0
  /// Number of bytes that are left.
  public private(set) var count = 0

  /// An empty list.
  public init() {}

  var isEmpty: Bool { buffers.isEmpty }

  mutating func clear() {
    buffers.removeAll(keepingCapacity: true)
    index = 0
    consumed = 0
    count = 0
  }

  /// At most 1024 buffers of less than 4 GiB: the sum cannot overflow.
  mutating func append(_ bytes: UnsafeMutableRawBufferPointer) {
    buffers.append(bytes)
    count += bytes.count
  }

  /// Consumes the next contiguous bytes, up to a maximum number.
  /// - Returns: not empty; nil at the end. The guest may change the bytes concurrently.
  public mutating func next(atMost limit: Int = .max) -> UnsafeMutableRawBufferPointer? {
    let limit = min(limit, count)
    while limit > 0, index < buffers.count {
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffers[index][consumed...].prefix(limit))
      consumed += bytes.count
      count -= bytes.count
      if consumed == buffers[index].count {
        index += 1
        consumed = 0
      }
      if !bytes.isEmpty { return bytes }
    }
    return nil
  }

  /// Copies bytes from the buffers and consumes them.
  /// - Returns: their number; smaller than the target only at the end of the buffers.
  public mutating func read(into target: UnsafeMutableRawBufferPointer) -> Int {
    var done = 0
    while done < target.count, let bytes = next(atMost: target.count - done) {
      (target.baseAddress! + done).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
      done += bytes.count
    }
    return done
  }

  /// Copies bytes into the buffers and consumes the space.
  /// - Returns: their number; smaller than the source only at the end of the buffers.
  public mutating func write(_ source: UnsafeRawBufferPointer) -> Int {
    var done = 0
    while done < source.count, let bytes = next(atMost: source.count - done) {
      bytes.baseAddress!.copyMemory(from: source.baseAddress! + done, byteCount: bytes.count)
      done += bytes.count
    }
    return done
  }

  /// Removes the last bytes: a block device's response ends in a status byte.
  /// - Returns: a list with those bytes; nil if there are fewer.
  public mutating func splitLast(_ tail: Int) -> BufferList? {
    guard count >= tail else { return nil }
    var rest = self
    while rest.count > tail { _ = rest.next(atMost: rest.count - tail) }
    count -= tail
    return rest
  }
}
