import JSON

/// Why a method failed: the text becomes the response's `error`.
public struct RPCError: Error, Equatable, Sendable {
  /// The text of the error.
  public let message: String
  /// An error with a message.
  public init(_ message: String) { self.message = message }
}

/// A type that a method can have as its argument.
public protocol RPCArgument {
  /// - Throws: `RPCError` if the value has another type, with the text of Go's encoding/json.
  static func decode(_ value: JSONValue) throws(RPCError) -> Self
}

/// A type that a method can return.
public protocol RPCResult {
  /// The value as JSON.
  var json: JSONValue { get }
}

/// Serves JSON-RPC 1.0 like Go's net/rpc with its jsonrpc codec: services with methods, called `Service.Method`, each
/// with one argument.
public final class Server {
  /// A method, from its argument to its result. Like a handler it must not wait: other CPUs of a program, and stops,
  /// would wait with it.
  public typealias Method = (JSONValue) throws(RPCError) -> JSONValue

  private var methods: [(name: [UInt8], body: Method)] = []
  /// Services whose methods are answered elsewhere, by name including a dot.
  private var services: [(name: [UInt8], body: Forward)] = []

  /// Answers the calls of a service: from the method's full name and its argument to its result. It may wait while
  /// `ExecCtx.mustStopWaiting` returns false; calls of other CPUs are answered meanwhile.
  public typealias Forward = (String, JSONValue) throws(RPCError) -> JSONValue

  /// A server without methods.
  public init() {}

  /// Registers a method. A method with the same name is replaced.
  /// - Parameter name: `Service.Method`.
  /// - Throws: `RPCError` if the name has another form.
  public func register(_ name: String, _ body: @escaping Method) throws(RPCError) {
    let text = name
    let name = Array(name.utf8)
    guard let dot = name.lastIndex(of: 0x2e), dot > 0, dot + 1 < name.count else {
      throw RPCError("rpc: the name of a method has the form Service.Method, not \(text)")
    }
    methods.removeAll { $0.name == name }
    methods.append((name, body))
  }

  /// Registers a service. Methods that are registered individually take precedence.
  /// - Parameter service: the part of the name before the last dot.
  /// - Throws: `RPCError` if it is empty.
  public func forward(_ service: String, to body: @escaping Forward) throws(RPCError) {
    guard !service.isEmpty else { throw RPCError("rpc: the name of a service is empty") }
    let name = Array((service + ".").utf8)
    services.removeAll { $0.name == name }
    services.append((name, body))
  }

  /// Registers a method with types for its argument and its result.
  public func register<Argument: RPCArgument, Answer: RPCResult>(
    _ name: String, _ body: @escaping (Argument) throws(RPCError) -> Answer
  ) throws(RPCError) {
    try register(name) { (value: JSONValue) throws(RPCError) -> JSONValue in try body(try Argument.decode(value)).json }
  }

  /// Answers one request.
  /// - Parameters:
  ///   - bytes: a JSON object, nested no deeper than `RequestScanner.depthLimit`.
  ///   - id: the bytes of its identifier, which are returned unchanged.
  ///   - waiting: runs a closure that may wait.
  /// - Returns: the response with a line feed at its end; nil if the bytes are not a request.
  func serve(_ bytes: UnsafeRawBufferPointer, id: UnsafeRawBufferPointer?, waiting: Waiting) -> [UInt8]? {
    let request: JSONValue
    do { request = try JSONValue.parse(bytes) } catch {
      guard error == .numberTooGreat else { return nil }
      return Self.response(
        .failure(RPCError("json: cannot unmarshal number into Go value of type float64")), id: id)
    }
    var method = ""
    switch request["method"] {
    case .string(let name): method = name
    case nil, .null: break
    default: return nil
    }
    let outcome: Result<JSONValue, RPCError>
    do throws(RPCError) { outcome = .success(try call(method, request["params"], waiting)) } catch {
      outcome = .failure(error)
    }
    return Self.response(outcome, id: id)
  }

  /// A response, ended by a line feed.
  static func response(_ outcome: Result<JSONValue, RPCError>, id: UnsafeRawBufferPointer?) -> [UInt8] {
    let null = Array("null".utf8)
    let (result, error): ([UInt8], [UInt8])
    switch outcome {
    case .success(let value): (result, error) = (value.encoded ?? null, null)
    case .failure(let reason): (result, error) = (null, JSONValue.string(reason.message).encoded ?? null)
    }
    var response: [UInt8] = []
    response.reserveCapacity(40 + result.count + error.count + (id?.count ?? 0))
    response.append(contentsOf: #"{"id":"#.utf8)
    if let id { response.append(contentsOf: id) } else { response.append(contentsOf: null) }
    response.append(contentsOf: #","result":"#.utf8)
    response.append(contentsOf: result)
    response.append(contentsOf: #","error":"#.utf8)
    response.append(contentsOf: error)
    response.append(contentsOf: "}\n".utf8)
    return response
  }

  /// Runs a closure that may wait.
  typealias Waiting = (() throws(RPCError) -> JSONValue) throws(RPCError) -> JSONValue

  private func call(_ method: String, _ parameters: JSONValue?, _ waiting: Waiting) throws(RPCError) -> JSONValue {
    let name = Array(method.utf8)
    guard let dot = name.lastIndex(of: 0x2e) else {
      throw RPCError("rpc: service/method request ill-formed: \(method)")
    }
    let service = name[...dot]
    let body = methods.first { $0.name == name }?.body
    let forward = body == nil ? services.first { $0.name.elementsEqual(service) }?.body : nil
    guard body != nil || forward != nil else {
      let isKnown = methods.contains { $0.name.starts(with: service) && !$0.name[service.endIndex...].contains(0x2e) }
      throw RPCError("rpc: can't find \(isKnown ? "method" : "service") \(method)")
    }
    switch parameters {
    case .array(let values):
      let argument = values.first ?? .null
      if let body { return try body(argument) }
      guard let forward else { return .null }
      return try waiting { () throws(RPCError) in try forward(method, argument) }
    case nil, .null: throw RPCError("jsonrpc: request body missing params")
    case let other?: throw RPCError("json: cannot unmarshal \(other.kind) into Go value of type [1]interface {}")
    }
  }
}

extension JSONValue {
  /// The name of this type in Go's encoding/json.
  fileprivate var kind: StaticString {
    switch self {
    case .null: "null"
    case .bool: "bool"
    case .integer, .real: "number"
    case .string: "string"
    case .array: "array"
    case .object: "object"
    }
  }

  fileprivate func mismatch(_ type: StaticString) -> RPCError {
    RPCError("json: cannot unmarshal \(kind) into Go value of type \(type)")
  }
}

extension JSONValue: RPCArgument, RPCResult {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> JSONValue { value }
  /// The value as JSON.
  public var json: JSONValue { self }
}

extension String: RPCArgument, RPCResult {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> String {
    switch value {
    case .string(let text): text
    case .null: ""
    default: throw value.mismatch("string")
    }
  }
  /// The value as JSON.
  public var json: JSONValue { .string(self) }
}

extension Int64: RPCArgument, RPCResult {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> Int64 {
    switch value {
    case .integer(let number): number
    case .null: 0
    default: throw value.mismatch("int64")
    }
  }
  /// The value as JSON.
  public var json: JSONValue { .integer(self) }
}

extension Double: RPCArgument, RPCResult {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> Double {
    switch value {
    case .integer(let number): Double(number)
    case .real(let number): number
    case .null: 0
    default: throw value.mismatch("float64")
    }
  }
  /// The value as JSON.
  public var json: JSONValue { .real(self) }
}

extension Bool: RPCArgument, RPCResult {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> Bool {
    switch value {
    case .bool(let flag): flag
    case .null: false
    default: throw value.mismatch("bool")
    }
  }
  /// The value as JSON.
  public var json: JSONValue { .bool(self) }
}

extension Array: RPCArgument where Element: RPCArgument {
  /// Decodes the argument.
  public static func decode(_ value: JSONValue) throws(RPCError) -> [Element] {
    switch value {
    case .array(let values):
      var elements: [Element] = []
      for value in values { elements.append(try Element.decode(value)) }
      return elements
    case .null: return []
    default: throw value.mismatch("array")
    }
  }
}

extension Array: RPCResult where Element: RPCResult {
  /// The value as JSON.
  public var json: JSONValue { .array(map { $0.json }) }
}
