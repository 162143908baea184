import CLinux
import Devices
import Foundation
import Platform
import Testing

struct PortTests {
  let driver: Driver
  let device: VirtioPorts
  let path: String
  let port: GuestPort

  init() throws {
    driver = try Driver()
    path = FileManager.default.temporaryDirectory.path + "/swiftlet-port-\(UUID().uuidString)"
    port = try GuestPort(name: "applet", path: path, kernel: LinuxKernel())
    let second = try GuestPort(name: "other", path: path + "-2", kernel: LinuxKernel())
    let standardError = driver.standardError
    device = VirtioPorts(
      ports: [port, second], memory: driver.memory, interrupt: driver.interrupt, complain: { standardError.add($0) })
    driver.attach(device, features: 1 << 32 | 2)
  }

  @Test func aSocketWithAFullQueueIsInUse() throws {
    defer { finish() }
    let busy = path + "-3"
    let listener = Int32(truncatingIfNeeded: linux_listen(busy))
    try #require(listener >= 0)
    // As many clients as fit into the queue of a listener that accepts none.
    var clients: [Int] = []
    while clients.last.map({ $0 >= 0 }) ?? true { clients.append(linux_connect(busy, false)) }
    #expect(clients.last == -Int(EAGAIN))
    let isDone = DispatchSemaphore(value: 0)
    Foundation.Thread.detachNewThread {
      #expect(throws: Errno(EADDRINUSE)) { try GuestPort(name: "third", path: busy, kernel: LinuxKernel()) }
      isDone.signal()
    }
    #expect(isDone.wait(timeout: .now() + 10) == .success)
    // Waiting clients are closed.
    close(listener)
    for client in clients where client >= 0 { close(Int32(client)) }
    unlink(busy)
  }

  private func finish() {
    device.close()
    unlink(path)
    unlink(path + "-2")
  }

  /// Gives the device buffers for control messages, and returns the messages.
  private func messages(_ count: Int, after body: () -> Void) -> [[UInt8]] {
    let buffers = (0..<count).map { _ in driver.buffer(64) }
    let before = Int(driver.usedCount(2))
    for buffer in buffers { driver.request(queue: 2, write: [(buffer, 64)]) }
    body()
    return (before..<Int(driver.usedCount(2))).map {
      driver.content(buffers[$0 - before], Int(driver.usedElement($0 & 15, queue: 2).written))
    }
  }

  private static func message(_ port: UInt32, _ event: UInt16, _ value: UInt16, _ name: String = "") -> [UInt8] {
    withUnsafeBytes(of: (port, event, value)) { Array($0) } + Array(name.utf8)
  }

  private func control(_ port: UInt32, _ event: UInt16, _ value: UInt16) {
    driver.request(queue: 3, read: [Self.message(port, event, value)])
  }

  /// A client of the port.
  private func connect() -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(result == 0)
    port.ready(.input)
    return descriptor
  }

  private func take(_ descriptor: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    return String(decoding: buffer[..<max(count, 0)], as: UTF8.self)
  }

  private func send(_ text: String, _ descriptor: Int32) {
    _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
  }

  @Test func theDriverIsNotifiedOfPortsAndClients() {
    defer { finish() }
    #expect(driver.transport.load(0x104, length: 4) == 2)
    #expect(messages(2) { control(0, 0, 1) } == [Self.message(0, 1, 1), Self.message(1, 1, 1)])
    #expect(messages(2) { control(0, 3, 1) } == [Self.message(0, 7, 1, "applet"), Self.message(0, 6, 0)])
    var client: Int32 = -1
    #expect(messages(1) { client = connect() } == [Self.message(0, 6, 1)])
    close(client)
    #expect(messages(1) { port.ready([.input, .end]) } == [Self.message(0, 6, 0)])
  }

  @Test func dataIsTransferredInBothDirections() {
    defer { finish() }
    _ = messages(4) {
      control(0, 0, 1)
      control(0, 3, 1)
    }
    let client = connect()
    driver.request(queue: 1, read: [Array("from the ".utf8), Array("guest".utf8)])
    #expect(take(client) == "from the guest")
    #expect(driver.usedCount(1) == 1)
    // No data is read from the client before a program in the guest opens the port.
    let buffer = driver.buffer(64)
    driver.request(queue: 0, write: [(buffer, 64)])
    #expect(!port.prepare().input)
    control(0, 6, 1)
    #expect(port.prepare().input)
    send("to the guest", client)
    port.ready(.input)
    #expect(driver.content(buffer, 12) == Array("to the guest".utf8))
    #expect(driver.usedElement(0, queue: 0).written == 12)
    close(client)
  }

  /// `echo hi | socat - UNIX:…`, before a program in the guest has opened the port.
  @Test func inputOfADisconnectedClientIsDeliveredLater() {
    defer { finish() }
    _ = messages(4) {
      control(0, 0, 1)
      control(0, 3, 1)
    }
    var client: Int32 = -1
    #expect(messages(1) { client = connect() } == [Self.message(0, 6, 1)])
    send("hi, ", client)
    send("and bye", client)
    close(client)
    // It is not polled in a busy loop, and its end is reported after its bytes.
    #expect(port.prepare().descriptor >= 0)
    #expect(messages(1) { port.ready(.end) }.isEmpty)
    #expect(port.prepare().descriptor == -1)
    // The guest's output has no reader.
    driver.request(queue: 1, read: [Array("too late".utf8)])
    #expect(driver.usedCount(1) == 1)
    let buffer = driver.buffer(64)
    driver.request(queue: 0, write: [(buffer, 64)])
    control(0, 6, 1)
    let used = Int(driver.usedCount(2))
    #expect(port.prepare().descriptor >= 0)
    #expect(driver.usedElement(0, queue: 0).written == 11)
    #expect(driver.content(buffer, 11) == Array("hi, and bye".utf8))
    #expect(Int(driver.usedCount(2)) == used + 1)
    // The next client is accepted.
    let next = connect()
    driver.request(queue: 1, read: [Array("welcome".utf8)])
    #expect(take(next) == "welcome")
    close(next)
  }

  @Test func aHalfClosedClientGetsItsAnswer() {
    defer { finish() }
    _ = messages(4) {
      control(0, 0, 1)
      control(0, 3, 1)
    }
    let client = connect()
    control(0, 6, 1)
    for _ in 0..<2 { driver.request(queue: 0, write: [(driver.buffer(64), 64)]) }
    send("question", client)
    shutdown(client, Int32(SHUT_WR))
    port.ready(.input)
    port.ready(.input)
    #expect(driver.usedElement(0, queue: 0).written == 8)
    let interest = port.prepare()
    #expect(interest.descriptor >= 0 && !interest.input)
    driver.request(queue: 1, read: [Array("answer".utf8)])
    #expect(take(client) == "answer")
    close(client)
    #expect(messages(2) { port.ready(.end) } == [Self.message(0, 6, 1), Self.message(0, 6, 0)])
  }

  /// A port that is connected from the beginning, and accepts no other clients.
  @Test func aConnectedPortAcceptsNoOtherClient() throws {
    defer { finish() }
    var ends: [Int32] = [-1, -1]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    let port = GuestPort(name: "secure", connection: OwnedFD(adopting: ends[0], kernel: LinuxKernel()))
    let standardError = driver.standardError
    let device = VirtioPorts(
      ports: [port], memory: driver.memory, interrupt: driver.interrupt, complain: { standardError.add($0) })
    defer { device.close() }
    driver.attach(device, features: 1 << 32 | 2)
    #expect(messages(2) { control(0, 3, 1) } == [Self.message(0, 7, 1, "secure"), Self.message(0, 6, 1)])
    control(0, 6, 1)
    driver.request(queue: 1, read: [Array("question".utf8)])
    #expect(take(ends[1]) == "question")
    send("answer", ends[1])
    let buffer = driver.buffer(64)
    driver.request(queue: 0, write: [(buffer, 64)])
    #expect(port.prepare().input)
    port.ready(.input)
    #expect(driver.content(buffer, 6) == Array("answer".utf8))
    // Its end closes the port: the guest is notified, and no other client is accepted.
    close(ends[1])
    #expect(messages(1) { port.ready(.end) } == [Self.message(0, 6, 0)])
    #expect(port.prepare().descriptor == -1)
  }

  @Test func unreadOutputStaysInTheGuest() {
    defer { finish() }
    let client = connect()
    driver.request(queue: 1, read: (0..<4).map { [UInt8](repeating: 0x61 + $0, count: 128 << 10) })
    #expect(driver.usedCount(1) == 0)
    var text = ""
    while text.utf8.count < 512 << 10, port.prepare().output {
      text += take(client)
      port.ready(.output)
    }
    text += take(client)
    #expect(text == "abcd".map { String(repeating: $0, count: 128 << 10) }.joined())
    #expect(driver.usedCount(1) == 1)
    #expect(!port.prepare().output)
    close(client)
  }

  @Test func withoutAClientOutputIsDropped() {
    defer { finish() }
    driver.request(queue: 1, read: [Array("nobody hears this".utf8)])
    #expect(driver.usedCount(1) == 1)
  }

  @Test func controlMessagesForPortsThatDoNotExistAreIgnored() {
    defer { finish() }
    for port in [2, 3, .max] as [UInt32] {
      for event in 0...9 as ClosedRange<UInt16> { control(port, event, 1) }
    }
    #expect(!driver.hasFailed)
    driver.request(queue: 3, read: [[1, 2, 3]])
    #expect(driver.hasFailed)
  }

  @Test func pendingControlMessagesAreBounded() {
    defer { finish() }
    for _ in 0..<2000 { control(0, 3, 1) }
    var count = 0
    while case let some = messages(8, after: {}), !some.isEmpty { count += some.count }
    #expect(count == 256)
  }

  @Test func aSocketInUseIsRejectedAndAnUnusedOneReplaced() throws {
    defer { finish() }
    #expect(throws: Errno(EADDRINUSE)) { try GuestPort(name: "x", path: path, kernel: LinuxKernel()) }
    let other = path + "-3"
    _ = FileManager.default.createFile(atPath: other, contents: Data())
    #expect(throws: Errno(EADDRINUSE)) { try GuestPort(name: "x", path: other, kernel: LinuxKernel()) }
    unlink(other)
    let abandoned = other.withCString { linux_listen($0) }
    #expect(abandoned >= 0)
    close(Int32(abandoned))
    _ = try GuestPort(name: "x", path: other, kernel: LinuxKernel())
    #expect(throws: Errno(ENAMETOOLONG)) {
      try GuestPort(name: "x", path: String(repeating: "a", count: 200), kernel: LinuxKernel())
    }
  }
}
