import CLinux

/// An applet's output. It is collected into lines, so that not every character needs a write(2).
public final class Console {
  package let descriptor: Int32
  /// Empty before the first output: many contexts never have any.
  private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private var count = 0

  /// Maximum size, in bytes, of an incomplete line; a longer one is written in parts.
  public static let capacity = 4096
  /// Maximum size, in bytes, of one write(2); between two of them `MustStop` is called. The size of a pipe's buffer.
  public static let piece = 64 << 10

  /// The number of bytes to keep in the output file, approximately; nil if all are kept. Older bytes become a hole, so
  /// that offsets in the file stay valid. Output that does not fit on the disk is lost, and the applet does not see an
  /// error.
  public var history: Int64? {
    didSet {
      fileSize = Int64(max(linux_size(descriptor), 0))
      discarded = max(fileSize - (history ?? 0), 0)
    }
  }
  private var fileSize: Int64 = 0
  private var discarded: Int64 = 0

  /// A file for the times of the output in a history; nil for none. Each record is a time, in milliseconds since 1970, and the offset
  /// of what was written then: two 64-bit numbers. Output within `timeInterval` has the time of the first.
  public var times: Int32? {
    // Here, since the sandbox does not allow fstat(2) later.
    didSet { timesSize = times.map { Int64(max(linux_size($0), 0)) } ?? 0 }
  }
  private var lastTime: Int64 = 0
  private var timesSize: Int64 = 0

  /// Milliseconds between two records of times.
  public static let timeInterval: Int64 = 100
  /// Number of records to keep, approximately.
  public static let maxTimes = 16384
  /// Size of a record, in bytes.
  public static let timeSize: Int64 = 16

  /// - Parameter descriptor: a file open for writing. It must stay open while this object exists, and is not closed.
  public init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { buffer.deallocate() }

  /// Returns whether to stop writing and drop the rest. Called when a signal interrupts a write, and between the parts of a long
  /// output.
  public typealias MustStop = () -> Bool

  /// Adds one byte; a line feed or a full buffer writes the collected bytes.
  /// - Throws: the error of write(2); EINTR if `mustStop` returned true.
  @inline(__always)
  public func put(_ byte: UInt8, mustStop: MustStop) throws(Errno) {
    if buffer.baseAddress == nil { allocate() }
    buffer[count] = byte
    count += 1
    if byte == 0x0a || count == Self.capacity { try flush(mustStop: mustStop) }
  }

  /// Adds bytes. Complete lines are written, in several parts if they are long.
  /// - Throws: the error of write(2); EINTR if `mustStop` returned true.
  public func put(_ all: UnsafeRawBufferPointer, mustStop: MustStop) throws(Errno) {
    var bytes = all
    while bytes.count > Self.piece {
      try flush(mustStop: mustStop)
      try send(UnsafeRawBufferPointer(rebasing: bytes[..<Self.piece]), mustStop)
      if mustStop() { throw .interrupted }
      bytes = UnsafeRawBufferPointer(rebasing: bytes[Self.piece...])
    }
    let end = (bytes.lastIndex(of: 0x0a) ?? -1) + 1
    var rest = bytes[end...]
    if end > 0 {
      if count + end <= Self.capacity {
        append(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        try flush(mustStop: mustStop)
      } else {
        try flush(mustStop: mustStop)
        try send(UnsafeRawBufferPointer(rebasing: bytes[..<end]), mustStop)
      }
    }
    while !rest.isEmpty {
      let part = rest.prefix(Self.capacity - count)
      append(UnsafeRawBufferPointer(rebasing: part))
      rest = rest[part.endIndex...]
      if count == Self.capacity { try flush(mustStop: mustStop) }
    }
  }

  /// Writes the collected bytes, even if their line is incomplete.
  public func flush(mustStop: MustStop) throws(Errno) {
    let waiting = UnsafeRawBufferPointer(rebasing: buffer[..<count])
    count = 0
    try send(waiting, mustStop)
  }

  /// Writes the collected bytes if that does not block, and drops them otherwise.
  public func flushAtOnce() {
    // A pipe that is writable has space for a full buffer (PIPE_BUF).
    if linux_can_write(descriptor) { try? flush { true } }
    count = 0
  }

  /// Enforces the limit of a file with a history.
  /// - Parameter result: the result of write(2).
  /// - Returns: whether to drop the rest of the bytes, because the disk is full.
  private func keepHistory(_ result: Int) -> Bool {
    if [ENOSPC, EDQUOT, EFBIG].contains(where: { result == -Int($0) }) { return true }
    guard let history, result > 0 else { return false }
    fileSize += Int64(result)
    guard fileSize - discarded > history + history / 4 else { return false }
    // The kernel frees whole blocks only, and a file system without holes frees none.
    discarded = fileSize - history
    _ = linux_punch_hole(descriptor, discarded)
    return false
  }

  /// Records the time of the output that follows, unless the last record is of the same moment.
  private func recordTime() {
    guard let times else { return }
    let now = linux_clock(CLOCK_REALTIME) / 1_000_000
    // The clock may have been set back.
    guard now >= lastTime + Self.timeInterval || now < lastTime else { return }
    lastTime = now
    let record = (now, fileSize)
    // After an incomplete record, others would be at wrong places: the disk is full.
    guard withUnsafeBytes(of: record, { linux_write(times, $0.baseAddress, $0.count) }) == Int(Self.timeSize) else {
      self.times = nil
      return
    }
    timesSize += Self.timeSize
    let end = timesSize - Int64(Self.maxTimes) * Self.timeSize
    if end > 0, end % (Int64(Self.maxTimes) / 4 * Self.timeSize) == 0 { _ = linux_punch_hole(times, end) }
  }

  @inline(never)
  private func allocate() { buffer = .allocate(byteCount: Self.capacity, alignment: 1) }

  private func append(_ bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    if buffer.baseAddress == nil { allocate() }
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).copyMemory(from: bytes)
    count += bytes.count
  }

  private func send(_ bytes: UnsafeRawBufferPointer, _ mustStop: MustStop) throws(Errno) {
    var rest = bytes
    if times != nil, !rest.isEmpty { recordTime() }
    while !rest.isEmpty {
      let result = linux_write(descriptor, rest.baseAddress, rest.count)
      if history != nil, keepHistory(result) { return }
      if result == -Int(EINTR) || result == -Int(EAGAIN) {
        // An inherited open file description may be non-blocking: wait until it is writable, or a signal arrives.
        if result == -Int(EAGAIN) { linux_wait_writable(descriptor) }
        if mustStop() { throw .interrupted }
        continue
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[(try checked(result))...])
      // A signal during a partial write is not reported in any other way.
      if !rest.isEmpty, mustStop() { throw .interrupted }
    }
  }
}
