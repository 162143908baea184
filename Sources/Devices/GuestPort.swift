import CLinux
import Platform

/// A port: a channel to the clients of a Unix socket, or to one connected socket. The guest's output stays in its buffers until the
/// client accepts it; without a client it is dropped. A client's input reaches the guest when a program there opens the port,
/// even if the client has disconnected. A client that has only shut down its sending side (shutdown(2)) stays connected until it
/// closes the socket: the guest may still answer, and the program in the guest does not get an end of file before.
public final class GuestPort: IOSource {
  /// The port's name in the guest.
  public let name: String
  /// nil for a connected socket.
  private let listener: Listener?
  /// Changed under the queues' lock while no bytes of the guest are in transfer: the transfer uses it without that lock.
  private var client: Client?
  private let kernel: any Kernel
  var device: VirtioPorts?
  var number = 0
  /// Index of its receive queue; the next one is its transmit queue.
  var queue = 0
  /// Whether the guest's driver is ready, and whether a program in the guest has opened the port.
  var isReady = false
  var isOpen = false
  /// Bytes read from the client and not yet accepted by the guest.
  private var pending: [UInt8] = []
  /// Whether the client's input is at its end, and whether the client has disconnected: it stays until its input is delivered.
  private var hasInputEnded = false
  private var isGone = false
  /// When to accept clients again after that failed, in nanoseconds of CLOCK_MONOTONIC; nil if it did not.
  private var pause: Int64?

  /// The connection to a client, as long as it belongs to the port.
  private final class Client {
    private let descriptor: OwnedFD
    var number: Int32 { descriptor.number }
    init(_ descriptor: consuming OwnedFD) { self.descriptor = descriptor }
  }

  /// A listening Unix socket, as long as it belongs to the port.
  private final class Listener {
    private let path: String
    private let descriptor: OwnedFD
    var number: Int32 { descriptor.number }

    init(path: String, kernel: any Kernel) throws(Errno) {
      let result = path.withOSString { linux_listen($0) }
      descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(result)), kernel: kernel)
      self.path = path
    }

    deinit { _ = path.withOSString { linux_unlink($0) } }
  }

  /// Listens at a Unix socket.
  /// - Throws: the kernel's error: EADDRINUSE if another process listens there, or the file is not a socket.
  public init(name: String, path: String, kernel: any Kernel) throws(Errno) {
    self.name = name
    self.kernel = kernel
    listener = try Listener(path: path, kernel: kernel)
  }

  /// Connects to one socket, until its other end closes.
  /// - Parameter connection: a stream socket.
  public init(name: String, connection: consuming OwnedFD) {
    self.name = name
    kernel = connection.kernel
    listener = nil
    client = Client(connection)
  }

  var isConnected: Bool { client != nil }

  func guestReset() {
    isReady = false
    isOpen = false
    pending.removeAll()
  }

  // MARK: I/O thread

  /// Waits for a client, for its input, or until it accepts output.
  public func prepare() -> IOInterest {
    guard let device else { return .nothing }
    var hasGone = false
    let interest = device.queues.withLock {
      deliver(device)
      hasGone = isGone && pending.isEmpty
      if hasGone { disconnect(device) }
      return wanted(device)
    }
    if hasGone { transmit(device) }
    return interest
  }

  private func wanted(_ device: VirtioPorts) -> IOInterest {
    guard let client else { return listening }
    if isGone { return .nothing }
    return IOInterest(
      descriptor: client.number,
      input: !hasInputEnded && isOpen && pending.isEmpty && device.queues.hasBuffer(queue),
      output: device.queues.isTaken(queue + 1))
  }

  private var listening: IOInterest {
    guard let listener else { return .nothing }
    guard let pause, Clock.monotonic < pause else { return IOInterest(descriptor: listener.number) }
    var interest = IOInterest.nothing
    interest.again = pause
    return interest
  }

  /// Accepts a client, or transfers data.
  public func ready(_ events: IOEvents) {
    guard let device else { return }
    device.queues.withLock {
      guard let client else { return accept(device) }
      if events.contains(.end) {
        takeRest(of: client.number)
        deliver(device)
        isGone = true
        if pending.isEmpty { disconnect(device) }
      } else if events.contains(.input) {
        receive(from: client.number, device)
      }
    }
    // Output that a disconnected client has not read is dropped.
    if events.contains(.output) || client == nil || isGone { transmit(device) }
  }

  private func accept(_ device: VirtioPorts) {
    guard let listener else { return }
    let result = linux_accept(listener.number)
    guard result >= 0 else {
      // No descriptor or memory is left: the client waits, but poll(2) would return at once.
      pause = Clock.monotonic + 100_000_000
      return
    }
    pause = nil
    setClient(Client(OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: kernel)), device)
  }

  private func disconnect(_ device: VirtioPorts) {
    (hasInputEnded, isGone) = (false, false)
    pending.removeAll()
    setClient(nil, device)
  }

  private func setClient(_ new: Client?, _ device: VirtioPorts) {
    device.queues.withoutMoving(queue + 1) { client = new }
    device.connectionChanged(self)
  }

  private func receive(from client: Int32, _ device: VirtioPorts) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
      let result = linux_read(client, buffer.baseAddress, buffer.count)
      if result > 0 {
        pending.append(contentsOf: buffer[..<result])
        deliver(device)
      } else if result == 0 {
        // It can still receive the guest's answer: otherwise `.end` would be set.
        hasInputEnded = true
      } else if result != -Int(EAGAIN), result != -Int(EINTR) {
        disconnect(device)
      }
    }
  }

  /// Reads the rest of a disconnected client's input: at most the size of its socket's buffer.
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
    while isOpen, !pending.isEmpty, device.queues.hasBuffer(queue) {
      let count = pending.withUnsafeBytes { device.queues.send(queue, $0) }
      if count == 0 { return }
      pending.removeFirst(count)
    }
  }

  // MARK: Any thread

  /// Sends the guest's output as far as the client accepts it; called without the queues' lock.
  func transmit(_ device: VirtioPorts) {
    let isLeft = device.queues.serve(queue + 1) { (chain: inout DescriptorChain) throws(QueueError) in
      passOn(&chain.readable) ? .done(written: 0) : .paused
    }
    if isLeft { device.onChange?() }
  }

  /// - Returns: whether all bytes are sent.
  private func passOn(_ bytes: inout BufferList) -> Bool {
    while let client, bytes.count > 0 {
      // Bytes that the client does not accept are sent later.
      var rest = bytes
      guard let next = rest.next() else { break }
      let result = linux_send(client.number, next.baseAddress, next.count)
      if result == -Int(EAGAIN) { return false }
      // The I/O thread detects a disconnected client; the rest is dropped.
      guard result >= 0 else { break }
      _ = bytes.next(atMost: result)
    }
    return true
  }
}
