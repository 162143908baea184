import CLinux
import Control
import JSON
import Platform

/// A client's connection: bytes in, messages, replies, bytes out. Calls are answered one after the other, in their order.
final class Connection {
  let descriptor: OwnedFD
  /// Who is there, for the log.
  let peer: Int32
  private var input = MessageBuffer()
  private var output: [UInt8] = []
  /// Bytes of the output that are sent.
  private var sent = 0
  /// Bytes that have come, and those of messages that were taken.
  private var (received, taken) = (0, 0)
  /// Descriptors that came along, in their order. Each belongs to the message that has the last of the bytes that had come with
  /// it: what recvmsg(2) gives ends with the bytes that the descriptors were sent with.
  private var arrived: [OwnedDescriptor] = []
  /// Those that came with the call under way, and with no other.
  var descriptors: [OwnedDescriptor] = []
  /// Most descriptors of a message.
  static let mostDescriptors = 4
  /// What goes on beyond the present call; nil while the next can be taken.
  var task: Task?
  /// Whether the client will send nothing more.
  private(set) var hasEnded = false
  /// Whether it is to be closed: broken, or done with.
  private(set) var isDead = false
  /// Whether it is to be closed once everything is sent.
  private var isLeaving = false
  /// Whether the call under way takes no reply.
  var isOneway = false

  /// A call that is not answered at once.
  enum Task {
    /// An applet's entry will answer it, or a worker.
    case waiting
    case events
    case console(ConsoleReader)
  }

  /// Bytes that may wait for a client: whoever does not read is not read from either. Events, which do not wait, close the
  /// connection beyond it.
  static let outputLimit = 256 << 10

  init(_ descriptor: consuming OwnedFD, peer: Int32) {
    self.descriptor = descriptor
    self.peer = peer
  }

  /// Bytes that wait to be sent.
  var waiting: Int { output.count - sent }

  /// What to poll(2) for. A client that hangs up is told in any case.
  var wanted: Int32 {
    var events: Int32 = 0
    if waiting > 0 { events |= POLLOUT }
    if task == nil, !hasEnded, !isLeaving, waiting < Self.outputLimit { events |= POLLIN }
    return events
  }

  /// Reads what is there, as far as it is no more than 16 KiB: a client that is left while some of its bytes are not read finds
  /// its connection reset, not ended.
  func receive() {
    let most = received + 16 << 10
    while received < most, receiveSome() {}
  }

  /// - Returns: whether there may be more.
  private func receiveSome() -> Bool {
    var numbers = [Int32](repeating: -1, count: Self.mostDescriptors)
    var count = Int32(numbers.count)
    var room = 0
    let result = input.fill {
      room = $0.count
      return linux_receive(descriptor.number, $0.baseAddress, room, &numbers, &count)
    }
    received += max(result, 0)
    for index in 0..<Int(count) {
      let owned = OwnedDescriptor(numbers[index])
      owned.end = received
      // Descriptors that no call fetches must not fill the daemon's table.
      if arrived.count < Self.mostDescriptors { arrived.append(owned) }
    }
    if result == 0 {
      hasEnded = true
    } else if result < 0, result != -Int(EAGAIN), result != -Int(EINTR) {
      isDead = true
    }
    return result == room
  }

  /// The next call; nil where none is whole, or the client has to read first. A client that sends no calls is left.
  func nextCall() -> Call? {
    guard task == nil, !isDead, !isLeaving, waiting < Self.outputLimit else { return nil }
    switch input.next() {
    case .incomplete:
      if hasEnded { isLeaving = true }
      return nil
    case .message(let message):
      taken += message.count + 1
      let end = taken
      descriptors = arrived.filter { $0.end <= end }
      arrived.removeAll { $0.end <= end }
      if let call = Call(message: message) { return call }
      isLeaving = true
      return nil
    case .tooLong:
      isLeaving = true
      return nil
    }
  }

  /// Sends a reply, unless the call takes none; after the last one the next call can be taken.
  func reply(_ reply: Reply) {
    if !isOneway { output += reply.message }
    if !reply.continues {
      task = nil
      isOneway = false
    }
  }

  func reply(_ parameters: JSONValue, continues: Bool = false) { reply(Reply(parameters, continues: continues)) }

  /// Sends what the client takes.
  func flush() {
    while waiting > 0, !isDead {
      let result = output.withUnsafeBytes {
        linux_send_with(descriptor.number, $0.baseAddress! + sent, $0.count - sent, -1)
      }
      if result == -Int(EAGAIN) { break }
      if result == -Int(EINTR) { continue }
      guard result > 0 else {
        isDead = true
        return
      }
      sent += result
    }
    if waiting == 0 {
      output.removeAll(keepingCapacity: output.capacity <= 4096)
      sent = 0
      if isLeaving { isDead = true }
    } else if sent > 64 << 10 {
      output.removeFirst(sent)
      sent = 0
    }
  }

  /// Leaves the client, whatever it waits for.
  func close() { isDead = true }

  /// Leaves the client once it has read what is there.
  func leave() { isLeaving = true }
}

/// A descriptor that an array can hold.
final class OwnedDescriptor {
  let owned: OwnedFD
  /// How many bytes of its connection had come when it had.
  var end = 0
  var number: Int32 { owned.number }
  init(_ number: Int32) { owned = OwnedFD(adopting: number, kernel: LinuxKernel()) }

  /// The same open file under a number of its own.
  func copy() throws(Errno) -> OwnedFD {
    OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_duplicate(owned.number))), kernel: LinuxKernel())
  }
}

/// Reads a console's history, and what follows.
final class ConsoleReader {
  let entry: AppletEntry
  let file: OwnedFD
  var offset: Int64
  let isFollowing: Bool
  /// The number of the watch that tells of changes; -1 for none.
  var watch: Int32 = -1

  /// Whether there may be more to read than was read when others had to be looked after, or the client took no more.
  var hasMore = false

  /// Most bytes in one reply.
  static let chunk = 32 << 10
  /// Most replies before others are looked after.
  static let turn = 8

  init(_ entry: AppletEntry, file: consuming OwnedFD, offset: Int64, isFollowing: Bool) {
    self.entry = entry
    self.file = file
    self.offset = offset
    self.isFollowing = isFollowing
  }

  /// The next bytes with the offset at which they begin; none at the end of what there is.
  func next() -> (offset: Int64, bytes: [UInt8]) {
    // What is forgotten is a hole.
    let data = linux_seek_data(file.number, offset)
    // A hole up to the end, however far that is, says nothing.
    if data == -Int(ENXIO) { return (offset, []) }
    if data > offset { offset = Int64(data) }
    let bytes = [UInt8](unsafeUninitializedCapacity: Self.chunk) { buffer, count in
      count = max(linux_pread(file.number, buffer.baseAddress, buffer.count, Int(offset)), 0)
    }
    let start = offset
    offset += Int64(bytes.count)
    return (start, bytes)
  }
}
