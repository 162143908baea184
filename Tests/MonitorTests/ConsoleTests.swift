import CLinux
import Monitor
import Platform
import TestSupport
import Testing

/// Output that is collected into lines. Each part is one write(2).
struct ConsoleTests {
  private let output: Capture
  private let console: Console

  init() throws {
    output = try Capture()
    console = Console(descriptor: output.descriptor)
  }

  private func put(_ text: String) throws { try put(Array(text.utf8)) }
  private func put(_ bytes: [UInt8]) throws(Errno) { try Self.put(bytes, to: console) { false } }

  private static func put(_ bytes: [UInt8], to console: Console, mustStop: Console.MustStop) throws(Errno) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    try console.put(UnsafeRawBufferPointer(buffer), mustStop: mustStop)
  }

  @Test func aLineIsWrittenAtItsEnd() throws {
    for byte in "ab\nc".utf8 { try console.put(byte) { false } }
    #expect(output.pieces() == ["ab\n"])
    try console.flush { false }
    #expect(output.pieces() == ["c"])
    try console.flush { false }
    #expect(output.pieces() == [])
  }

  @Test func severalLinesAreWrittenAtOnce() throws {
    try put("one\ntwo\nthr")
    try put("ee\n\nfour")
    #expect(output.pieces() == ["one\ntwo\n", "three\n\n"])
    console.flushAtOnce()
    #expect(output.pieces() == ["four"])
  }

  @Test func anIncompleteLineIsWrittenWhenTheBufferIsFull() throws {
    for _ in 0..<Console.capacity + 5 { try console.put(0x78) { false } }
    #expect(output.pieces().map(\.utf8.count) == [Console.capacity])
    try put([UInt8](repeating: 0x79, count: 2 * Console.capacity))
    #expect(output.pieces().map(\.utf8.count) == [Console.capacity, Console.capacity])
    try console.flush { false }
    #expect(output.pieces() == ["yyyyy"])
  }

  @Test func outputLargerThanTheBufferKeepsItsOrder() throws {
    let long = String(repeating: "z", count: 3 * Console.capacity) + "\nrest"
    try put("before ")
    try put(long)
    try console.flush { false }
    #expect(output.pieces().joined() == "before " + long)
  }

  @Test(arguments: [1, 100, 4095, 4096, 4097, 9000])
  func dataKeepsItsOrder(size: Int) throws {
    var random = SeededGenerator(seed: UInt64(size))
    var sent: [UInt8] = []
    for _ in 0..<40 {
      let piece = (0..<Int.random(in: 0...size, using: &random)).map { _ -> UInt8 in
        Int.random(in: 0..<50, using: &random) == 0 ? 0x0a : UInt8.random(in: 0x61...0x7a, using: &random)
      }
      sent += piece
      if piece.count == 1 { try console.put(piece[0]) { false } } else { try put(piece) }
      // The socket's buffer is limited.
      received += output.pieces().joined()
    }
    try console.flush { false }
    received += output.pieces().joined()
    #expect(Array(received.utf8) == sent)
  }
  private var received: String {
    get { box.text }
    nonmutating set { box.text = newValue }
  }
  private let box = Box()
  private final class Box { var text = "" }

  /// In a single call of any size limits are checked, and a file keeps only its history.
  @Test(arguments: [UInt8(0x0a), 0x78]) func largeOutputChecksForStops(byte: UInt8) throws {
    let file = try #require(tmpfile())
    defer { fclose(file) }
    let console = Console(descriptor: fileno(file))
    console.history = 256 << 10
    var asked = 0
    var limit: Int64 = 0
    let bytes = [UInt8](repeating: byte, count: 4 << 20)
    try Self.put(bytes, to: console) {
      var status = stat()
      fstat(fileno(file), &status)
      limit = max(limit, Int64(status.st_blocks) * 512)
      asked += 1
      return false
    }
    try console.flush { false }
    #expect(linux_size(fileno(file)) == 4 << 20)
    #expect(asked == 63)
    #expect(limit <= 448 << 10)
    asked = 0
    #expect(throws: Errno.interrupted) {
      try Self.put(bytes, to: console) {
        asked += 1
        return asked == 2
      }
    }
    #expect(linux_size(fileno(file)) == 4 << 20 + 128 << 10)
  }

  /// A signal during a write that has sent a part is only visible as a short count.
  @Test func aPartialWriteStillChecksForStops() throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    // The 64 KiB of a pipe have space for one more page.
    let limit = [UInt8](repeating: 0, count: 60 << 10)
    #expect(linux_write(pair[1], limit, limit.count) == limit.count)
    let wasBlocked = linux_kick_unblock()
    defer { if wasBlocked != 0 { linux_kick_block() } }
    #expect(linux_kick_install() == 0)
    let timer = try KickTimer(.wall)
    try timer.set(nanoseconds: 300_000_000)
    let console = Console(descriptor: pair[1])
    #expect(throws: Errno.interrupted) {
      try Self.put([UInt8](repeating: 0x0a, count: 10_000), to: console) { true }
    }
  }

  @Test func aFullDiskIsAnError() throws {
    let full = Int32(linux_open("/dev/full", O_WRONLY, 0))
    defer { _ = linux_close(full) }
    let console = Console(descriptor: full)
    #expect(throws: Errno(ENOSPC)) { try console.put(0x0a) { false } }
    // Dropped output is not sent later.
    try console.flush { false }
  }

  @Test func outputWaitsForASlowReaderUntilTheEnd() throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    // O_NONBLOCK, with the only interface that is not variadic.
    let shared = Int32(linux_open("/proc/self/fd/\(pair[1])", O_WRONLY | O_NONBLOCK, 0))
    defer { _ = linux_close(shared) }
    let console = Console(descriptor: shared)
    let chunk = [UInt8](repeating: 0x0a, count: 1 << 17)
    let reader = try Thread { [read = pair[0]] in
      var buffer = [UInt8](repeating: 0, count: 1 << 16)
      var left = 1 << 17
      while left > 0 {
        usleep(1000)
        left -= linux_read(read, &buffer, min(buffer.count, left))
      }
    }
    try Self.put(chunk, to: console) { false }
    reader.join()
    // There is no reader any more: a timer's kicks end the wait, and the console calls `mustStop`.
    let wasBlocked = linux_kick_unblock()
    defer { if wasBlocked != 0 { linux_kick_block() } }
    #expect(linux_kick_install() == 0)
    let timer = try KickTimer(.wall)
    try timer.set(nanoseconds: 1_000_000, interval: 1_000_000)
    var asked = 0
    #expect(throws: Errno.interrupted) {
      try Self.put(chunk, to: console) {
        asked += 1
        return asked == 3
      }
    }
    #expect(asked == 3)
  }
}
