import CLinux
import Control
import JSON
import Platform

/// A client's connection: receives calls and sends replies. Calls are answered one after the other, in order.
final class Connection {
  let descriptor: Int32
  /// The process ID of the client, for the log, and its user.
  let peer: Int32
  let user: ClientUser
  /// The CLOCK_MONOTONIC time in nanoseconds at which it is closed if its client is inactive; nil for none.
  private(set) var deadline: Int64?
  /// The size of its buffers when it was last counted.
  private var held = 0
  private var input = MessageBuffer()
  private var output: [UInt8] = []
  /// The number of bytes of the output that were sent.
  private var sent = 0
  /// The number of bytes received, and of those in messages that were taken.
  private var (received, taken) = (0, 0)
  /// Received descriptors, in order. Each belongs to the message that contains the last byte received with it:
  /// recvmsg(2) does not return bytes beyond those that a descriptor was sent with.
  private var arrived: [ReceivedDescriptor] = []
  /// The descriptors of the current call.
  var descriptors: [ReceivedDescriptor] = []
  /// The image that its client has sent in pieces, which is to be continued or started before the deadline; nil for none.
  var upload: Upload? { didSet { if upload == nil { deadline = nil } } }
  /// Maximum number of descriptors of a message.
  static let maxDescriptors = 4
  /// The current call, if its reply is not complete; nil if the next call can be taken.
  var pending: Pending?
  private(set) var state = State.open
  /// Whether the current call expects no reply.
  var isOneway = false

  /// The state of the connection, which only advances.
  enum State: Comparable {
    /// Calls are received.
    case open
    /// The client has closed its side. Calls already received are answered.
    case halfClosed
    /// No further call is taken. The connection is closed when the client has read its replies.
    case draining
    /// To be removed.
    case closed
  }

  /// A call that is not answered immediately.
  enum Pending {
    /// An event of an applet, or a worker, will answer it.
    case reply
    case events
    case console(ConsoleReader)
    /// Applets that remain to be listed.
    case list(ArraySlice<AppletEntry>)
    case statistics(StatisticsCall)
  }

  /// Maximum size of pending output: if a client does not read, nothing is read from it either. Events, which are not
  /// delayed, close the connection when they exceed it.
  static let outputLimit = 256 << 10

  /// Takes ownership of a socket.
  init(_ descriptor: Int32, peer: Int32, user: ClientUser) {
    self.descriptor = descriptor
    self.peer = peer
    self.user = user
    user.connections += 1
    expectProgress()
  }

  deinit {
    user.connections -= 1
    user.bytes -= held
    // Unread data may contain descriptors.
    if !linux_close_socket(descriptor) { user.closer.close(descriptor) }
  }

  /// Restarts the time in which its client has to send the next piece of an image, or to start it.
  func expectUpload() {
    deadline = nil
    expectProgress()
  }

  private func expectProgress() {
    if let timeout = user.timeout, deadline == nil { deadline = Clock.monotonic + timeout }
  }

  /// Whether its buffers are within the limits.
  /// - Parameter all: the size of the buffers of all unprivileged users.
  func fits(_ all: Int) -> Bool {
    user.isTrusted || held <= ClientUser.minBytes
      || user.bytes <= ClientUser.maxByteShare && all <= ClientUser.maxBytes
  }

  private func count() {
    let now = input.size + output.count
    user.bytes += now - held
    held = now
  }

  /// Number of bytes that have not been sent.
  var waiting: Int { output.count - sent }

  /// The events for poll(2), which reports POLLHUP in any case.
  var wanted: Int32 {
    var events: Int32 = 0
    if waiting > 0 { events |= POLLOUT }
    if pending == nil, state == .open, waiting < Self.outputLimit { events |= POLLIN }
    return events
  }

  /// Reads available data, at most 16 KiB. If a connection is closed with unread data, its client gets ECONNRESET
  /// instead of the end of the stream.
  func receive() {
    let limit = received + 16 << 10
    while received < limit, receiveSome() {}
    count()
  }

  /// - Returns: whether more data may be available.
  private func receiveSome() -> Bool {
    var space = 0
    let result = input.fill { target in
      space = target.count
      return withUnsafeTemporaryAllocation(of: Int32.self, capacity: Int(LINUX_MOST_SENT)) { numbers in
        var count = Int32(numbers.count)
        let result = linux_recvmsg(descriptor, target.baseAddress, space, numbers.baseAddress, &count)
        for number in numbers[..<Int(count)] {
          let came = ReceivedDescriptor(number, end: received + max(result, 0), closer: user.closer)
          // Descriptors without a call must not fill the daemon's table.
          if arrived.count < Self.maxDescriptors { arrived.append(came) }
        }
        return result
      }
    }
    received += max(result, 0)
    if result == 0 {
      advance(to: .halfClosed)
    } else if result < 0, result != -Int(EAGAIN), result != -Int(EINTR) {
      close()
    }
    return result == space
  }

  /// The next call; nil if none is complete, or the client must read first. A message that is not a call closes the
  /// connection.
  func nextCall() -> Call? {
    guard pending == nil, state < .draining, waiting < Self.outputLimit else { return nil }
    switch input.next() {
    case .incomplete:
      if state == .halfClosed { drain() } else if input.count > 0 { expectProgress() }
      return nil
    case .message(let message):
      if upload == nil { deadline = nil }
      taken += message.count + 1
      let end = taken
      descriptors = arrived.filter { $0.end <= end }
      arrived.removeAll { $0.end <= end }
      if let call = Call(message: message) { return call }
      drain()
      return nil
    case .tooLong:
      drain()
      return nil
    }
  }

  /// Sends a reply, unless the call expects none. After its last reply the next call can be taken.
  /// - Parameter tooLong: the error that is sent if the reply is too long for a message.
  func reply(_ reply: Reply, tooLong: ControlError = .replyTooLong) {
    if !isOneway {
      let message = reply.message
      output += message.count <= MessageBuffer.limit ? message : Reply(tooLong).message
    }
    if !reply.continues {
      pending = nil
      isOneway = false
    }
  }

  func reply(_ parameters: JSONValue, continues: Bool = false) { reply(Reply(parameters, continues: continues)) }

  /// Sends as much as the socket accepts.
  func flush() {
    while waiting > 0, state < .closed {
      let result = output.withUnsafeBytes {
        linux_sendmsg(descriptor, $0.baseAddress! + sent, $0.count - sent, -1)
      }
      if result == -Int(EAGAIN) { break }
      if result == -Int(EINTR) { continue }
      guard result > 0 else { return close() }
      sent += result
    }
    if waiting == 0 {
      output.removeAll(keepingCapacity: output.capacity <= 4096)
      sent = 0
      if state == .draining { close() }
    } else if sent > 64 << 10 {
      output.removeFirst(sent)
      sent = 0
    }
    count()
  }

  /// Closes the connection.
  func close() { advance(to: .closed) }

  /// Closes the connection after the client has read its replies.
  func drain() {
    advance(to: .draining)
    expectProgress()
  }

  private func advance(to next: State) { state = max(state, next) }
}

/// A descriptor that an array can hold.
final class OwnedDescriptor {
  private let owned: OwnedFD
  var number: Int32 { owned.number }
  init(_ number: Int32) { owned = OwnedFD(adopting: number, kernel: LinuxKernel()) }
  init(_ owned: consuming OwnedFD) { self.owned = owned }
}
