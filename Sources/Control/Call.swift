import JSON

/// A method call: a Varlink message from a client.
public struct Call: Equatable, Sendable {
  /// The name of the interface and the method: `org.varlink.service.GetInfo`.
  public let method: String
  /// An object; empty if the message has none.
  public let parameters: JSONValue
  /// Whether the caller accepts several replies.
  public let more: Bool
  /// Whether the caller expects no reply.
  public let oneway: Bool

  /// The name of the interface: the part before the last dot.
  public var interface: Substring { method[..<(method.lastIndex(of: ".") ?? method.startIndex)] }

  /// A call of a method, by its full name.
  public init(_ method: String, _ parameters: JSONValue = .object([]), more: Bool = false, oneway: Bool = false) {
    self.method = method
    self.parameters = parameters
    self.more = more
    self.oneway = oneway
  }

  /// Decodes a message.
  /// - Returns: nil if it is not a call; the connection cannot continue then.
  public init?(message: [UInt8]) {
    guard let value = message.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }),
      case .string(let method)? = value["method"]
    else { return nil }
    func flag(_ name: String) -> Bool? {
      switch value[name] {
      case nil, .null: false
      case .bool(let flag): flag
      default: nil
      }
    }
    guard let more = flag("more"), let oneway = flag("oneway"), flag("upgrade") == false else { return nil }
    switch value["parameters"] {
    case nil, .null: parameters = .object([])
    case .object(let members): parameters = .object(members)
    default: return nil
    }
    self.method = method
    self.more = more
    self.oneway = oneway
  }

  /// The message, including its zero byte.
  public var message: [UInt8] {
    var members = [JSONMember("method", .string(method)), JSONMember("parameters", parameters)]
    if more { members.append(JSONMember("more", .bool(true))) }
    if oneway { members.append(JSONMember("oneway", .bool(true))) }
    return JSONValue.object(members).message
  }
}

/// A reply: a Varlink message to a client.
public struct Reply: Equatable, Sendable {
  /// An object.
  public let parameters: JSONValue
  /// The full name of the error; nil for success.
  public let error: String?
  /// Whether another reply to the same call follows.
  public let continues: Bool

  /// A reply with these parameters.
  public init(_ parameters: JSONValue, error: String? = nil, continues: Bool = false) {
    self.parameters = parameters
    self.error = error
    self.continues = continues
  }

  /// An error reply.
  public init(_ error: ControlError) {
    self.init(error.parameters, error: error.name)
  }

  /// Decodes a message; nil if it is not a reply.
  public init?(message: [UInt8]) {
    guard let value = message.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }),
      case .object = value
    else { return nil }
    if case .string(let name)? = value["error"] { error = name } else { error = nil }
    if case .bool(let flag)? = value["continues"] { continues = flag } else { continues = false }
    parameters = value["parameters"] ?? .object([])
  }

  /// The message, including its zero byte.
  public var message: [UInt8] {
    var members: [JSONMember] = []
    if let error { members.append(JSONMember("error", .string(error))) }
    members.append(JSONMember("parameters", parameters))
    if continues { members.append(JSONMember("continues", .bool(true))) }
    return JSONValue.object(members).message
  }
}

extension JSONValue {
  /// As text, with a zero byte.
  fileprivate var message: [UInt8] { (encoded ?? Array("{}".utf8)) + [0] }
}
