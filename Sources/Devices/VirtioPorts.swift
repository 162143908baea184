import Platform

/// Channels between programs in the guest and programs on the host: the named ports of a second virtio console (virtio 1.2,
/// 5.3 with VIRTIO_CONSOLE_F_MULTIPORT). In the guest a port is a character device, with its name in /dev/virtio-ports if udev
/// runs; on the host it is a Unix socket, for one client at a time.
///
/// Sendable because the queues' lock protects ports and messages.
public final class VirtioPorts: VirtioDevice, @unchecked Sendable {
  /// The queues of the ports and of control messages.
  public let queues: VirtioQueues
  /// The ports, by index.
  public let ports: [GuestPort]
  /// Control messages that wait for buffers of the guest; under the queues' lock.
  private var messages: [[UInt8]] = []
  /// Maximum number of waiting messages: a driver that makes requests without reading the answers gets no more.
  private static let maxMessages = 256
  /// Makes the I/O thread prepare its sources again.
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

  /// - Parameter ports: at most 30, the maximum of Linux.
  public init(
    ports: [GuestPort], memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.ports = ports
    let multiport: UInt64 = 1 << 1  // VIRTIO_CONSOLE_F_MULTIPORT
    queues = VirtioQueues(
      .console, features: multiport, sizes: [UInt16](repeating: 32, count: ports.count * 2 + 2),
      memory: memory, interrupt: interrupt, complain: complain)
    for (number, port) in ports.enumerated() {
      // The first port's queues precede the control queues, the others' follow them.
      port.device = self
      port.number = number
      port.queue = number == 0 ? 0 : number * 2 + 2
    }
  }

  /// Closes the ports, which have reference cycles with the device.
  public func close() {
    queues.withLock {
      for port in ports { port.device = nil }
    }
  }

  /// The configuration: the number of ports (virtio 1.2, 5.3.4).
  public func configuration(at offset: Int) -> UInt8 {
    // max_nr_ports
    (4..<8).contains(offset) ? UInt8(truncatingIfNeeded: ports.count >> ((offset - 4) * 8)) : 0
  }

  /// Forgets the guest's state of the ports.
  public func reset() {
    messages.removeAll()
    for port in ports { port.guestReset() }
  }

  /// Transfers data of a port, or handles control messages.
  public func queueNotified(_ queue: Int) {
    switch queue {
    case Queue.controlReceive: queues.withLock { sendMessages() }
    case Queue.controlTransmit:
      var message: (port: UInt32, event: UInt16, value: UInt16) = (0, 0, 0)
      queues.serve(queue) { (chain: inout DescriptorChain) throws(QueueError) in
        guard withUnsafeMutableBytes(of: &message, { chain.readable.read(into: $0) }) == 8 else { throw .request }
        return .done(written: 0)
      } finish: {
        answer(message.port, message.event, message.value)
      }
      queues.withLock { sendMessages() }
    case let queue where queue & 1 == 1: ports.first { $0.queue == queue - 1 }?.transmit(self)
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

  /// A client has connected or disconnected.
  func connectionChanged(_ port: GuestPort) {
    guard port.isReady else { return }
    post(port.number, Event.portOpen, port.isConnected ? 1 : 0)
    sendMessages()
  }

  private func post(_ port: Int, _ event: UInt16, _ value: UInt16, name: String = "") {
    guard messages.count < Self.maxMessages else { return }
    var message: [UInt8] = []
    message.reserveCapacity(8 + name.utf8.count)
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: port)) { message.append(contentsOf: $0) }
    withUnsafeBytes(of: event) { message.append(contentsOf: $0) }
    withUnsafeBytes(of: value) { message.append(contentsOf: $0) }
    message.append(contentsOf: name.osBytes)
    messages.append(message)
  }

  private func sendMessages() {
    while let message = messages.first, queues.hasBuffer(Queue.controlReceive) {
      message.withUnsafeBytes { _ = queues.send(Queue.controlReceive, $0) }
      messages.removeFirst()
    }
  }
}
