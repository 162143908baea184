import CLinux
import Platform

/// Channels between programs in the guest and programs on the host: the named ports of a second virtio console (virtio 1.2,
/// 5.3 with VIRTIO_CONSOLE_F_MULTIPORT). In the guest a port is a character device, under its name in /dev/virtio-ports where
/// udev runs; on the host it is a Unix socket, for one client at a time.
public final class VirtioPorts: VirtioDevice, @unchecked Sendable {
  public let ports: [GuestPort]
  /// Control messages that wait for the guest's buffers.
  private var messages: [[UInt8]] = []
  /// Most messages that wait: a driver that asks on and on without taking any gets no more.
  private static let mostMessages = 256
  /// Lets the I/O thread look again.
  public var onChange: (@Sendable () -> Void)?

  private enum Queue {
    static let controlReceive = 2
    static let controlTransmit = 3
  }

  /// Control messages (virtio 1.2, 5.3.6.2): VIRTIO_CONSOLE_…
  private enum Event {
    static let deviceReady: UInt16 = 0
    static let portAdd: UInt16 = 1
    static let portReady: UInt16 = 3
    static let portOpen: UInt16 = 6
    static let portName: UInt16 = 7
  }

  /// - Parameter ports: at most 30, as Linux has it.
  public init(
    ports: [GuestPort], memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.ports = ports
    let multiport: UInt64 = 1 << 1  // VIRTIO_CONSOLE_F_MULTIPORT
    super.init(
      .console, features: multiport, queueSizes: [UInt16](repeating: 32, count: ports.count * 2 + 2),
      memory: memory, interrupt: interrupt, complain: complain)
    for (number, port) in ports.enumerated() {
      // The first port's queues come before the control queues, the others' behind them.
      port.device = self
      port.number = number
      port.queue = number == 0 ? 0 : number * 2 + 2
    }
  }

  /// Ends the channels, which know the device as it knows them.
  public func close() {
    withLock {
      for port in ports { port.device = nil }
    }
  }

  public override func configuration(at offset: Int) -> UInt8 {
    // max_nr_ports
    (4..<8).contains(offset) ? UInt8(truncatingIfNeeded: ports.count >> ((offset - 4) * 8)) : 0
  }

  public override func stopped() {
    messages.removeAll()
    for port in ports { port.forgetGuest() }
  }

  public override func notified(queue: Int) {
    switch queue {
    case Queue.controlReceive: sendMessages()
    case Queue.controlTransmit:
      serve(queue: queue) { () throws(QueueError) in
        var message: (port: UInt32, event: UInt16, value: UInt16) = (0, 0, 0)
        guard withUnsafeMutableBytes(of: &message, { chain.readable.read(into: $0) }) == 8 else { throw .request }
        answer(message.port, message.event, message.value)
        return 0
      }
      sendMessages()
    case let queue where queue & 1 == 1: ports.first { $0.queue == queue - 1 }?.transmit()
    default: onChange?()
    }
  }

  private func answer(_ number: UInt32, _ event: UInt16, _ value: UInt16) {
    if event == Event.deviceReady {
      if value == 1 { for port in ports { post(port.number, Event.portAdd, 1) } }
      return
    }
    guard number < UInt32(ports.count) else { return }
    let port = ports[Int(number)]
    switch event {
    case Event.portReady where value == 1:
      post(port.number, Event.portName, 1, name: port.name)
      post(port.number, Event.portOpen, port.isConnected ? 1 : 0)
      port.isReady = true
    case Event.portOpen:
      port.isOpen = value == 1
      onChange?()
    default: break
    }
  }

  /// A client has come or gone.
  fileprivate func connectionChanged(_ port: GuestPort) {
    guard port.isReady else { return }
    post(port.number, Event.portOpen, port.isConnected ? 1 : 0)
    sendMessages()
  }

  private func post(_ port: Int, _ event: UInt16, _ value: UInt16, name: String = "") {
    guard messages.count < Self.mostMessages else { return }
    var message: [UInt8] = []
    message.reserveCapacity(8 + name.utf8.count)
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: port)) { message.append(contentsOf: $0) }
    withUnsafeBytes(of: event) { message.append(contentsOf: $0) }
    withUnsafeBytes(of: value) { message.append(contentsOf: $0) }
    message.append(contentsOf: name.utf8)
    messages.append(message)
  }

  private func sendMessages() {
    while let message = messages.first, hasBuffer(queue: Queue.controlReceive) {
      message.withUnsafeBytes { _ = send(queue: Queue.controlReceive, $0) }
      messages.removeFirst()
    }
  }
}

/// One channel, to the clients of a Unix socket or to one other side for good. What the guest writes waits in the guest until the
/// client takes it; without a client it is dropped. What a client has written reaches the guest, be the client still there or
/// not when a program there opens the port. One that has ended its own side alone (shutdown(2)) stays until it goes: the guest
/// may answer, and its program's input does not end before.
public final class GuestPort: IOSource, @unchecked Sendable {
  public let name: String
  /// nil where the other side is there from the beginning.
  private let listener: Listener?
  private var client: Client?
  private let kernel: any Kernel
  fileprivate var device: VirtioPorts?
  fileprivate var number = 0
  /// Its queue for what goes to the guest; the next is for what comes from it.
  fileprivate var queue = 0
  /// Whether the guest's driver knows the port, and whether a program of the guest's has opened it.
  fileprivate var isReady = false
  fileprivate var isOpen = false
  /// Read from the client, and not yet taken by the guest.
  private var pending: [UInt8] = []
  /// Whether the client will write no more, and whether it has gone: it is the port's until the guest has what it wrote.
  private var hasInputEnded = false
  private var isGone = false
  /// When to look for clients again after one could not be taken, CLOCK_MONOTONIC; nil where all were.
  private var pause: Int64?
  /// Written by the guest, and not yet taken by the client.
  private var sending = DescriptorChain()
  private var isSending = false

  /// The connection to a client, for as long as it is the port's.
  private final class Client {
    private let descriptor: OwnedFD
    var number: Int32 { descriptor.number }
    init(_ descriptor: consuming OwnedFD) { self.descriptor = descriptor }
  }

  /// A Unix socket that clients come to, for as long as it is the port's.
  private final class Listener {
    private let path: String
    private let descriptor: OwnedFD
    var number: Int32 { descriptor.number }

    init(path: String, kernel: any Kernel) throws(Errno) {
      let result = path.withCString { linux_listen($0) }
      descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(result)), kernel: kernel)
      self.path = path
    }

    deinit { _ = path.withCString { linux_unlink($0) } }
  }

  /// Listens at a Unix socket.
  /// - Throws: the kernel's error: EADDRINUSE where another process listens there, or the file is something else.
  public init(name: String, path: String, kernel: any Kernel) throws(Errno) {
    self.name = name
    self.kernel = kernel
    listener = try Listener(path: path, kernel: kernel)
  }

  /// Leads to one other side, until that ends.
  /// - Parameter connection: a stream socket.
  public init(name: String, connection: consuming OwnedFD) {
    self.name = name
    kernel = connection.kernel
    listener = nil
    client = Client(connection)
  }

  fileprivate var isConnected: Bool { client != nil }

  fileprivate func forgetGuest() {
    isReady = false
    isOpen = false
    isSending = false
    pending.removeAll()
  }

  // MARK: I/O thread

  public func prepare() -> IOInterest {
    guard let device else { return .nothing }
    return device.withLock {
      deliver(device)
      if isGone, pending.isEmpty { disconnect(device) }
      guard let client else { return listening }
      if isGone { return .nothing }
      return IOInterest(
        descriptor: client.number,
        input: !hasInputEnded && isOpen && pending.isEmpty && device.hasBuffer(queue: queue), output: isSending)
    }
  }

  private var listening: IOInterest {
    guard let listener else { return .nothing }
    guard let pause, Clock.monotonic < pause else { return IOInterest(descriptor: listener.number) }
    var interest = IOInterest.nothing
    interest.again = pause
    return interest
  }

  public func ready(_ events: IOEvents) {
    guard let device else { return }
    device.withLock {
      guard let client else { return accept(device) }
      if events.contains(.end) {
        takeRest(of: client.number)
        deliver(device)
        if pending.isEmpty { return disconnect(device) }
        isGone = true
        transmit()
      } else if events.contains(.input) {
        receive(from: client.number, device)
      }
      if events.contains(.output) { transmit() }
    }
  }

  private func accept(_ device: VirtioPorts) {
    guard let listener else { return }
    let result = linux_accept(listener.number)
    guard result >= 0 else {
      // No descriptor left, or no memory: the client waits, and poll(2) would not.
      pause = Clock.monotonic + 100_000_000
      return
    }
    pause = nil
    client = Client(OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: kernel))
    device.connectionChanged(self)
  }

  private func disconnect(_ device: VirtioPorts) {
    client = nil
    (hasInputEnded, isGone) = (false, false)
    pending.removeAll()
    device.connectionChanged(self)
    transmit()
  }

  private func receive(from client: Int32, _ device: VirtioPorts) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      let result = linux_read(client, buffer.baseAddress, buffer.count)
      if result > 0 {
        pending.append(contentsOf: buffer[..<result])
        deliver(device)
      } else if result == 0 {
        // Its other half is open yet, for the guest's answer: otherwise `.end` would have come.
        hasInputEnded = true
      } else if result != -Int(EAGAIN), result != -Int(EINTR) {
        disconnect(device)
      }
    }
  }

  /// Takes what a client that has gone has left: no more than its socket holds.
  private func takeRest(of client: Int32) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      while true {
        let result = linux_read(client, buffer.baseAddress, buffer.count)
        if result == -Int(EINTR) { continue }
        guard result > 0 else { return }
        pending.append(contentsOf: buffer[..<result])
      }
    }
  }

  private func deliver(_ device: VirtioPorts) {
    while isOpen, !pending.isEmpty, device.hasBuffer(queue: queue) {
      let count = pending.withUnsafeBytes { device.send(queue: queue, $0) }
      if count == 0 { return }
      pending.removeFirst(count)
    }
  }

  // MARK: Both

  /// Passes on what the guest has written, as far as the client takes it. Inside the device's lock.
  fileprivate func transmit() {
    guard let device, device.isRunning else { return }
    do throws(QueueError) {
      // A queue's worth at most: what comes later brings its own notification.
      for _ in 0..<64 {
        if !isSending {
          guard try device.queues[queue + 1].take(&sending, device.memory) else { break }
          isSending = true
        }
        guard passOn() else { return device.onChange?() ?? () }
        isSending = false
        device.finish(queue: queue + 1, sending.head)
      }
    } catch { device.fail(queue: queue + 1, error) }
  }

  /// - Returns: whether all of the chain is gone.
  private func passOn() -> Bool {
    while let client, sending.readable.count > 0 {
      // What the client does not take is looked at again.
      var rest = sending.readable
      guard let bytes = rest.next() else { break }
      let result = linux_send(client.number, bytes.baseAddress, bytes.count)
      if result == -Int(EAGAIN) { return false }
      // A client that is gone is noticed by the I/O thread; what is left for it is dropped.
      guard result >= 0 else { break }
      _ = sending.readable.next(atMost: result)
    }
    return true
  }
}
