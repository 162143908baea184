import CLinux
import Devices
import Foundation
import Platform
import Testing

/// Bytes of a text.
private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

struct VirtioConsoleTests {
  let driver: Driver
  let pipe = Pipe()
  let console: VirtioConsole

  init() throws {
    driver = try Driver()
    let output = GuestOutput(descriptor: pipe.input, mustStop: { false }, onFailure: { _ in })
    console = VirtioConsole(output: output, memory: driver.memory, interrupt: driver.interrupt, complain: { _ in })
    driver.attach(console, features: 1 << 32 | 1)
  }

  @Test func outputOfTheGuestIsWritten() {
    driver.request(queue: 1, read: [bytes("hello, "), bytes("world")])
    #expect(pipe.take() == "hello, world")
    #expect(driver.usedElement(0, queue: 1).written == 0)
  }

  /// A chain that contains the whole memory many times is abandoned when the run is over.
  @Test func chainsAreAbandonedAfterTheRun() throws {
    let asked = Recorder<Bool>()
    let output = GuestOutput(
      descriptor: pipe.input,
      mustStop: {
        asked.add(true)
        return asked.values.count > 3
      }, onFailure: { _ in })
    let console = VirtioConsole(output: output, memory: driver.memory, interrupt: driver.interrupt, complain: { _ in })
    driver.attach(console)
    for number in 0..<16 as Range<UInt16> {
      driver.put(
        .init(address: Driver.base, count: 1 << 20, flags: number < 15 ? Driver.next : 0, next: number + 1),
        at: number, queue: 1)
    }
    driver.offer(0, queue: 1)
    driver.notify(1)
    #expect(asked.values.count == 4)
    #expect(driver.usedCount(1) == 1)
  }

  @Test func typedInputIsReceived() {
    #expect(console.space == 0)
    let buffer = driver.buffer(64)
    driver.request(queue: 0, write: [(buffer, 64)])
    // Linux would drop input before its console is ready.
    #expect(console.space == 0)
    driver.request(queue: 1, read: [bytes("$ ")])
    #expect(console.space > 0)
    bytes("date\n").withUnsafeBytes { console.receive($0) }
    #expect(driver.usedElement(0, queue: 0).written == 5)
    #expect(driver.content(buffer, 5) == bytes("date\n"))
    #expect(driver.interrupt.pulses == 2)
    #expect(console.space == 0)
  }

  /// A CPU writes more than the output accepts without a reader, and blocks.
  /// - Returns: an event for its completion, and the number of bytes that it writes.
  private func writeMuch() -> (isDone: DispatchSemaphore, count: Int) {
    let text = [UInt8](repeating: 0x61, count: 400_000)
    driver.request(queue: 1, read: [text], notify: false)
    let isDone = DispatchSemaphore(value: 0)
    let device = driver.transport!
    Foundation.Thread.detachNewThread {
      device.store(0x50, length: 4, value: 1)
      isDone.signal()
    }
    #expect(isDone.wait(timeout: .now() + 0.2) == .timedOut)
    return (isDone, text.count)
  }

  /// A CPU that waits for the output's reader blocks neither other CPUs nor the I/O thread.
  @Test func aSlowReaderBlocksOnlyTheWritingCPU() throws {
    let (driver, console, pipe) = (driver, console, pipe)
    let space = driver.buffer(64)
    driver.request(queue: 0, write: [(space, 64)])
    driver.request(queue: 1, read: [bytes("$ ")])
    let (isDone, count) = writeMuch()
    #expect(console.space > 0)
    bytes("date\n").withUnsafeBytes { console.receive($0) }
    #expect(driver.content(space, 5) == bytes("date\n"))
    console.setSize(columns: 100, rows: 30)
    #expect(driver.register(0x60) & 2 == 2)
    var taken = 0
    while taken < count + 2 { taken += pipe.take().utf8.count }
    #expect(isDone.wait(timeout: .now() + 20) == .success)
    #expect(driver.usedCount(1) == 2)
  }

  /// The driver resets the device while a CPU waits for the reader: its request is dropped.
  @Test func aResetAbandonsTheRequestInProgress() throws {
    let (driver, pipe) = (driver, pipe)
    let (isDone, count) = writeMuch()
    driver.attach(driver.device, features: 1 << 32 | 1)
    let before = driver.usedCount(1)
    var taken = 0
    while taken < count { taken += pipe.take().utf8.count }
    #expect(isDone.wait(timeout: .now() + 20) == .success)
    #expect(driver.usedCount(1) == before)
    driver.request(queue: 1, read: [bytes("anew")])
    #expect(pipe.take() == "anew")
  }

  @Test func changesOfTheTerminalSizeAreReported() {
    #expect(driver.transport.load(0x100, length: 2) == 80)
    let generation = driver.register(0xfc)
    console.setSize(columns: 132, rows: 50)
    #expect(driver.transport.load(0x100, length: 2) == 132)
    #expect(driver.transport.load(0x102, length: 2) == 50)
    #expect(driver.register(0xfc) != generation)
    #expect(driver.register(0x60) == 2)
    console.setSize(columns: 132, rows: 50)
    #expect(driver.interrupt.pulses == 1)
  }
}

struct UARTTests {
  let pipe = Pipe()
  let line = RecordedLine()
  let uart: UART

  init() {
    uart = UART(output: GuestOutput(descriptor: pipe.input, mustStop: { false }, onFailure: { _ in }), interrupt: line)
  }

  private func write(_ text: String) { for byte in text.utf8 { uart.store(0, length: 1, value: UInt64(byte)) } }
  private func type(_ text: String) { bytes(text).withUnsafeBytes { uart.receive($0) } }

  @Test func outputIsWrittenInLinesAndFlushedWhenTheDriverIsDone() {
    write("one\ntwo")
    #expect(pipe.take() == "one\n")
    uart.store(1, length: 1, value: 0)
    #expect(pipe.take() == "two")
  }

  @Test func clearingReceivedBytesMakesSpace() {
    uart.store(1, length: 1, value: 1)
    type(String(repeating: "a", count: 256))
    #expect(uart.space == 0)
    let asked = Recorder<Bool>()
    uart.onSpace = { asked.add(true) }
    // FIFO control: enabled, and the receiver's cleared.
    uart.store(2, length: 1, value: 3)
    #expect(asked.values == [true] && uart.space == 256)
  }

  @Test func aSlowReaderBlocksOnlyTheWritingCPU() {
    let (uart, pipe) = (uart, pipe)
    uart.store(1, length: 1, value: 1)
    let isDone = DispatchSemaphore(value: 0)
    Foundation.Thread.detachNewThread {
      for _ in 0..<260_000 { uart.store(0, length: 1, value: 0x61) }
      uart.store(1, length: 1, value: 1)
      isDone.signal()
    }
    #expect(isDone.wait(timeout: .now() + 1) == .timedOut)
    #expect(uart.space > 0)
    type("ab")
    #expect(uart.load(0, length: 1) == 0x61)
    var count = 0
    while count < 260_000 { count += pipe.take().utf8.count }
    #expect(isDone.wait(timeout: .now() + 20) == .success)
  }

  @Test func inputWaitsForTheDriver() {
    #expect(uart.space == 0)
    uart.store(1, length: 1, value: 1)
    #expect(uart.space > 0)
    type("ab")
    #expect(line.isHigh)
    #expect(uart.load(2, length: 1) == 4)
    #expect(uart.load(5, length: 1) == 0x61)
    #expect(uart.load(0, length: 1) == 0x61)
    #expect(line.isHigh)
    #expect(uart.load(0, length: 1) == 0x62)
    #expect(!line.isHigh)
    #expect(uart.load(5, length: 1) == 0x60)
    #expect(uart.load(2, length: 1) == 1)
  }

  @Test func excessInputIsLost() {
    uart.store(1, length: 1, value: 1)
    type(String(repeating: "x", count: 1000))
    #expect(uart.space == 0)
    var count = 0
    while uart.load(5, length: 1) & 1 != 0 {
      #expect(uart.load(0, length: 1) == 0x78)
      count += 1
    }
    #expect(count == 256)
  }

  @Test func theTransmitterInterruptIsClearedByReadingItsCause() {
    uart.store(1, length: 1, value: 2)
    #expect(line.isHigh)
    #expect(uart.load(2, length: 1) == 2)
    #expect(!line.isHigh)
    write("x")
    #expect(line.isHigh)
    uart.store(1, length: 1, value: 0)
    #expect(!line.isHigh)
  }

  @Test func theDivisorHidesTheDataRegister() {
    uart.store(3, length: 1, value: 0x83)
    uart.store(0, length: 1, value: 0x0c)
    uart.store(1, length: 1, value: 0x01)
    #expect(uart.load(0, length: 1) == 0x0c)
    #expect(uart.load(1, length: 1) == 0x01)
    uart.store(3, length: 1, value: 3)
    #expect(uart.load(1, length: 1) == 0)
    #expect(pipe.take() == "")
  }

  @Test func loopbackReturnsOutputAsInput() {
    uart.store(4, length: 1, value: 0x1a)
    #expect(uart.load(6, length: 1) & 0xf0 == 0x90)
    write("z")
    #expect(uart.load(0, length: 1) == 0x7a)
    #expect(pipe.take() == "")
  }

  @Test func aFIFOResetDiscardsInput() {
    uart.store(1, length: 1, value: 1)
    type("old")
    uart.store(2, length: 1, value: 3)
    #expect(uart.load(2, length: 1) == 0xc1)
    #expect(uart.load(5, length: 1) & 1 == 0)
    #expect(!line.isHigh)
  }
}

struct GuestOutputTests {
  @Test func panicMessagesAreFound() {
    let pipe = Pipe()
    let output = GuestOutput(descriptor: pipe.input, mustStop: { false }, onFailure: { _ in })
    let uart = UART(output: output, interrupt: RecordedLine())
    func write(_ text: String) { for byte in text.utf8 { uart.store(0, length: 1, value: UInt64(byte)) } }
    write("KKernel panic - not syncinx\n[ 1.2] Kernel pKernel panic - not syncing:")
    #expect(output.panic == nil)
    write(" VFS: Unable to mount\u{1b} root fs\r\n")
    #expect(output.panic == "VFS: Unable to mount root fs")
    // A panic message printed by a program, for example from an old log, is discarded when the kernel panics or is
    // asked to restart.
    write("[    2.1] Kernel panic - not syncing: other\n---[ end Kernel panic\n")
    #expect(output.panic == "other")
    write("RRestarting a service\n[    3.4] reboot: Restarting syste")
    #expect(output.panic == "other")
    write("m\r\n")
    #expect(output.panic == nil)
    write("Kernel panic - not syncing: last\n")
    #expect(output.panic == "last")
  }

  @Test func aClosedOutputIsReportedOnce() {
    signal(SIGPIPE, SIG_IGN)
    var both: [Int32] = [0, 0]
    #expect(Glibc.pipe(&both) == 0)
    close(both[0])
    let failures = Recorder<Errno>()
    let output = GuestOutput(descriptor: both[1], mustStop: { false }, onFailure: { failures.add($0) })
    let uart = UART(output: output, interrupt: RecordedLine())
    for byte in bytes("a\nb\nc\n") { uart.store(0, length: 1, value: UInt64(byte)) }
    #expect(failures.values == [.brokenPipe])
    close(both[1])
  }
}

struct ConsoleInputTests {
  /// A console that accepts a limited number of bytes at a time.
  final class Target: ConsoleTarget {
    var space = 0
    var received: [UInt8] = []
    func receive(_ bytes: UnsafeRawBufferPointer) {
      received += bytes
      space -= bytes.count
    }
    var text: String { String(decoding: received, as: UTF8.self) }
  }

  let pipe = Pipe()
  let target = Target()
  let quits = Recorder<Bool>()
  let suspensions = Recorder<Bool>()

  private func input(isTerminal: Bool) -> ConsoleInput {
    let (quits, suspensions) = (quits, suspensions)
    return ConsoleInput(
      descriptor: pipe.output, isTerminal: isTerminal, target: target, onQuit: { quits.add(true) },
      onSuspend: { suspensions.add(true) })
  }

  private func type(_ text: String) {
    _ = bytes(text).withUnsafeBytes { Glibc.write(pipe.input, $0.baseAddress, $0.count) }
  }

  @Test func inputIsReadOnlyWhenTheGuestAcceptsIt() {
    let input = input(isTerminal: false)
    type("hello")
    #expect(input.prepare().descriptor == -1)
    target.space = 3
    #expect(input.prepare().descriptor == pipe.output)
    input.ready(.input)
    #expect(target.text == "hel")
    #expect(input.prepare().descriptor == -1)
    target.space = 10
    #expect(input.prepare().descriptor == pipe.output)
    #expect(target.text == "hello")
  }

  @Test func theEscapeSequenceEndsTheRunAndTheKeyCanBeSent() {
    let input = input(isTerminal: true)
    target.space = 100
    type("a\u{1}\u{1}b\u{1}c")
    input.ready(.input)
    #expect(target.text == "a\u{1}b\u{1}c")
    #expect(quits.values.isEmpty)
    type("\u{1}")
    input.ready(.input)
    type("x")
    input.ready(.input)
    #expect(quits.values == [true])
    #expect(target.text == "a\u{1}b\u{1}c")
  }

  @Test func theEscapeSequenceIsFoundWithoutADriver() {
    let input = input(isTerminal: true)
    type("abc\u{1}x")
    #expect(input.prepare().descriptor == pipe.output)
    input.ready(.input)
    #expect(quits.values == [true])
    #expect(target.text == "")
  }

  @Test func theEscapeSequenceIsFoundAfterALongPaste() {
    let input = input(isTerminal: true)
    let paste = String(repeating: "y", count: 1024)
    for _ in 0...ConsoleInput.capacity / 1024 {
      type(paste)
      #expect(input.prepare().descriptor == pipe.output)
      input.ready(.input)
    }
    type("\u{1}z\u{1}x")
    #expect(input.prepare().descriptor == pipe.output)
    input.ready(.input)
    #expect(suspensions.values == [true])
    #expect(quits.values == [true])
    // Input that fitted is still delivered to the guest.
    target.space = 2 << 20
    #expect(input.prepare().descriptor == pipe.output)
    #expect(target.received.count == ConsoleInput.capacity)
  }

  @Test func withoutATerminalAllInputIsForwarded() {
    let input = input(isTerminal: false)
    target.space = 100
    type("\u{1}x")
    input.ready(.input)
    #expect(target.text == "\u{1}x")
    #expect(quits.values.isEmpty)
  }

  @Test func theEndOfInputDoesNotEndTheRun() {
    let input = ConsoleInput(
      descriptor: open("/dev/null", O_RDONLY), isTerminal: false, target: target, onQuit: {}, onSuspend: {})
    target.space = 1
    input.ready(.input)
    #expect(input.prepare().descriptor == -1)
  }
}

struct RawTerminalTests {
  /// The master side of a pseudo-terminal, and the terminal.
  private static func pair() throws -> (main: Int32, terminal: Int32) {
    var both: (main: Int32, terminal: Int32) = (-1, -1)
    try #require(openpty(&both.main, &both.terminal, nil, nil, nil) == 0)
    return both
  }

  private static func modes(_ terminal: Int32) -> tcflag_t {
    var modes = termios()
    tcgetattr(terminal, &modes)
    return modes.c_lflag & tcflag_t(ICANON | ECHO | ISIG)
  }

  @Test func modesOfTheMeantimeAreRestored() throws {
    let (main, terminal) = try Self.pair()
    defer {
      close(main)
      close(terminal)
    }
    let before = Self.modes(terminal)
    #expect(before != 0)
    let raw = try #require(RawTerminal(terminal))
    raw.continued()
    #expect(Self.modes(terminal) == before)
    raw.makeRaw()
    #expect(Self.modes(terminal) == 0)
    // The process was stopped, and a shell has set its own modes.
    var modes = termios()
    tcgetattr(terminal, &modes)
    modes.c_lflag |= tcflag_t(ICANON | ECHO)
    tcsetattr(terminal, TCSANOW, &modes)
    raw.continued()
    #expect(Self.modes(terminal) == 0)
    raw.restore()
    #expect(Self.modes(terminal) == before)
    raw.continued()
    #expect(Self.modes(terminal) == before)
    #expect(RawTerminal(-1) == nil)
  }

  /// A file that keeps the bytes of other writers; a terminal; a socket, which can only be duplicated.
  @Test func writeOnlyDescriptorsCannotBeRead() throws {
    func isWriteOnly(_ descriptor: Int32) -> Bool {
      var byte: UInt8 = 0
      return linux_read(descriptor, &byte, 1) == -Int(EBADF)
    }
    var template = Array("/tmp/swiftlet-words-XXXXXX".utf8CString)
    let file = mkstemp(&template)
    try #require(file >= 0)
    defer { close(file) }
    #expect(unlink(template) == 0)
    #expect(write(file, "first ", 6) == 6)
    let copy = Int32(try checked(linux_write_only(file)))
    #expect(isWriteOnly(copy) && write(copy, "second", 6) == 6)
    close(copy)
    var space = [UInt8](repeating: 0, count: 20)
    #expect(linux_pread(file, &space, 20, 0) == 12)
    let (main, terminal) = try Self.pair()
    defer {
      close(main)
      close(terminal)
    }
    let words = Int32(try checked(linux_write_only(terminal)))
    #expect(isWriteOnly(words) && write(words, "x", 1) == 1)
    close(words)
    var ends: (Int32, Int32) = (-1, -1)
    #expect(linux_socketpair(&ends.0, &ends.1) == 0)
    let socket = Int32(try checked(linux_write_only(ends.0)))
    #expect(write(socket, "x", 1) == 1)
    for descriptor in [socket, ends.0, ends.1] { close(descriptor) }
  }
}
