import JSON

/// Why a method failed; its caller reads it in the response's `error`.
public struct RPCError: Error, Equatable, Sendable {
  public let message: String
  public init(_ message: String) { self.message = message }
}

/// What a method can take as its argument.
public protocol RPCArgument {
  /// - Throws: `RPCError` where the value is of another kind, worded as Go's encoding/json words it.
  static func decode(_ value: JSONValue) throws(RPCError) -> Self
}

/// What a method can answer.
public protocol RPCResult {
  var json: JSONValue { get }
}

/// Serves JSON-RPC 1.0 as Go's net/rpc with its jsonrpc codec does: services with methods, called `Service.Method`, each with
/// one argument.
public final class Server {
  /// A method: its argument, and what it answers.
  public typealias Method = (JSONValue) throws(RPCError) -> JSONValue

  private var methods: [(name: [UInt8], body: Method)] = []
  /// Services whose methods somebody else knows, by their names and a dot.
  private var services: [(name: [UInt8], body: Forward)] = []

  /// Answers the calls of a service: the method's whole name, its argument, and what it answers.
  public typealias Forward = (String, JSONValue) throws(RPCError) -> JSONValue

  public init() {}

  /// Offers a method. A name that is offered already is replaced.
  /// - Parameter name: `Service.Method`.
  public func register(_ name: String, _ body: @escaping Method) {
    let name = Array(name.utf8)
    methods.removeAll { $0.name == name }
    methods.append((name, body))
  }

  /// Offers a service as a whole; methods that are registered by themselves come first.
  /// - Parameter service: the name before the dot.
  public func forward(_ service: String, to body: @escaping Forward) {
    let name = Array((service + ".").utf8)
    services.removeAll { $0.name == name }
    services.append((name, body))
  }

  /// Offers a method whose argument and answer are of one kind each.
  public func register<Argument: RPCArgument, Answer: RPCResult>(
    _ name: String, _ body: @escaping (Argument) throws(RPCError) -> Answer
  ) {
    register(name) { (value: JSONValue) throws(RPCError) -> JSONValue in try body(try Argument.decode(value)).json }
  }

  /// Answers one request.
  /// - Parameters:
  ///   - bytes: a JSON object, nested no deeper than `RequestScanner.depthLimit`.
  ///   - id: the bytes of its identifier, given back as they are.
  /// - Returns: the response, ended by a line feed; nil where the bytes are no request.
  func serve(_ bytes: UnsafeRawBufferPointer, id: UnsafeRawBufferPointer?) -> [UInt8]? {
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
    do throws(RPCError) { outcome = .success(try call(method, request["params"])) } catch { outcome = .failure(error) }
    return Self.response(outcome, id: id)
  }

  private static func response(_ outcome: Result<JSONValue, RPCError>, id: UnsafeRawBufferPointer?) -> [UInt8] {
    var response = Array(#"{"id":"#.utf8)
    response += id.map { Array($0) } ?? Array("null".utf8)
    response += Array(#","result":"#.utf8)
    let null = Array("null".utf8)
    switch outcome {
    case .success(let value): response += (value.encoded ?? null) + Array(#","error":null"#.utf8)
    case .failure(let error):
      response += null + Array(#","error":"#.utf8) + (JSONValue.string(error.message).encoded ?? null)
    }
    return response + [0x7d, 0x0a]
  }

  private func call(_ method: String, _ parameters: JSONValue?) throws(RPCError) -> JSONValue {
    let name = Array(method.utf8)
    guard let dot = name.lastIndex(of: 0x2e) else {
      throw RPCError("rpc: service/method request ill-formed: \(method)")
    }
    let service = name[...dot]
    var found = methods.first { $0.name == name }?.body
    if found == nil, let forward = services.first(where: { $0.name.elementsEqual(service) })?.body {
      found = { (value: JSONValue) throws(RPCError) -> JSONValue in try forward(method, value) }
    }
    guard let body = found else {
      let isKnown = methods.contains { $0.name.starts(with: service) && !$0.name[service.endIndex...].contains(0x2e) }
      throw RPCError("rpc: can't find \(isKnown ? "method" : "service") \(method)")
    }
    switch parameters {
    case .array(let values): return try body(values.first ?? .null)
    case nil, .null: throw RPCError("jsonrpc: request body missing params")
    case let other?: throw RPCError("json: cannot unmarshal \(other.kind) into Go value of type [1]interface {}")
    }
  }
}

extension JSONValue {
  /// The name that Go's encoding/json has for this kind of value.
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
  public static func decode(_ value: JSONValue) throws(RPCError) -> JSONValue { value }
  public var json: JSONValue { self }
}

extension String: RPCArgument, RPCResult {
  public static func decode(_ value: JSONValue) throws(RPCError) -> String {
    switch value {
    case .string(let text): text
    case .null: ""
    default: throw value.mismatch("string")
    }
  }
  public var json: JSONValue { .string(self) }
}

extension Int64: RPCArgument, RPCResult {
  public static func decode(_ value: JSONValue) throws(RPCError) -> Int64 {
    switch value {
    case .integer(let number): number
    case .null: 0
    default: throw value.mismatch("int64")
    }
  }
  public var json: JSONValue { .integer(self) }
}

extension Double: RPCArgument, RPCResult {
  public static func decode(_ value: JSONValue) throws(RPCError) -> Double {
    switch value {
    case .integer(let number): Double(number)
    case .real(let number): number
    case .null: 0
    default: throw value.mismatch("float64")
    }
  }
  public var json: JSONValue { .real(self) }
}

extension Bool: RPCArgument, RPCResult {
  public static func decode(_ value: JSONValue) throws(RPCError) -> Bool {
    switch value {
    case .bool(let flag): flag
    case .null: false
    default: throw value.mismatch("bool")
    }
  }
  public var json: JSONValue { .bool(self) }
}

extension Array: RPCArgument where Element: RPCArgument {
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
  public var json: JSONValue { .array(map { $0.json }) }
}
