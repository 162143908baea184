import JSON

/// The errors that a call can be answered with: those of the interface, and those that Varlink has for every one.
public enum ControlError: Error, Equatable, Sendable {
  case noSuchApplet(String)
  case nameTaken(String)
  case wrongState(String, state: String)
  case badImage(String, reason: String)
  case hostFailure(String)
  case notAllowed(String, reason: String)
  case badAddress(String, address: String)
  case shuttingDown
  /// org.varlink.service.InterfaceNotFound
  case interfaceNotFound(String)
  /// org.varlink.service.MethodNotFound
  case methodNotFound(String)
  /// org.varlink.service.InvalidParameter, by the parameter's name.
  case invalidParameter(String)
  /// org.varlink.service.PermissionDenied
  case permissionDenied
  /// org.varlink.service.ExpectedMore
  case expectedMore

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

  /// The parameters of the error's reply.
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
  /// An error's reply in words, for people; nil where it is no error.
  public var complaint: String? {
    guard let error else { return nil }
    func text(_ name: String) -> String {
      if case .string(let text)? = parameters[name] { return text.printable() }
      return "?"
    }
    switch error {
    case "org.swiftlet.Control.NoSuchApplet": return "there is no applet \(text("name")): swiftlet ps lists them"
    case "org.swiftlet.Control.NameTaken":
      return "an applet \(text("name")) exists already: swiftlet rm \(text("name")) forgets it once it has ended"
    case "org.swiftlet.Control.WrongState": return "\(text("name")) is \(text("state")): this cannot be done now"
    case "org.swiftlet.Control.BadImage": return "\(text("image")): \(text("reason"))"
    case "org.swiftlet.Control.HostFailure": return text("reason")
    case "org.swiftlet.Control.NotAllowed": return "\(text("name")): \(text("reason"))"
    case "org.swiftlet.Control.BadAddress":
      return "\(text("name")): not all of this at \(text("address")) is its memory"
    case "org.swiftlet.Control.ShuttingDown": return "the daemon is ending"
    case "org.varlink.service.InvalidParameter":
      let parameter = text("parameter")
      return AppletLimits.namesOfControlGroups.contains(parameter)
        ? "the daemon has no control group to limit \(parameter) by: give it one (swiftlet help daemon, --cgroup)"
        : "the daemon refuses the value of \(parameter)"
    case "org.varlink.service.PermissionDenied":
      return "the daemon does not let this user in: join the socket's group, or ask root"
    default: return "the daemon answers \(error.printable())"
    }
  }
}
