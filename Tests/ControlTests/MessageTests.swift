import Foundation
import JSON
import Testing

@testable import Control

@Suite("Control messages")
struct MessageTests {
  private func feed(_ buffer: inout MessageBuffer, _ text: String) { feed(&buffer, Array(text.utf8)) }

  private func feed(_ buffer: inout MessageBuffer, _ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = buffer.fill {
        let part = rest.prefix($0.count)
        $0.copyBytes(from: part)
        return part.count
      }
      rest = rest.dropFirst(count)
    }
  }

  @Test("are complete for any sizes of reads")
  func framing() {
    var buffer = MessageBuffer()
    feed(&buffer, "{\"method\"")
    #expect(buffer.next() == .incomplete)
    feed(&buffer, ":\"a.b\"}\0{}\0x")
    #expect(buffer.next() == .message(Array("{\"method\":\"a.b\"}".utf8)))
    #expect(buffer.next() == .message(Array("{}".utf8)))
    #expect(buffer.next() == .incomplete)
    feed(&buffer, "\0")
    #expect(buffer.next() == .message(Array("x".utf8)))
    #expect(buffer.count == 0)
  }

  @Test("are complete when they are read directly into the buffer")
  func filling() {
    // Messages of 1 to 3000 bytes, received in parts that fill the buffer or less.
    let messages = (1...60).map { [UInt8](repeating: UInt8($0), count: $0 * 50 - 49) }
    for limit in [1, 7, 256, .max] {
      var stream = messages.reduce(into: [UInt8]()) { $0 += $1 + [0] }[...]
      var buffer = MessageBuffer()
      var taken: [[UInt8]] = []
      // Reading nothing does not change it.
      #expect(buffer.fill { _ in -11 } == -11)
      while !stream.isEmpty {
        let count = buffer.fill { buffer in
          #expect(buffer.count >= 256)
          let part = stream.prefix(min(buffer.count, limit))
          buffer.copyBytes(from: part)
          return part.count
        }
        stream = stream.dropFirst(count)
        while case .message(let message) = buffer.next() { taken.append(message) }
      }
      #expect(taken == messages)
      #expect(buffer.count == 0)
    }
  }

  @Test("are rejected beyond 1 MiB, terminated or not")
  func limit() {
    var buffer = MessageBuffer()
    let mebibyte = [UInt8](repeating: 0x20, count: MessageBuffer.limit)
    feed(&buffer, mebibyte)
    #expect(buffer.next() == .incomplete)
    feed(&buffer, "\0")
    #expect(buffer.next() == .message(mebibyte))
    feed(&buffer, mebibyte)
    feed(&buffer, " ")
    #expect(buffer.next() == .tooLong)
    feed(&buffer, "\0")
    #expect(buffer.next() == .tooLong)
  }

  @Test("have a maximum nesting depth")
  func depth() {
    func nested(_ depth: Int) -> Call? {
      let parameters =
        String(repeating: "{\"a\":", count: depth) + "\"[[[{{{\\\"[\"" + String(repeating: "}", count: depth)
      return Call(message: Array(#"{"method":"a.b","parameters":\#(parameters)}"#.utf8))
    }
    #expect(nested(MessageBuffer.depthLimit - 1) != nil)
    #expect(nested(MessageBuffer.depthLimit) == nil)
    #expect(nested(100_000) == nil)
  }

  @Test("that are not calls are rejected")
  func calls() {
    func call(_ text: String) -> Call? { Call(message: Array(text.utf8)) }
    #expect(
      call(#"{"method":"a.b.C","parameters":{"x":1},"more":true}"#)
        == Call("a.b.C", .object([JSONMember("x", .integer(1))]), more: true))
    #expect(call(#"{"method":"a.b.C"}"#)?.interface == "a.b")
    #expect(call(#"{"method":"a.b.C","oneway":true,"parameters":null}"#)?.oneway == true)
    for bad in [
      "", "[]", "{", #"{"method":1}"#, #"{"method":"a","more":1}"#, #"{"method":"a","parameters":[]}"#,
      #"{"method":"a","upgrade":true}"#, "\u{feff}{}", "{\"method\":\"\\ud800\"}",
    ] {
      #expect(call(bad) == nil, "\(bad)")
    }
    #expect(call(String(repeating: "[", count: 100_000)) == nil)
  }

  @Test("are equal after encoding and decoding")
  func round() {
    let call = Call("a.B", .object([JSONMember("t", .string("ä\u{0}\""))]), more: true)
    #expect(call.message.last == 0)
    #expect(Call(message: call.message.dropLast()) == call)
    let reply = Reply(.object([]), error: "a.E", continues: true)
    #expect(Reply(message: reply.message.dropLast()) == reply)
  }

  @Test("have bytes in base64 (RFC 4648)")
  func base64() {
    for (text, encoded) in [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
      ("foobar", "Zm9vYmFy"),
    ] {
      #expect(Base64.encode(Array(text.utf8)) == encoded)
      #expect(Base64.decode(encoded) == Array(text.utf8))
    }
    for bad in ["Z", "Zg=", "Zg==Zg==", "====", "Zm9\u{e9}", "Z===", "Zm 9"] {
      #expect(Base64.decode(bad) == nil, "\(bad)")
    }
  }
}

@Suite("Control parameters")
struct ParameterTests {
  private func start(_ text: String) throws(ControlError) -> StartRequest {
    try StartRequest(Array(text.utf8).withUnsafeBytes { JSONValue(parsing: $0) } ?? .null)
  }

  @Test("of Start are decoded and encoded")
  func readStart() throws {
    let request = try start(
      #"{"name":"a-1","image":"/x","arguments":["b"],"restart":{"policy":"on_failure","limit":3},"limits":{"deadline":5},"#
        + #""secure":false,"cpus":4}"#
    )
    #expect(request.name == "a-1")
    #expect(request.restart.when == .onFailure)
    #expect(request.guest.limits.deadline == 5_000_000)
    #expect(request.guest.mode == .program(cpus: 4, peer: nil))
    #expect(try StartRequest(request.json) == request)
    let contiguous = try start(#"{"image":"/x","layout":"contiguous","rpc_limit":4096}"#)
    #expect(contiguous.guest.rpcLimit == 4096)
    #expect(contiguous.guest.layout == .contiguous && request.guest.layout == nil)
    #expect(try start(#"{"image":"/x","clint":true}"#).guest.hasCLINT && !request.guest.hasCLINT)
    #expect(try StartRequest(contiguous.json) == contiguous)
    let digits = String(repeating: "0F", count: 32)
    let declared = try start(
      #"{"image":"/x","digest":"sha256:\#(digits)","replace":true,"declared":{"directory":"/etc","version":"1"}}"#)
    #expect(declared.digest?.description == "sha256:" + digits.lowercased() && declared.isReplacing)
    #expect(declared.declared == Declaration(directory: "/etc", version: "1"))
    #expect(try StartRequest(declared.json) == declared)
  }

  @Test(
    "of Start that are invalid are named",
    arguments: [
      (#"{}"#, "image"), (#"{"image":"x"}"#, "image"), (#"{"image":"x","image_descriptor":0}"#, "image"),
      (#"{"image":"/x","name":""}"#, "name"), (#"{"image":"/x","name":"../a"}"#, "name"),
      (#"{"image":"/x","name":".a"}"#, "name"), (#"{"image":"/x\u0000y"}"#, "image"),
      (#"{"image":"/x","arguments":[1]}"#, "arguments"), (#"{"image":"/x","arguments":"a"}"#, "arguments"),
      ("{\"image\":\"/\(String(repeating: "x", count: 4095))\"}", "image"),
      (#"{"image":"/x","memory":-1}"#, "memory"), (#"{"image":"/x","memory":1.5}"#, "memory"),
      (#"{"image":"/x","memory":131071}"#, "memory"),
      (#"{"image":"/x","memory":137438953472}"#, "memory"), (#"{"image":"/x","copies":9}"#, "copies"),
      (#"{"image":"/x","parallel":true}"#, "parallel"), (#"{"image":"/x","layout":"flat"}"#, "layout"),
      (#"{"image":"/x","rpc_limit":1}"#, "rpc_limit"),
      (#"{"image":"/x","clint":1}"#, "clint"), (#"{"image":"/x","replace":1}"#, "replace"),
      (#"{"image":"/x","digest":"0123"}"#, "digest"),
      ("{\"image\":\"/x\",\"digest\":\"sha256:\(String(repeating: "g", count: 64))\"}", "digest"),
      (#"{"image":"/x","declared":{"directory":"etc","version":"1"}}"#, "declared"),
      (#"{"image":"/x","declared":{"directory":"/etc"}}"#, "declared"),
      (
        "{\"image\":\"/x\",\"declared\":{\"directory\":\"/\",\"version\":\"\(String(repeating: "1", count: 129))\"}}",
        "declared"
      ),
      (#"{"image":"/x","secure":false,"layout":"compact"}"#, "layout"),
      (#"{"image":"/x","restart":{"policy":"often"}}"#, "policy"),
      (#"{"image":"/x","limits":{"deadline":0}}"#, "deadline"), (#"{"image":"/x","cpus":2}"#, "cpus"),
      (#"{"image":"/x","secure":false,"cpus":513}"#, "cpus"), (#"{"image":"/x","secure":false,"copies":1}"#, "copies"),
      (#"{"image":"/x","limits":{"process_memory":1}}"#, "process_memory"),
      (#"{"image":"/x","limits":{"cpu_percent":0}}"#, "cpu_percent"),
      (#"{"image":"/x","services":[{"name":"A.B","address":"unix:/s"}]}"#, "services"),
      (#"{"image":"/x","services":[{"name":"A","address":"tcp:1"}]}"#, "services"),
    ])
  func badStart(text: String, parameter: String) {
    #expect(throws: ControlError.invalidParameter(parameter)) { try start(text) }
  }

  @Test("are printed without control characters")
  func printable() {
    #expect("a\u{1b}[2J\n\u{7f}\u{9b}é\u{a0}\u{1F600}".printable() == "a?[2J???é\u{a0}\u{1F600}")
    // Characters without a width, or that change the writing direction; their neighbours in Unicode's tables are
    // visible.
    #expect("a\u{202e}b\u{200b}c\u{2066}\u{feff}\u{e0041}\u{ad}\u{2028}".printable() == "a?b?c?????")
    #expect("\u{200a}\u{2010}\u{202f}\u{fffc}".printable() == "\u{200a}\u{2010}\u{202f}\u{fffc}")
    #expect("ééé".printable(maxBytes: 5) == "éé" && "".printable() == "")
    let reply = Reply(ControlError.badImage("/tmp/\u{1b}c", reason: "none\r"))
    #expect(reply.errorText == "/tmp/?c: none?")
  }

  @Test("of restarts double the delay up to a minute, up to the limit")
  func restarts() throws {
    var policy = RestartPolicy()
    #expect(policy.delay(after: 0, isFailure: true) == nil)
    policy.when = .onFailure
    policy.limit = 20
    #expect(policy.delay(after: 0, isFailure: false) == nil)
    #expect(
      (0..<8).map { policy.delay(after: $0, isFailure: true) } == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000])
    #expect(policy.delay(after: 20, isFailure: true) == nil)
    policy.when = .always
    #expect(policy.delay(after: 19, isFailure: false) == 60000)
  }
}

@Suite("Control interface")
struct InterfaceTests {
  @Test("is described by the file in share/varlink")
  func description() throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "share/varlink/org.swiftlet.Control.varlink")
    #expect(Interface.description == (try String(contentsOf: file, encoding: .utf8)))
  }

  @Test("documents every error")
  func errors() {
    for error: ControlError in [
      .noSuchApplet("a"), .nameTaken("a"), .wrongState("a", state: "lost"), .badImage("i", reason: "r"),
      .hostFailure("r"), .notAllowed("a", reason: "r"), .badAddress("a", address: "0x0"), .shuttingDown,
    ] {
      #expect(Interface.description.contains("\nerror \(error.name.split(separator: ".").last!)("))
      #expect(Reply(error).errorText?.contains("?") == false)
    }
  }

  @Test("answers GetInfo and GetInterfaceDescription of Varlink")
  func service() throws {
    let info = try Interface.service(Call("org.varlink.service.GetInfo"), version: "1.2.3")
    #expect(info["version"] == .string("1.2.3"))
    #expect(throws: ControlError.interfaceNotFound("a.b")) {
      try Interface.service(
        Call("org.varlink.service.GetInterfaceDescription", .object([JSONMember("interface", .string("a.b"))])),
        version: "")
    }
    #expect(throws: ControlError.methodNotFound("org.varlink.service.X")) {
      try Interface.service(Call("org.varlink.service.X"), version: "")
    }
  }
}
