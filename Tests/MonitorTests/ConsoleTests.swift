import CLinux
import Monitor
import Platform
import TestSupport
import Testing

/// Output gathered into lines. Each piece is one write(2).
struct ConsoleTests {
  private let output: Capture
  private let console: Console

  init() throws {
    output = try Capture()
    console = Console(descriptor: output.descriptor)
  }

  private func put(_ text: String) throws { try put(Array(text.utf8)) }
  private func put(_ bytes: [UInt8]) throws(Errno) { try Self.put(bytes, to: console) { false } }

  private static func put(_ bytes: [UInt8], to console: Console, giveUp: Console.GiveUp) throws(Errno) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    try console.put(UnsafeRawBufferPointer(buffer), giveUp: giveUp)
  }

  @Test func aLineIsSentWhenItEnds() throws {
    for byte in "ab\nc".utf8 { try console.put(byte) { false } }
    #expect(output.pieces() == ["ab\n"])
    try console.flush { false }
    #expect(output.pieces() == ["c"])
    try console.flush { false }
    #expect(output.pieces() == [])
  }

  @Test func severalLinesAreSentAtOnce() throws {
    try put("one\ntwo\nthr")
    try put("ee\n\nfour")
    #expect(output.pieces() == ["one\ntwo\n", "three\n\n"])
    console.flushAtOnce()
    #expect(output.pieces() == ["four"])
  }

  @Test func aLineWithoutAnEndIsSentWhenTheBufferIsFull() throws {
    for _ in 0..<Console.capacity + 5 { try console.put(0x78) { false } }
    #expect(output.pieces().map(\.utf8.count) == [Console.capacity])
    try put([UInt8](repeating: 0x79, count: 2 * Console.capacity))
    #expect(output.pieces().map(\.utf8.count) == [Console.capacity, Console.capacity])
    try console.flush { false }
    #expect(output.pieces() == ["yyyyy"])
  }

  @Test func moreThanTheBufferHoldsIsSentInOrder() throws {
    let long = String(repeating: "z", count: 3 * Console.capacity) + "\nrest"
    try put("before ")
    try put(long)
    try console.flush { false }
    #expect(output.pieces().joined() == "before " + long)
  }

  @Test(arguments: [1, 100, 4095, 4096, 4097, 9000])
  func nothingIsLostOrTurnedAround(size: Int) throws {
    var random = SeededGenerator(seed: UInt64(size))
    var sent: [UInt8] = []
    for _ in 0..<40 {
      let piece = (0..<Int.random(in: 0...size, using: &random)).map { _ -> UInt8 in
        Int.random(in: 0..<50, using: &random) == 0 ? 0x0a : UInt8.random(in: 0x61...0x7a, using: &random)
      }
      sent += piece
      if piece.count == 1 { try console.put(piece[0]) { false } } else { try put(piece) }
      // The socket takes only so much at once.
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

  /// However much one call writes, whoever limits it is asked, and a file keeps its history and no more.
  @Test(arguments: [UInt8(0x0a), 0x78]) func muchIsSentInPieces(byte: UInt8) throws {
    let file = try #require(tmpfile())
    defer { fclose(file) }
    let console = Console(descriptor: fileno(file))
    console.history = 256 << 10
    var asked = 0
    var most: Int64 = 0
    let bytes = [UInt8](repeating: byte, count: 4 << 20)
    try Self.put(bytes, to: console) {
      var status = stat()
      fstat(fileno(file), &status)
      most = max(most, Int64(status.st_blocks) * 512)
      asked += 1
      return false
    }
    try console.flush { false }
    #expect(linux_size(fileno(file)) == 4 << 20)
    #expect(asked == 63)
    #expect(most <= 448 << 10)
    asked = 0
    #expect(throws: Errno.interrupted) {
      try Self.put(bytes, to: console) {
        asked += 1
        return asked == 2
      }
    }
    #expect(linux_size(fileno(file)) == 4 << 20 + 128 << 10)
  }

  /// A signal amid a write that has sent a part shows as a short count alone.
  @Test func aPartThatWasSentIsNoReasonNotToAsk() throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    // Of the 64 KiB that a pipe takes a page is left.
    let most = [UInt8](repeating: 0, count: 60 << 10)
    #expect(linux_write(pair[1], most, most.count) == most.count)
    let wasBlocked = linux_kick_unblock()
    defer { if wasBlocked != 0 { linux_kick_block() } }
    #expect(linux_kick_install() == 0)
    let timer = try KickTimer(.wall)
    try timer.set(nanoseconds: 20_000_000)
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
    // What could not be sent is not sent again.
    try console.flush { false }
  }

  @Test func aSlowReaderIsWaitedForUntilItIsGivenUp() throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    // O_NONBLOCK, through the one door that is not variadic.
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
    // Nobody reads any more: a timer's kicks end the wait, and the console asks whether to go on.
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
