import CLinux
import Control
import JSON
import Launch
import Platform

/// A connection to the daemon, for one call at a time with its replies.
final class Client {
  private let descriptor: OwnedFD
  private var input = MessageBuffer()
  /// Whether the daemon has closed the connection, or is about to since it shuts down.
  private(set) var isGone = false

  /// The daemon's default socket.
  static let defaultSocket = "/run/swiftlet/control.sock"

  /// Connects to the given socket, $SWIFTLET_SOCKET, that of the user's own daemon if there is one, or the default.
  /// - Throws: `Failure.failed(.host)` if no daemon listens there.
  init(socket: String?) throws(Failure) {
    let variable = linux_getenv("SWIFTLET_SOCKET").map { String(cString: $0) }
    let given = socket ?? (variable?.isEmpty == true ? nil : variable)
    var path = given ?? UserPaths.socket ?? Self.defaultSocket
    var result = linux_connect(path, true)
    if given == nil, result == -Int(ENOENT) || result == -Int(ECONNREFUSED) {
      path = Self.defaultSocket
      result = linux_connect(path, true)
    }
    if let errno = Errno(result: result) {
      let advice =
        switch errno {
        case Errno(ENOENT), Errno(ECONNREFUSED): "start swiftlet daemon, or set --socket"
        case .accessDenied: "add this user to the socket's group"
        default: "see swiftlet help daemon"
        }
      throw .failed(.host, "\(path): \(errno.description): \(advice)")
    }
    descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: LinuxKernel())
  }

  /// Takes a connection that is open already.
  init(adopting connection: Int32) { descriptor = OwnedFD(adopting: connection, kernel: LinuxKernel()) }

  /// The descriptor for poll(2), which is readable when a reply arrives.
  var number: Int32 { descriptor.number }

  /// Whether bytes after the last reply have already been read, of which poll(2) does not know.
  var hasMore: Bool { input.count > 0 }

  /// Sends a call, with a file descriptor unless it is -1.
  func send(_ method: String, _ parameters: JSONValue = .object([]), more: Bool = false, file: Int32 = -1)
    throws(Failure)
  {
    let message = Call(Interface.name + "." + method, parameters, more: more).message
    var rest = message[...]
    while !rest.isEmpty {
      // The descriptor is sent with the first bytes.
      let file = rest.count == message.count ? file : -1
      let result = rest.withUnsafeBytes { linux_sendmsg(descriptor.number, $0.baseAddress, $0.count, file) }
      if result == -Int(EINTR) { continue }
      // The daemon may have closed the connection after an error, which the reply contains.
      guard result > 0 else { return }
      rest = rest.dropFirst(result)
    }
  }

  /// Waits for the next reply.
  /// - Throws: `Failure.failed(.host)` if the daemon closes the connection.
  func next() throws(Failure) -> Reply {
    while true {
      if let reply = try buffered() { return reply }
      try receive()
    }
  }

  /// The next reply, if it has been received completely.
  func buffered() throws(Failure) -> Reply? {
    switch input.next() {
    case .message(let message):
      guard let reply = Reply(message: message) else {
        throw .failed(.host, "the program that listens there is not a swiftlet daemon")
      }
      if reply.error == ControlError.shuttingDown.name { isGone = true }
      return reply
    case .tooLong: throw .failed(.host, "the daemon's reply is too long")
    case .incomplete: return nil
    }
  }

  /// Receives a part of a reply; blocks until there is one.
  /// - Throws: as `next`.
  func receive() throws(Failure) {
    let result = input.fill { linux_read(descriptor.number, $0.baseAddress, $0.count) }
    if result <= 0, result != -Int(EINTR) {
      isGone = true
      throw Self.gone
    }
  }

  /// Makes a call with one reply.
  /// - Returns: its parameters.
  /// - Throws: `Failure.failed(.refused)` with the daemon's error message.
  func call(_ method: String, _ parameters: JSONValue = .object([]), file: Int32 = -1) throws(Failure) -> JSONValue {
    try send(method, parameters, file: file)
    return try accepted(next(), of: method)
  }

  private static let gone = Failure.failed(.host, "the daemon has closed the connection: see its log")
}

/// The parameters of a reply to a method, unless it is an error.
func accepted(_ reply: Reply, of method: String = "") throws(Failure) -> JSONValue {
  guard let errorText = reply.errorText(of: method) else { return reply.parameters }
  let status: ExitCode =
    switch reply.error {
    case "org.swiftlet.Control.BadImage": .image
    case "org.swiftlet.Control.HostFailure": .host
    default: .refused
    }
  throw .failed(status, errorText)
}

/// An object with an applet's name.
func named(_ name: String) -> JSONValue { .object([JSONMember("name", .string(name))]) }

extension Reply {
  /// Whether a descriptor that was sent has not arrived, as through a socket that ssh(1) forwards.
  var lacksDescriptor: Bool {
    error == "org.varlink.service.InvalidParameter" && parameters["parameter"] == .string("image_descriptor")
  }
}

extension JSONValue {
  /// The value of a number, or 0.
  func number(_ name: String) -> Int64 {
    if case .integer(let number)? = self[name] { return number }
    return 0
  }

  /// The value of a string, or empty; control characters are replaced.
  func text(_ name: String) -> String {
    if case .string(let text)? = self[name] { return text.printable() }
    return ""
  }

  /// The elements of an array, or none.
  func list(_ name: String) -> [JSONValue] {
    if case .array(let list)? = self[name] { return list }
    return []
  }
}

/// Prints a value as one line of JSON.
func say(json value: JSONValue) throws(Failure) { try say(String(decoding: value.encoded ?? [], as: UTF8.self) + "\n") }
