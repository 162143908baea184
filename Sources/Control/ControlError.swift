import JSON
import Launch

/// The errors in replies: those of the control interface, and those of every Varlink service.
public enum ControlError: Error, Equatable, Sendable {
  /// There is no applet with this name.
  case noSuchApplet(String)
  /// An applet with this name exists already.
  case nameTaken(String)
  /// The applet's state does not allow this.
  case wrongState(String, state: String)
  /// The image cannot be read, or is not valid.
  case badImage(String, reason: String)
  /// The host cannot do this, with a description.
  case hostFailure(String)
  /// The applet was not started for this.
  case notAllowed(String, reason: String)
  /// The range is not completely in the applet's memory.
  case badAddress(String, address: String)
  /// The daemon is shutting down.
  case shuttingDown
  /// org.varlink.service.InterfaceNotFound
  case interfaceNotFound(String)
  /// org.varlink.service.MethodNotFound
  case methodNotFound(String)
  /// org.varlink.service.InvalidParameter, with the parameter's name.
  case invalidParameter(String)
  /// org.varlink.service.PermissionDenied
  case permissionDenied
  /// org.varlink.service.ExpectedMore
  case expectedMore

  /// The error that replaces a reply that is too long for a message.
  public static let replyTooLong = ControlError.hostFailure("the reply has more than \(MessageBuffer.limit >> 20) MiB")

  /// The full name.
  public var name: String {
    switch self {
    case .noSuchApplet: "org.swiftlet.Control.NoSuchApplet"
    case .nameTaken: "org.swiftlet.Control.NameTaken"
    case .wrongState: "org.swiftlet.Control.WrongState"
    case .badImage: "org.swiftlet.Control.BadImage"
    case .hostFailure: "org.swiftlet.Control.HostFailure"
    case .notAllowed: "org.swiftlet.Control.NotAllowed"
    case .badAddress: "org.swiftlet.Control.BadAddress"
    case .shuttingDown: "org.swiftlet.Control.ShuttingDown"
    case .interfaceNotFound: "org.varlink.service.InterfaceNotFound"
    case .methodNotFound: "org.varlink.service.MethodNotFound"
    case .invalidParameter: "org.varlink.service.InvalidParameter"
    case .permissionDenied: "org.varlink.service.PermissionDenied"
    case .expectedMore: "org.varlink.service.ExpectedMore"
    }
  }

  /// The parameters of the error reply.
  public var parameters: JSONValue {
    switch self {
    case .noSuchApplet(let name), .nameTaken(let name): .object([JSONMember("name", .string(name))])
    case .wrongState(let name, let state):
      .object([JSONMember("name", .string(name)), JSONMember("state", .string(state))])
    case .badImage(let image, let reason):
      .object([JSONMember("image", .string(image)), JSONMember("reason", .string(reason))])
    case .hostFailure(let reason): .object([JSONMember("reason", .string(reason))])
    case .notAllowed(let name, let reason):
      .object([JSONMember("name", .string(name)), JSONMember("reason", .string(reason))])
    case .badAddress(let name, let address):
      .object([JSONMember("name", .string(name)), JSONMember("address", .string(address))])
    case .interfaceNotFound(let interface): .object([JSONMember("interface", .string(interface))])
    case .methodNotFound(let method): .object([JSONMember("method", .string(method))])
    case .invalidParameter(let parameter): .object([JSONMember("parameter", .string(parameter))])
    case .shuttingDown, .permissionDenied, .expectedMore: .object([])
    }
  }
}

extension Reply {
  /// A message for an error reply to a method, with what to do next; nil if the reply is not an error.
  public func errorText(of method: String) -> String? {
    guard error == "org.swiftlet.Control.WrongState", case .string(let name)? = parameters["name"],
      case .string(let state)? = parameters["state"]
    else { return errorText }
    let applet = name.printable()
    let advice =
      switch method {
      case "Start": "stop it first"
      case "Remove": "stop it first, or use swiftlet rm -f \(applet)"
      case "Stop", "Kill": "it has ended already; swiftlet restart \(applet) starts it again"
      case "StartAgain": "it was stopped meanwhile; swiftlet restart \(applet) starts it again"
      default: "this needs a running applet; swiftlet restart \(applet) starts it again"
      }
    return "\(applet) is \(state.printable()): \(advice)"
  }

  /// A message for an error reply; nil if the reply is not an error.
  public var errorText: String? {
    guard let error else { return nil }
    func text(_ name: String) -> String {
      if case .string(let text)? = parameters[name] { return text.printable() }
      return "?"
    }
    switch error {
    case "org.swiftlet.Control.NoSuchApplet": return "there is no applet \(text("name")): swiftlet ps lists them"
    case "org.swiftlet.Control.NameTaken":
      return "an applet \(text("name")) exists already: remove it with swiftlet rm \(text("name")) after it has ended"
    case "org.swiftlet.Control.WrongState": return "\(text("name")) is \(text("state")): not possible in this state"
    case "org.swiftlet.Control.BadImage": return "\(text("image")): \(text("reason"))"
    case "org.swiftlet.Control.HostFailure": return text("reason")
    case "org.swiftlet.Control.NotAllowed": return "\(text("name")): \(text("reason"))"
    case "org.swiftlet.Control.BadAddress":
      return "\(text("name")): the range at \(text("address")) is not entirely in its memory"
    case "org.swiftlet.Control.ShuttingDown": return "the daemon is shutting down"
    case "org.varlink.service.InvalidParameter":
      let parameter = text("parameter")
      return GuestLimits.namesOfControlGroups.contains(parameter)
        ? "the daemon has no control group, which \(parameter) needs: start it with --cgroup (see swiftlet help daemon)"
        : "the daemon rejected the value of \(parameter)"
    case "org.varlink.service.PermissionDenied":
      return "permission denied by the daemon: add this user to the socket's group"
    default: return "the daemon returned error \(error.printable())"
    }
  }
}
