import JSON

/// A method call, as a Varlink message has it.
public struct Call: Equatable, Sendable {
  /// The interface's and the method's name: `org.varlink.service.GetInfo`.
  public let method: String
  /// An object; empty where the message has none.
  public let parameters: JSONValue
  /// Whether the caller takes several replies.
  public let more: Bool
  /// Whether the caller takes no reply at all.
  public let oneway: Bool

  /// The interface's name: what stands before the last dot.
  public var interface: Substring { method[..<(method.lastIndex(of: ".") ?? method.startIndex)] }

  public init(_ method: String, _ parameters: JSONValue = .object([]), more: Bool = false, oneway: Bool = false) {
    self.method = method
    self.parameters = parameters
    self.more = more
    self.oneway = oneway
  }

  /// Reads a message.
  /// - Returns: nil for what is no call: then the connection is of no use any more.
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

  /// The message, its zero byte included.
  public var message: [UInt8] {
    var members = [JSONMember("method", .string(method)), JSONMember("parameters", parameters)]
    if more { members.append(JSONMember("more", .bool(true))) }
    if oneway { members.append(JSONMember("oneway", .bool(true))) }
    return JSONValue.object(members).message
  }
}

/// A reply, as a Varlink message has it.
public struct Reply: Equatable, Sendable {
  /// An object.
  public let parameters: JSONValue
  /// The error's full name; nil for success.
  public let error: String?
  /// Whether another reply to the same call follows.
  public let continues: Bool

  public init(_ parameters: JSONValue, error: String? = nil, continues: Bool = false) {
    self.parameters = parameters
    self.error = error
    self.continues = continues
  }

  public init(_ error: ControlError) {
    self.init(error.parameters, error: error.name)
  }

  /// Reads a message; nil for what is no reply.
  public init?(message: [UInt8]) {
    guard let value = message.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }),
      case .object = value
    else { return nil }
    if case .string(let name)? = value["error"] { error = name } else { error = nil }
    if case .bool(let flag)? = value["continues"] { continues = flag } else { continues = false }
    parameters = value["parameters"] ?? .object([])
  }

  /// The message, its zero byte included.
  public var message: [UInt8] {
    var members: [JSONMember] = []
    if let error { members.append(JSONMember("error", .string(error))) }
    members.append(JSONMember("parameters", parameters))
    if continues { members.append(JSONMember("continues", .bool(true))) }
    return JSONValue.object(members).message
  }
}

extension JSONValue {
  /// As text, and a zero byte.
  fileprivate var message: [UInt8] { (encoded ?? Array("{}".utf8)) + [0] }
}
