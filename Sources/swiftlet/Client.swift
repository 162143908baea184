import CLinux
import Control
import JSON
import Platform

/// A connection to the daemon: one call after the other, each with its replies.
final class Client {
  private let descriptor: OwnedFD
  private var input = MessageBuffer()

  /// Where the daemon listens, unless `--socket` or the environment say otherwise.
  static let defaultSocket = "/run/swiftlet/control.sock"

  /// Connects to the socket that the words name, or $SWIFTLET_SOCKET, or the default.
  /// - Throws: `Failure.failed(.host)` where no daemon listens.
  init(socket: String?) throws(Failure) {
    let path = socket ?? linux_environment("SWIFTLET_SOCKET").map { String(cString: $0) } ?? Self.defaultSocket
    let result = linux_connect(path, true)
    if let errno = Errno(result: result) {
      let advice =
        switch errno {
        case Errno(ENOENT), Errno(ECONNREFUSED): "start swiftlet daemon, or give its --socket"
        case .accessDenied: "join the group of the socket, or ask root"
        default: "see swiftlet help daemon"
        }
      throw .failed(.host, "\(path): \(errno.description): \(advice)")
    }
    descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: LinuxKernel())
  }

  /// For poll(2): whether a reply has begun to come.
  var number: Int32 { descriptor.number }

  /// Whether more than the replies so far has been read: poll(2) knows nothing of that.
  var hasMore: Bool { input.count > 0 }

  /// Sends a call, with an open file unless that is -1.
  func send(_ method: String, _ parameters: JSONValue = .object([]), more: Bool = false, file: Int32 = -1)
    throws(Failure)
  {
    let message = Call(Interface.name + "." + method, parameters, more: more).message
    var rest = message[...]
    while !rest.isEmpty {
      // The file goes with the first bytes.
      let file = rest.count == message.count ? file : -1
      let result = rest.withUnsafeBytes { linux_send_with(descriptor.number, $0.baseAddress, $0.count, file) }
      if result == -Int(EINTR) { continue }
      // The daemon may have said why it takes no more: whoever reads the reply finds that, or that it has left.
      guard result > 0 else { return }
      rest = rest.dropFirst(result)
    }
  }

  /// The next reply. Waits for it.
  /// - Throws: `Failure.failed(.host)` where the daemon leaves.
  func next() throws(Failure) -> Reply {
    while true {
      switch input.next() {
      case .message(let message):
        guard let reply = Reply(message: message) else {
          throw .failed(.host, "what listens there is no swiftlet daemon")
        }
        return reply
      case .tooLong: throw .failed(.host, "the daemon's reply is longer than replies may be")
      case .incomplete: try receive()
      }
    }
  }

  private func receive() throws(Failure) {
    let result = input.fill { linux_read(descriptor.number, $0.baseAddress, $0.count) }
    if result <= 0, result != -Int(EINTR) { throw Self.gone }
  }

  /// Makes a call that has one reply.
  /// - Returns: its parameters.
  /// - Throws: `Failure.failed(.refused)` with the daemon's error in words.
  func call(_ method: String, _ parameters: JSONValue = .object([]), file: Int32 = -1) throws(Failure) -> JSONValue {
    try send(method, parameters, file: file)
    return try accepted(next())
  }

  private static let gone = Failure.failed(.host, "the daemon has left: its log says why")
}

/// A reply's parameters, unless it is an error.
func accepted(_ reply: Reply) throws(Failure) -> JSONValue {
  guard let complaint = reply.complaint else { return reply.parameters }
  let status: Status =
    switch reply.error {
    case "org.swiftlet.Control.BadImage": .image
    case "org.swiftlet.Control.HostFailure": .host
    default: .unable
    }
  throw .failed(status, complaint)
}

/// An object of one applet's name.
func named(_ name: String) -> JSONValue { .object([JSONMember("name", .string(name))]) }

extension JSONValue {
  /// A member's number, or 0.
  func number(_ name: String) -> Int64 {
    if case .integer(let number)? = self[name] { return number }
    return 0
  }

  /// A member's text, or an empty one. A terminal finds no commands in it.
  func text(_ name: String) -> String {
    if case .string(let text)? = self[name] { return text.printable() }
    return ""
  }

  /// A member's elements, or none.
  func list(_ name: String) -> [JSONValue] {
    if case .array(let list)? = self[name] { return list }
    return []
  }
}

/// Prints a value as one line of JSON.
func say(json value: JSONValue) { say(String(decoding: value.encoded ?? [], as: UTF8.self) + "\n") }
