import AppletABI
import CLinux
import Control
import JSON
import Machine
import Monitor
import Platform
import TestSupport

extension FuzzTarget {
  /// JSON-RPC requests, sent with an applet's calls: a byte determines the size of the parts, and whether the limit is low.
  static let rpc = FuzzTarget(
    name: "rpc", input: "JSON-RPC of applets",
    run: { bytes in
      guard let first = bytes.first, bytes.count <= 1 << 16 else { return }
      let request = Array(bytes.dropFirst())
      let piece = first == 0 ? max(request.count, 1) : Int(first)
      var rest = request[...]
      let harness = GuestHarness(.riscv64)
      let server = Server()
      try! server.register("Test.Echo") { (value: JSONValue) throws(RPCError) -> JSONValue in value }
      try! server.register("Test.Double") { (value: Double) throws(RPCError) -> Double in value * 2 }
      try! server.register("Test.Names") { (value: [String]) throws(RPCError) -> Int64 in Int64(value.count) }
      harness.context.server = server
      if first & 1 != 0 { harness.context.rpcLimit = 64 }
      harness.run { guest in
        if rest.isEmpty {
          return guest.entry & 1 == 0 && guest.entry < 1 << 17
            ? guest.call(APPLET_CALL_RPC_RESPONSE, harness.heap, 4096) : guest.call(APPLET_CALL_EXIT, 0)
        }
        let part = rest.prefix(piece)
        rest = rest.dropFirst(piece)
        guest.store(part, at: harness.heap)
        return guest.call(APPLET_CALL_RPC_REQUEST, harness.heap, UInt64(part.count))
      }
    },
    seeds: {
      [
        #"{"method":"Test.Echo","params":[{"a":[1,2.5,"x\u00e9",null,true]}],"id":1}"#,
        #"{"method":"Test.Double","params":[1e300],"id":"seven"}{"method":"Test.Names","params":[["a","b"]],"id":null}"#,
        #" {"id":[{}],"method":"No.Such","params":null} "#,
      ].flatMap { text in [0, 7].map { [$0] + Array(text.utf8) } }
    })

  /// The control socket's messages, and the requests in them.
  static let control = FuzzTarget(
    name: "control", input: "control protocol",
    run: { bytes in
      var input = Input(bytes)
      let piece = Int(input.byte())
      let stream = input.rest()
      var buffer = MessageBuffer()
      var rest = stream[...]
      var messages: [[UInt8]] = []
      take: while !rest.isEmpty {
        let count = buffer.fill {
          let part = rest.prefix(piece == 0 ? $0.count : min($0.count, piece))
          $0.copyBytes(from: part)
          return part.count
        }
        rest = rest.dropFirst(count)
        while true {
          guard case .message(let message) = buffer.next() else { break }
          messages.append(message)
        }
      }
      // No byte of the stream is lost or added.
      let joined = messages.reduce(into: [UInt8]()) { $0 += $1 + [0] }
      hold(joined.count + buffer.count == stream.count && stream.starts(with: joined), "messages are the stream's")
      for message in messages { take(message) }
    },
    seeds: {
      let start: JSONValue = .object([
        JSONMember("name", .string("test")), JSONMember("image", .string("/tmp/test.elf")),
        JSONMember("arguments", .array([.string("a"), .string("b")])), JSONMember("memory", .integer(1 << 20)),
        JSONMember(
          "services",
          .array([.object([JSONMember("name", .string("S")), JSONMember("address", .string("unix:/tmp/s"))])])),
        JSONMember("limits", .object([JSONMember("deadline", .integer(5))])),
        JSONMember("restart", .object([JSONMember("policy", .string("always")), JSONMember("limit", .integer(3))])),
        JSONMember("copies", .integer(2)), JSONMember("parallel", .bool(true)),
      ])
      return [
        Call("org.swiftlet.Control.Start", start), Call("org.varlink.service.GetInfo"),
        Call("org.swiftlet.Control.List", more: true),
        Call(
          "org.varlink.service.GetInterfaceDescription",
          .object([JSONMember("interface", .string("org.swiftlet.Control"))])),
      ].flatMap { call in [[0] + call.message, [5] + call.message + call.message] }
        + [[0] + Reply(.noSuchApplet("a")).message]
    })

  private static func take(_ message: [UInt8]) {
    if let reply = Reply(message: message) {
      _ = reply.errorText
      _ = reply.message
    }
    guard let call = Call(message: message) else { return }
    // A value that was read is written unchanged.
    hold(Call(message: Array(call.message.dropLast())) != nil, "a call that was written can be read")
    _ = call.interface
    do throws(ControlError) { _ = try Interface.service(call, version: "1") } catch { _ = Reply(error).message }
    do throws(ControlError) {
      let request = try StartRequest(call.parameters)
      let again = try StartRequest(request.json)
      hold(again == request, "a request that was written is read as the same")
      _ = request.restart.delay(after: .max, isFailure: true)
    } catch { _ = Reply(error).message }
  }
}
