import AppletABI
import CLinux
import Machine
import TestSupport
import Testing

@testable import Monitor

/// RPC of an applet: calls 4 and 5, with requests and responses in parts of any size.
struct RequestTests {
  private static let requests = [
    #"{"method":"RPC.Echo","params":["one"],"id":1}"# + "\n", #"{"method":"RPC.Echo","params":["two"],"id":2}"# + "\n",
    #"{"method":"RPC.None","params":["x"],"id":3}"# + "\n",
  ]
  private static let responses = [
    #"{"id":1,"result":"one","error":null}"# + "\n", #"{"id":2,"result":"two","error":null}"# + "\n",
    #"{"id":3,"result":null,"error":"rpc: can't find method RPC.None"}"# + "\n",
  ]

  /// An applet that sends these parts, each with a call, then gets responses, this number of bytes with each call,
  /// until there are none, and exits.
  /// - Returns: the responses, and how its run ended.
  private func run(
    _ host: Host, _ pieces: [[UInt8]], reading size: UInt64, limit: Int = ExecCtx.defaultRPCLimit
  ) throws -> (text: String, ending: Result<Outcome, ExecError>) {
    let fixture = try Fixture(host)
    try fixture.context.server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    fixture.context.rpcLimit = limit
    let fetched = Notes<UInt8>()
    fixture.kernel.program = { guest in
      if guest.entry < pieces.count {
        let piece = pieces[guest.entry]
        guest.store(piece, at: Fixture.heap)
        return guest.call(APPLET_CALL_RPC_REQUEST, Fixture.heap, UInt64(piece.count))
      }
      if guest.entry > pieces.count {
        guard guest.result > 0 else { return guest.call(APPLET_CALL_EXIT, 0) }
        for byte in guest.bytes(at: Fixture.variables, count: Int(guest.result)) { fetched(byte) }
      }
      return guest.call(APPLET_CALL_RPC_RESPONSE, Fixture.variables, size)
    }
    let ending = fixture.run()
    return (String(decoding: fetched.list, as: UTF8.self), ending)
  }

  /// Go's client may send several requests at once, the applet's buffer may end anywhere, and responses are returned as
  /// they fit.
  @Test(arguments: Host.all, [1, 7, 4096] as [UInt64]) func requestsArriveInAnyParts(host: Host, size: UInt64) throws {
    let bytes = Self.requests.flatMap { Array($0.utf8) }
    for length in [1, 3, 20, 47, bytes.count] {
      let pieces = stride(from: 0, to: bytes.count, by: length).map { Array(bytes[$0...].prefix(length)) }
      let (text, ending) = try run(host, pieces, reading: size)
      #expect(text == Self.responses.joined(), "in pieces of \(length)")
      #expect(ending == .success(.exited(status: 0)))
    }
  }

  @Test(arguments: Host.all) func aRequestIsAnsweredBeforeTheNextIsComplete(host: Host) throws {
    let half = Array(Self.requests[1].utf8.prefix(20))
    let (text, ending) = try run(host, [Array(Self.requests[0].utf8) + half], reading: 4096)
    #expect(text == Self.responses[0])
    #expect(ending == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func invalidRequestsEndTheRun(host: Host) throws {
    #expect(try run(host, [Array("hello".utf8)], reading: 64).ending == .failure(.badRequest))
    // A number that exceeds 64 bits does not end it.
    let great = Array(#"{"method":"RPC.Echo","params":[18446744073709551615],"id":1}"#.utf8)
    let (text, ending) = try run(host, [great], reading: 4096)
    #expect(text.hasPrefix(#"{"id":1,"result":null,"error":"json: cannot unmarshal number"#))
    #expect(ending == .success(.exited(status: 0)))
  }

  /// A request that is too long is read to its end and answered by an error, with its identifier where that is none too long itself;
  /// the next is answered as ever.
  @Test(arguments: Host.all, [1, 3, 40, 5000]) func aRequestThatIsTooLongIsAnsweredByAnError(
    host: Host, length: Int
  ) throws {
    let long = String(repeating: #"\"}x"#, count: 300)
    let parameters = #""method":"RPC.Echo","params":["\#(long)"]"#
    let refusal = #","result":null,"error":"rpc: the request is longer than 200 bytes"}"# + "\n"
    for (request, id) in [
      (#"{"id":7,\#(parameters)}"#, "7"), (#"{\#(parameters),"id": "a,b" }"#, #""a,b""#),
      (#"{\#(parameters)}"#, "null"),
      (#"{\#(parameters),"id":{"id":1},"more":"id"}"#, #"{"id":1}"#),
      (#"{\#(parameters),"id":"\#(long)","x":["id"]}"#, "null"), (#"{\#(parameters),"id":1,"id":2}"#, "2"),
      (#"{"\#(long)":0,"id":8,"i\u0064":9}"#, "8"),
    ] {
      let bytes = Array((request + Self.requests[1]).utf8)
      let pieces = stride(from: 0, to: bytes.count, by: length).map { Array(bytes[$0...].prefix(length)) }
      let (text, ending) = try run(host, pieces, reading: 4096, limit: 200)
      #expect(text == #"{"id":"# + id + refusal + Self.responses[1], "in pieces of \(length)")
      #expect(ending == .success(.exited(status: 0)))
    }
  }

  @Test(arguments: Host.all) func whatIsJustShortEnoughIsAnswered(host: Host) throws {
    let request = Self.requests[0].dropLast()
    for limit in [request.utf8.count, request.utf8.count - 1] {
      let (text, _) = try run(host, [Array(request.utf8)], reading: 4096, limit: limit)
      #expect((text == Self.responses[0]) == (limit == request.utf8.count))
    }
    // A response may be longer than its request.
    let (text, ending) = try run(
      host, [Array(#"{"method":"RPC.Echo","params":["<<<<<<<<<<"],"id":1}"#.utf8)], reading: 4096, limit: 60)
    #expect(text == #"{"id":1,"result":null,"error":"rpc: the response is longer than 60 bytes"}"# + "\n")
    #expect(ending == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func whatIsTooLongIsNotKept(host: Host) throws {
    let fixture = try Fixture(host)
    fixture.context.rpcLimit = 4096
    let most = Notes<Int>()
    let piece = [UInt8](repeating: 0x20, count: 200_000)
    fixture.kernel.program = { guest in
      most(fixture.context.rpc.transfer.input.count)
      if guest.entry == 0 { guest.store(Array(#"{"id": 5, "method":""#.utf8) + piece, at: Fixture.heap) }
      if guest.entry == 1 { guest.store(piece, at: Fixture.heap) }
      return guest.entry < 20
        ? guest.call(APPLET_CALL_RPC_REQUEST, Fixture.heap, 200_000) : guest.call(APPLET_CALL_EXIT)
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(most.list.count == 21 && (most.list.max() ?? .max) < 4096)
  }

  @Test(arguments: Host.all) func noMoreResponsesWaitThanMay(host: Host) throws {
    let requests = Array(repeating: Array(Self.requests[0].utf8), count: 10)
    #expect(try run(host, requests, reading: 64, limit: 100).ending == .failure(.transferLimit))
    #expect(try run(host, requests, reading: 64, limit: 500).ending == .success(.exited(status: 0)))
  }
}
