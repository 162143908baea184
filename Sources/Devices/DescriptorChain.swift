/// A request of a driver's: buffers for the device to read, then buffers for it to write. Made once, filled again and again.
public struct DescriptorChain {
  /// Number of the first descriptor, by which the chain is given back.
  public internal(set) var head: UInt16 = 0
  public var readable = BufferList()
  public var writable = BufferList()

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

/// Buffers in the guest's memory, consumed from the front: where one ends and the next begins means nothing.
public struct BufferList {
  private var buffers: [UnsafeMutableRawBufferPointer] = []
  /// The buffer that is next, and how much of it is consumed.
  private var index = 0
  private var consumed = 0
  /// Bytes that are left.
  public private(set) var count = 0

  public init() {}

  var isEmpty: Bool { buffers.isEmpty }

  mutating func clear() {
    buffers.removeAll(keepingCapacity: true)
    index = 0
    consumed = 0
    count = 0
  }

  /// At most 1024 buffers of less than 4 GiB: the sum fits.
  mutating func append(_ bytes: UnsafeMutableRawBufferPointer) {
    buffers.append(bytes)
    count += bytes.count
  }

  /// Consumes the next run of bytes, at most so many.
  /// - Returns: not empty; nil where no byte is left. The guest may change the bytes meanwhile.
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

  /// Copies bytes out of the buffers and consumes them.
  /// - Returns: how many; fewer than there is room for where the buffers end.
  public mutating func read(into target: UnsafeMutableRawBufferPointer) -> Int {
    var done = 0
    while done < target.count, let bytes = next(atMost: target.count - done) {
      (target.baseAddress! + done).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
      done += bytes.count
    }
    return done
  }

  /// Copies bytes into the buffers and consumes the room.
  /// - Returns: how many; fewer than there are where the buffers end.
  public mutating func write(_ source: UnsafeRawBufferPointer) -> Int {
    var done = 0
    while done < source.count, let bytes = next(atMost: source.count - done) {
      bytes.baseAddress!.copyMemory(from: source.baseAddress! + done, byteCount: bytes.count)
      done += bytes.count
    }
    return done
  }

  /// Takes the last bytes away: a block device's answer ends in a status byte.
  /// - Returns: a list of those bytes; nil where there are fewer.
  public mutating func splitLast(_ tail: Int) -> BufferList? {
    guard count >= tail else { return nil }
    var rest = self
    while rest.count > tail { _ = rest.next(atMost: rest.count - tail) }
    count -= tail
    return rest
  }
}
