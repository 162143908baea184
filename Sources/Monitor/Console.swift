import CLinux
import Platform

/// Where an applet's output goes: gathered into lines, so that no character costs a write(2) of its own.
public final class Console {
  private let descriptor: Int32
  private let buffer: UnsafeMutableRawBufferPointer
  private var count = 0

  /// Most bytes that wait for the end of their line.
  public static let capacity = 4096

  /// - Parameter descriptor: of a file that is open for writing for as long as this object lives; it is not closed.
  public init(descriptor: Int32) {
    self.descriptor = descriptor
    buffer = .allocate(byteCount: Self.capacity, alignment: 1)
  }

  deinit { buffer.deallocate() }

  /// Takes one byte; a line feed, or a full buffer, sends what has gathered.
  /// - Throws: the kernel's error where it cannot be sent.
  @inline(__always)
  public func put(_ byte: UInt8) throws(Errno) {
    buffer[count] = byte
    count += 1
    if byte == 0x0a || count == Self.capacity { try flush() }
  }

  /// Takes any number of bytes; they are sent up to the last line feed among them.
  /// - Throws: the kernel's error where they cannot be sent.
  public func put(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
    let end = (bytes.lastIndex(of: 0x0a) ?? -1) + 1
    var rest = bytes[end...]
    if end > 0 {
      if count + end <= Self.capacity {
        append(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        try flush()
      } else {
        try flush()
        try send(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
      }
    }
    while !rest.isEmpty {
      let part = rest.prefix(Self.capacity - count)
      append(UnsafeRawBufferPointer(rebasing: part))
      rest = rest[part.endIndex...]
      if count == Self.capacity { try flush() }
    }
  }

  /// Sends what has gathered, be the line complete or not.
  public func flush() throws(Errno) {
    let waiting = UnsafeRawBufferPointer(rebasing: buffer[..<count])
    count = 0
    try send(waiting)
  }

  private func append(_ bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    UnsafeMutableRawBufferPointer(rebasing: buffer[count...]).copyMemory(from: bytes)
    count += bytes.count
  }

  private func send(_ bytes: UnsafeRawBufferPointer) throws(Errno) {
    var rest = bytes
    while !rest.isEmpty {
      let result = linux_write(descriptor, rest.baseAddress, rest.count)
      if result == -Int(EINTR) { continue }
      if result == -Int(EAGAIN) {
        // Somebody else's open file may be set not to block: wait until it takes more.
        linux_wait_writable(descriptor)
        continue
      }
      rest = UnsafeRawBufferPointer(rebasing: rest[(try checked(result))...])
    }
  }
}
