import CLinux

/// Where an applet's output goes: gathered into lines, so that no character costs a write(2) of its own.
public final class Console {
  package let descriptor: Int32
  private let buffer: UnsafeMutableRawBufferPointer
  private var count = 0

  /// Most bytes that wait for the end of their line.
  public static let capacity = 4096
  /// Most bytes that are sent without a look at whether to give up, and at how much a history holds: a pipe's worth.
  public static let piece = 64 << 10

  /// For output to a file: about how many bytes of it to keep. Older ones become a hole, so that what is in the file stays
  /// where it is. What a full disk refuses is lost, and the applet not told. nil for what is no file of the monitor's own.
  public var history: Int64? {
    didSet {
      fileSize = Int64(max(linux_size(descriptor), 0))
      forgotten = max(fileSize - (history ?? 0), 0)
    }
  }
  private var fileSize: Int64 = 0
  private var forgotten: Int64 = 0

  /// - Parameter descriptor: of a file that is open for writing for as long as this object lives; it is not closed.
  public init(descriptor: Int32) {
    self.descriptor = descriptor
    buffer = .allocate(byteCount: Self.capacity, alignment: 1)
  }

  deinit { buffer.deallocate() }

  /// Asked each time a signal interrupts the sending, and behind each piece of what is more than one: whether to give up, and
  /// lose what was not sent.
  public typealias GiveUp = () -> Bool

  /// Takes one byte; a line feed, or a full buffer, sends what has gathered.
  /// - Throws: the kernel's error where it cannot be sent; EINTR after giving up.
  @inline(__always)
  public func put(_ byte: UInt8, giveUp: GiveUp) throws(Errno) {
    buffer[count] = byte
    count += 1
    if byte == 0x0a || count == Self.capacity { try flush(giveUp: giveUp) }
  }

  /// Takes any number of bytes; they are sent up to the last line feed among them, and in pieces where they are many.
  /// - Throws: the kernel's error where they cannot be sent; EINTR after giving up.
  public func put(_ all: UnsafeRawBufferPointer, giveUp: GiveUp) throws(Errno) {
    var bytes = all
    while bytes.count > Self.piece {
      try flush(giveUp: giveUp)
      try send(UnsafeRawBufferPointer(rebasing: bytes[..<Self.piece]), giveUp)
      if giveUp() { throw .interrupted }
      bytes = UnsafeRawBufferPointer(rebasing: bytes[Self.piece...])
    }
    let end = (bytes.lastIndex(of: 0x0a) ?? -1) + 1
    var rest = bytes[end...]
    if end > 0 {
      if count + end <= Self.capacity {
        append(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        try flush(giveUp: giveUp)
      } else {
        try flush(giveUp: giveUp)
        try send(UnsafeRawBufferPointer(rebasing: bytes[..<end]), giveUp)
      }
    }
    while !rest.isEmpty {
      let part = rest.prefix(Self.capacity - count)
      append(UnsafeRawBufferPointer(rebasing: part))
      rest = rest[part.endIndex...]
      if count == Self.capacity { try flush(giveUp: giveUp) }
    }
  }

  /// Sends what has gathered, be the line complete or not.
  public func flush(giveUp: GiveUp) throws(Errno) {
    let waiting = UnsafeRawBufferPointer(rebasing: buffer[..<count])
    count = 0
    try send(waiting, giveUp)
  }

  /// Sends what has gathered if that can be done without waiting for a reader, and forgets it otherwise.
  public func flushAtOnce() {
    // A pipe that can be written takes a full buffer (PIPE_BUF).
    if linux_can_write(descriptor) { try? flush { true } }
    count = 0
  }

  /// Looks after a file that keeps a history.
  /// - Parameter result: what write(2) answered.
  /// - Returns: whether the rest of the bytes is to be forgotten: the disk is full.
  private func keepHistory(_ result: Int) -> Bool {
    if [ENOSPC, EDQUOT, EFBIG].contains(where: { result == -Int($0) }) { return true }
    guard let history, result > 0 else { return false }
    fileSize += Int64(result)
    guard fileSize - forgotten > history + history / 4 else { return false }
    // Whole blocks alone are given back, and a file system without holes gives none.
    forgotten = fileSize - history
    _ = linux_punch(descriptor, forgotten)
    return false
  }

  private func append(_ bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).copyMemory(from: bytes)
    count += bytes.count
  }

  private func send(_ bytes: UnsafeRawBufferPointer, _ giveUp: GiveUp) throws(Errno) {
    var rest = bytes
    while !rest.isEmpty {
      let result = linux_write(descriptor, rest.baseAddress, rest.count)
      if history != nil, keepHistory(result) { return }
      if result == -Int(EINTR) || result == -Int(EAGAIN) {
        // Somebody else's open file may be set not to block: wait until it takes more, or a signal comes.
        if result == -Int(EAGAIN) { linux_wait_writable(descriptor) }
        if giveUp() { throw .interrupted }
        continue
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[(try checked(result))...])
      // A signal that comes when a part is sent shows in no other way.
      if !rest.isEmpty, giveUp() { throw .interrupted }
    }
  }
}
