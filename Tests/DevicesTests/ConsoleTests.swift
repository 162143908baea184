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
    let output = GuestOutput(descriptor: pipe.input, giveUp: { false }, onFailure: { _ in })
    console = VirtioConsole(output: output, memory: driver.memory, interrupt: driver.interrupt, complain: { _ in })
    driver.attach(console, features: 1 << 32 | 1)
  }

  @Test func whatTheGuestWritesComesOut() {
    driver.request(queue: 1, read: [bytes("hello, "), bytes("world")])
    #expect(pipe.take() == "hello, world")
    #expect(driver.usedElement(0, queue: 1).written == 0)
  }

  /// A chain that holds the whole memory many times is not written to its end once the run is over.
  @Test func aRunThatIsOverIsNotWaitedFor() throws {
    let asked = Recorder<Bool>()
    let output = GuestOutput(
      descriptor: pipe.input,
      giveUp: {
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

  @Test func whatIsTypedComesIn() {
    #expect(console.room == 0)
    let buffer = driver.buffer(64)
    driver.request(queue: 0, write: [(buffer, 64)])
    // Linux would drop what comes before its console is there.
    #expect(console.room == 0)
    driver.request(queue: 1, read: [bytes("$ ")])
    #expect(console.room > 0)
    bytes("date\n").withUnsafeBytes { console.receive($0) }
    #expect(driver.usedElement(0, queue: 0).written == 5)
    #expect(driver.content(buffer, 5) == bytes("date\n"))
    #expect(driver.interrupt.pulses == 2)
    #expect(console.room == 0)
  }

  /// A processor writes more than the output takes without a reader, and stands there.
  /// - Returns: what it signals when it is through, and how many bytes it writes.
  private func writeMuch() -> (isDone: DispatchSemaphore, count: Int) {
    let text = [UInt8](repeating: 0x61, count: 400_000)
    driver.request(queue: 1, read: [text], notify: false)
    let isDone = DispatchSemaphore(value: 0)
    let device = driver.device!
    Foundation.Thread.detachNewThread {
      device.store(0x50, length: 4, value: 1)
      isDone.signal()
    }
    #expect(isDone.wait(timeout: .now() + 0.2) == .timedOut)
    return (isDone, text.count)
  }

  /// A processor that waits for the output's reader keeps nobody else waiting, the I/O thread among them.
  @Test func aSlowReaderKeepsNobodyButTheWriter() throws {
    let (driver, console, pipe) = (driver, console, pipe)
    let room = driver.buffer(64)
    driver.request(queue: 0, write: [(room, 64)])
    driver.request(queue: 1, read: [bytes("$ ")])
    let (isDone, count) = writeMuch()
    #expect(console.room > 0)
    bytes("date\n").withUnsafeBytes { console.receive($0) }
    #expect(driver.content(room, 5) == bytes("date\n"))
    console.setSize(columns: 100, rows: 30)
    #expect(driver.register(0x60) & 2 == 2)
    var taken = 0
    while taken < count + 2 { taken += pipe.take().utf8.count }
    #expect(isDone.wait(timeout: .now() + 20) == .success)
    #expect(driver.usedCount(1) == 2)
  }

  /// The driver resets the device while a processor waits for the reader: its request is nobody's then.
  @Test func aResetForgetsTheRequestUnderWay() throws {
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

  @Test func theSizeOfTheTerminalIsInTheConfigurationAndItsChangeTold() {
    #expect(driver.device.load(0x100, length: 2) == 80)
    let generation = driver.register(0xfc)
    console.setSize(columns: 132, rows: 50)
    #expect(driver.device.load(0x100, length: 2) == 132)
    #expect(driver.device.load(0x102, length: 2) == 50)
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
    uart = UART(output: GuestOutput(descriptor: pipe.input, giveUp: { false }, onFailure: { _ in }), interrupt: line)
  }

  private func write(_ text: String) { for byte in text.utf8 { uart.store(0, length: 1, value: UInt64(byte)) } }
  private func type(_ text: String) { bytes(text).withUnsafeBytes { uart.receive($0) } }

  @Test func linesComeOutAtTheirEndAndTheRestWhenTheDriverIsDone() {
    write("one\ntwo")
    #expect(pipe.take() == "one\n")
    uart.store(1, length: 1, value: 0)
    #expect(pipe.take() == "two")
  }

  @Test func aSlowReaderKeepsNobodyButTheWriter() {
    let (uart, pipe) = (uart, pipe)
    uart.store(1, length: 1, value: 1)
    let isDone = DispatchSemaphore(value: 0)
    Foundation.Thread.detachNewThread {
      for _ in 0..<260_000 { uart.store(0, length: 1, value: 0x61) }
      uart.store(1, length: 1, value: 1)
      isDone.signal()
    }
    #expect(isDone.wait(timeout: .now() + 1) == .timedOut)
    #expect(uart.room > 0)
    type("ab")
    #expect(uart.load(0, length: 1) == 0x61)
    var count = 0
    while count < 260_000 { count += pipe.take().utf8.count }
    #expect(isDone.wait(timeout: .now() + 20) == .success)
  }

  @Test func inputWaitsUntilTheDriverListens() {
    #expect(uart.room == 0)
    uart.store(1, length: 1, value: 1)
    #expect(uart.room > 0)
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

  @Test func moreThanItHoldsIsLostAndNothingElse() {
    uart.store(1, length: 1, value: 1)
    type(String(repeating: "x", count: 1000))
    #expect(uart.room == 0)
    var count = 0
    while uart.load(5, length: 1) & 1 != 0 {
      #expect(uart.load(0, length: 1) == 0x78)
      count += 1
    }
    #expect(count == 256)
  }

  @Test func theTransmitterAsksForMoreUntilItsCauseIsRead() {
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

  @Test func loopedBackItHearsItself() {
    uart.store(4, length: 1, value: 0x1a)
    #expect(uart.load(6, length: 1) & 0xf0 == 0x90)
    write("z")
    #expect(uart.load(0, length: 1) == 0x7a)
    #expect(pipe.take() == "")
  }

  @Test func theFIFOShowsAndItsResetEmptiesIt() {
    uart.store(1, length: 1, value: 1)
    type("old")
    uart.store(2, length: 1, value: 3)
    #expect(uart.load(2, length: 1) == 0xc1)
    #expect(uart.load(5, length: 1) & 1 == 0)
    #expect(!line.isHigh)
  }
}

struct GuestOutputTests {
  @Test func linuxsLastWordsAreHeard() {
    let pipe = Pipe()
    let output = GuestOutput(descriptor: pipe.input, giveUp: { false }, onFailure: { _ in })
    let uart = UART(output: output, interrupt: RecordedLine())
    func write(_ text: String) { for byte in text.utf8 { uart.store(0, length: 1, value: UInt64(byte)) } }
    write("KKernel panic - not syncinx\n[ 1.2] Kernel pKernel panic - not syncing:")
    #expect(output.panic == nil)
    write(" VFS: Unable to mount\u{1b} root fs\r\nKernel panic - not syncing: other\n")
    #expect(output.panic == "VFS: Unable to mount root fs")
  }

  @Test func aReaderThatIsGoneIsToldOnce() {
    signal(SIGPIPE, SIG_IGN)
    var both: [Int32] = [0, 0]
    #expect(Glibc.pipe(&both) == 0)
    close(both[0])
    let failures = Recorder<Errno>()
    let output = GuestOutput(descriptor: both[1], giveUp: { false }, onFailure: { failures.add($0) })
    let uart = UART(output: output, interrupt: RecordedLine())
    for byte in bytes("a\nb\nc\n") { uart.store(0, length: 1, value: UInt64(byte)) }
    #expect(failures.values == [.brokenPipe])
    close(both[1])
  }
}

struct ConsoleInputTests {
  /// A console that takes so much at a time.
  final class Target: ConsoleTarget {
    var room = 0
    var received: [UInt8] = []
    func receive(_ bytes: UnsafeRawBufferPointer) {
      received += bytes
      room -= bytes.count
    }
    var text: String { String(decoding: received, as: UTF8.self) }
  }

  let pipe = Pipe()
  let target = Target()
  let quits = Recorder<Bool>()

  private func input(isTerminal: Bool) -> ConsoleInput {
    let quits = quits
    return ConsoleInput(descriptor: pipe.output, isTerminal: isTerminal, target: target, onQuit: { quits.add(true) })
  }

  private func type(_ text: String) {
    _ = bytes(text).withUnsafeBytes { Glibc.write(pipe.input, $0.baseAddress, $0.count) }
  }

  @Test func nothingIsReadThatTheGuestDoesNotTake() {
    let input = input(isTerminal: false)
    type("hello")
    #expect(input.prepare().descriptor == -1)
    target.room = 3
    #expect(input.prepare().descriptor == pipe.output)
    input.ready(.input)
    #expect(target.text == "hel")
    #expect(input.prepare().descriptor == -1)
    target.room = 10
    #expect(input.prepare().descriptor == pipe.output)
    #expect(target.text == "hello")
  }

  @Test func theMonitorsKeyEndsTheRunAndCanBeSent() {
    let input = input(isTerminal: true)
    target.room = 100
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

  @Test func theMonitorsKeyIsSeenWhereTheGuestListensToNothing() {
    let input = input(isTerminal: true)
    type("abc\u{1}x")
    #expect(input.prepare().descriptor == pipe.output)
    input.ready(.input)
    #expect(quits.values == [true])
    #expect(target.text == "")
  }

  @Test func withoutATerminalEveryByteIsTheGuests() {
    let input = input(isTerminal: false)
    target.room = 100
    type("\u{1}x")
    input.ready(.input)
    #expect(target.text == "\u{1}x")
    #expect(quits.values.isEmpty)
  }

  @Test func theEndOfInputEndsNothing() {
    let input = ConsoleInput(
      descriptor: open("/dev/null", O_RDONLY), isTerminal: false, target: target, onQuit: {})
    target.room = 1
    input.ready(.input)
    #expect(input.prepare().descriptor == -1)
  }
}
