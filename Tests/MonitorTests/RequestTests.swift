import AppletABI
import CLinux
import Machine
import Monitor
import TestSupport
import Testing

/// RPC as an applet makes it: calls 4 and 5, with requests and responses in any pieces.
struct RequestTests {
  private static let requests = [
    #"{"method":"RPC.Echo","params":["one"],"id":1}"# + "\n", #"{"method":"RPC.Echo","params":["two"],"id":2}"# + "\n",
    #"{"method":"RPC.None","params":["x"],"id":3}"# + "\n",
  ]
  private static let responses = [
    #"{"id":1,"result":"one","error":null}"# + "\n", #"{"id":2,"result":"two","error":null}"# + "\n",
    #"{"id":3,"result":null,"error":"rpc: can't find method RPC.None"}"# + "\n",
  ]

  /// An applet that hands over these pieces, each in a call of its own, then fetches so many bytes a call until none wait, and
  /// exits.
  /// - Returns: what it has fetched, and how its run ended.
  private func run(
    _ host: Host, _ pieces: [[UInt8]], reading size: UInt64
  ) throws -> (text: String, ending: Result<Outcome, ExecError>) {
    let fixture = try Fixture(host)
    fixture.context.server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
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

  /// Go's client may send several at once, the applet's buffer may cut them anywhere, and responses are fetched as they fit.
  @Test(arguments: Host.all, [1, 7, 4096] as [UInt64]) func requestsComeInAnyPieces(host: Host, size: UInt64) throws {
    let bytes = Self.requests.flatMap { Array($0.utf8) }
    for length in [1, 3, 20, 47, bytes.count] {
      let pieces = stride(from: 0, to: bytes.count, by: length).map { Array(bytes[$0...].prefix(length)) }
      let (text, ending) = try run(host, pieces, reading: size)
      #expect(text == Self.responses.joined(), "in pieces of \(length)")
      #expect(ending == .success(.exited(status: 0)))
    }
  }

  @Test(arguments: Host.all) func aRequestIsAnsweredBeforeTheNextIsWhole(host: Host) throws {
    let half = Array(Self.requests[1].utf8.prefix(20))
    let (text, ending) = try run(host, [Array(Self.requests[0].utf8) + half], reading: 4096)
    #expect(text == Self.responses[0])
    #expect(ending == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func whatIsNoRequestEndsTheRun(host: Host) throws {
    #expect(try run(host, [Array("hello".utf8)], reading: 64).ending == .failure(.badRequest))
    // A number that is none of 64 bits is no reason to.
    let great = Array(#"{"method":"RPC.Echo","params":[18446744073709551615],"id":1}"#.utf8)
    let (text, ending) = try run(host, [great], reading: 4096)
    #expect(text.hasPrefix(#"{"id":1,"result":null,"error":"json: cannot unmarshal number"#))
    #expect(ending == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func noMoreWaitsThanMay(host: Host) throws {
    let piece = [UInt8](repeating: 0x20, count: 32 << 10)
    let start = Array(#"{"method":""#.utf8)
    #expect(try run(host, [start, piece, piece], reading: 64).ending == .failure(.transferLimit))
  }
}
