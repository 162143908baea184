import JSON
import Testing

@testable import Monitor

/// JSON-RPC 1.0, with the same bytes as Go's net/rpc/jsonrpc server.
@Suite("RPC") struct RPCTests {
  private let server = Server()

  init() throws {
    try server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    try server.register("RPC.Twice") { (number: Int64) throws(RPCError) -> Int64 in number * 2 }
    try server.register("RPC.Half") { (number: Double) throws(RPCError) -> Double in number / 2 }
    try server.register("RPC.Fail") { (_: JSONValue) throws(RPCError) -> JSONValue in throw RPCError("it \"failed\"") }
    try server.register("RPC.Same") { (value: JSONValue) throws(RPCError) -> JSONValue in value }
  }

  /// The response to a request; nil if it is not a request.
  private func answer(_ request: String) -> String? {
    Array(request.utf8).withUnsafeBytes { bytes in
      guard case .request(let range, let id) = RequestScanner.scan(bytes) else { return nil }
      let response = server.serve(
        UnsafeRawBufferPointer(rebasing: bytes[range]), id: id.map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
      ) { (body) throws(RPCError) in try body() }
      return response.map { String(decoding: $0, as: UTF8.self) }
    }
  }

  @Test func echo() {
    #expect(
      answer(#"{"method":"RPC.Echo","params":["hello"],"id":0}"# + "\n") == #"{"id":0,"result":"hello","error":null}"#
        + "\n")
  }

  @Test(arguments: [
    (#"{"method":"RPC.Twice","params":[21],"id":7}"#, #"{"id":7,"result":42,"error":null}"#),
    (#"{"method":"RPC.Half","params":[1],"id":7}"#, #"{"id":7,"result":0.5,"error":null}"#),
    (#"{"method":"RPC.Half","params":[0.2],"id":7}"#, #"{"id":7,"result":0.1,"error":null}"#),
    (#"{"method":"RPC.Half","params":[6],"id":7}"#, #"{"id":7,"result":3,"error":null}"#),
    (#"{"method":"RPC.Echo","params":["<a>&"],"id":1}"#, #"{"id":1,"result":"\u003ca\u003e\u0026","error":null}"#),
    (
      #"{"method":"RPC.Echo","params":["\u001f\u2028 é \\ \" / \t"],"id":1}"#,
      #"{"id":1,"result":"\u001f\u2028 é \\ \" / \t","error":null}"#
    ),
    (
      #"{"method":"RPC.Same","params":[{"b":[1,true,null],"a":{}}],"id":1}"#,
      #"{"id":1,"result":{"b":[1,true,null],"a":{}},"error":null}"#
    ),
    (#"{"method":"RPC.Echo","params":[],"id":1}"#, #"{"id":1,"result":"","error":null}"#),
    // Each number has as many digits as it needs.
    (
      #"{"method":"RPC.Same","params":[[0.1,{"a":0.30000000000000004}]],"id":1}"#,
      #"{"id":1,"result":[0.1,{"a":0.30000000000000004}],"error":null}"#
    ),
    (#"{"method":"RPC.Same","params":[[]],"id":1}"#, #"{"id":1,"result":[],"error":null}"#),
    // An integer that exceeds 64 bits is a real number, as in Go.
    (
      #"{"method":"RPC.Same","params":[[18446744073709551615,7]],"id":18446744073709551615}"#,
      #"{"id":18446744073709551615,"result":[1.8446744073709552e19,7],"error":null}"#
    ),
    (
      #"{"method":"RPC.Twice","params":[9223372036854775808],"id":2}"#,
      #"{"id":2,"result":null,"error":"json: cannot unmarshal number into Go value of type int64"}"#
    ),
    (
      #"{"method":"RPC.Half","params":[1e999],"id":3}"#,
      #"{"id":3,"result":null,"error":"json: cannot unmarshal number into Go value of type float64"}"#
    ),
  ]) func results(request: String, response: String) {
    #expect(answer(request) == response + "\n")
  }

  @Test(arguments: ["0", "-1", "9223372036854775807", "1.0", #""a b""#, "null", #"{"x":[1]}"#])
  func identifiersAreReturnedUnchanged(id: String) {
    #expect(
      answer(#"{"id": \#(id) ,"method":"RPC.Echo","params":["x"]}"#) == #"{"id":\#(id),"result":"x","error":null}"#
        + "\n")
  }

  @Test(arguments: [
    (#""method":"RPC.None","params":[1]"#, "rpc: can't find method RPC.None"),
    (#""method":"Other.Echo","params":[1]"#, "rpc: can't find service Other.Echo"),
    (#""method":"Echo","params":[1]"#, "rpc: service/method request ill-formed: Echo"),
    (#""method":"RPC.Echo""#, "jsonrpc: request body missing params"),
    (#""method":"RPC.Echo","params":[1]"#, "json: cannot unmarshal number into Go value of type string"),
    (#""method":"RPC.Fail","params":[1]"#, #"it \"failed\""#),
  ]) func failuresReachTheCaller(members: String, message: String) {
    #expect(answer("{\(members),\"id\":3}") == #"{"id":3,"result":null,"error":"\#(message)"}"# + "\n")
  }

  @Test func requestsCanArriveByteByByte() {
    let request = Array(#"  {"method":"RPC.Echo","params":["}{\"]["],"id":5} "#.utf8)
    for count in 0..<request.count - 1 {
      #expect(request[..<count].withUnsafeBytes { RequestScanner.scan($0) } == .incomplete)
    }
    let found = request.withUnsafeBytes { RequestScanner.scan($0) }
    #expect(found == .request(2..<request.count - 1, id: request.count - 3..<request.count - 2))
  }

  @Test(arguments: ["x", "[1]", "}", "\"id\"", String(repeating: "{\"a\":", count: 40)])
  func invalidRequestsAreRejectedAtOnce(text: String) {
    #expect(Array(text.utf8).withUnsafeBytes { RequestScanner.scan($0) } == .malformed)
  }

  @Test(arguments: [
    "{}}", "{\"method\":}", "{\"method\":1}", "{1}", "{\"method\":\"RPC.Echo\",\"params\":[\"\\ud800\"]}",
    "{\"a\":tru}",
  ]) func brokenJSONIsNoRequest(text: String) {
    let response = answer(text)
    #expect(response == nil || response?.contains("\"error\":\"rpc: ") == true)
  }

  @Test func arbitraryBytesNeverTrap() {
    // Every change of a single byte of a request, and every prefix.
    let request = Array(#"{"method":"RPC.Same","params":[{"k":[1.5e3,"\u00e9\n"]}],"id":12}"#.utf8)
    for index in request.indices {
      for byte in [UInt8(0), 0x22, 0x5c, 0x7b, 0x7d, 0x80, 0xff] {
        var changed = request
        changed[index] = byte
        _ = answer(String(decoding: changed, as: UTF8.self))
      }
    }
  }
}
