import Foundation
import JSON
import Testing

@testable import Monitor

/// JSON-RPC 1.0, compared byte by byte with Go's net/rpc/jsonrpc server: see Transcripts/transcripts.go.
struct RPCTranscriptTests {
  struct Transcript: CustomTestStringConvertible, Sendable {
    var writes: [[UInt8]] = []
    var responses: [[UInt8]] = []
    var endsConnection = false
    var testDescription: String { String(decoding: writes.joined(), as: UTF8.self) }
  }

  static let all: [Transcript] = {
    let directory = URL(filePath: #filePath).deletingLastPathComponent()
    guard let text = try? String(contentsOf: directory.appending(path: "Transcripts/rpc.txt"), encoding: .utf8) else {
      return []
    }
    return text.split(separator: "\n\n").dropFirst().map { paragraph in
      var transcript = Transcript()
      for line in paragraph.split(separator: "\n") {
        let bytes = unescape(line.dropFirst(2))
        switch line.first {
        case ">": transcript.writes.append(bytes)
        case "<": transcript.responses.append(bytes)
        default: transcript.endsConnection = true
        }
      }
      return transcript
    }
  }()

  private static func unescape(_ line: Substring) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = Array(line.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      bytes.append(UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) ?? 0)
      rest = rest.dropFirst(2)
    }
    return bytes
  }

  @Test func transcriptsExist() { #expect(Self.all.count > 220) }

  /// Requests with other responses than Go's, by their text in rpc.txt: see Transcripts/differences.txt.
  static let differences: Set<[UInt8]> = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Transcripts/differences.txt")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
    return Set(text.split(separator: "\n").filter { $0.hasPrefix("> ") }.map { unescape($0.dropFirst(2)) })
  }()

  @Test func fewResponsesDifferFromGos() { #expect(Self.differences.count * 5 < Self.all.count * 2) }

  @Test(arguments: Array(all.enumerated()))
  func responsesEqualGos(number: Int, transcript: Transcript) throws {
    // As a whole, and in parts of any size.
    for size in [0, 1, 2, 3, 7] {
      let bytes = transcript.writes.flatMap { $0 }
      var client = try Client(services())
      if size == 0 {
        for bytes in transcript.writes { client.send(bytes) }
      } else {
        for start in stride(from: 0, to: bytes.count, by: size) { client.send(Array(bytes[start...].prefix(size))) }
      }
      // Compared as bytes: strings are equal even if their characters are composed differently.
      let isAlike = client.responses == transcript.responses && client.isEnded == transcript.endsConnection
      #expect(
        isAlike != Self.differences.contains(bytes),
        "\(number), cut to \(size): \(client.responses.map { String(decoding: $0, as: UTF8.self) })")
    }
  }
}

/// The services of transcripts.go, with Swift's types.
private func services() throws -> Server {
  let server = Server()
  try server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
  try server.register("RPC.Twice") { (number: Int64) throws(RPCError) -> Int64 in number &* 2 }
  try server.register("RPC.Half") { (number: Double) throws(RPCError) -> Double in number / 2 }
  try server.register("RPC.Not") { (flag: Bool) throws(RPCError) -> Bool in !flag }
  try server.register("RPC.Words") { (words: [String]) throws(RPCError) -> [String] in words }
  try server.register("RPC.Nested") { (numbers: [[Int64]]) throws(RPCError) -> [[Int64]] in numbers }
  try server.register("RPC.Same") { (value: JSONValue) throws(RPCError) -> JSONValue in value }
  try server.register("RPC.Fail") { (text: String) throws(RPCError) -> String in throw RPCError(text) }
  return server
}

/// The applet's end of the stream.
private struct Client {
  let server: Server
  private var input: [UInt8] = []
  var responses: [[UInt8]] = []
  /// Whether the data is not JSON-RPC, which ends the applet.
  var isEnded = false

  init(_ server: Server) { self.server = server }

  mutating func send(_ bytes: [UInt8]) {
    input += bytes
    while !isEnded {
      let found = input.withUnsafeBytes { RequestScanner.scan($0) }
      switch found {
      case .incomplete: return
      case .malformed: isEnded = true
      case .request(let range, let id):
        let response = input.withUnsafeBytes { bytes in
          server.serve(
            UnsafeRawBufferPointer(rebasing: bytes[range]), id: id.map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
          ) { (body) throws(RPCError) in try body() }
        }
        if let response { responses.append(response) } else { isEnded = true }
        input.removeFirst(range.upperBound)
      }
    }
  }
}
