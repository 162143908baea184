import Control
import JSON
import Testing

@testable import Supervisor

@Suite("What an applet's process leaves")
struct RecordTests {
  private func record(_ text: String) -> JSONValue? {
    Array(text.utf8).withUnsafeBytes { JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }
  }

  @Test("is told as it was")
  func end() throws {
    var end = RunEnd(code: 121, reason: "read from memory that it may not read, in café")
    end.symbol = "main+0x10"
    // In one text for each processor.
    end.registers = [RegisterValue(name: "x0", value: "0x1"), RegisterValue(name: "pc", value: "0x80000000")]
    #expect(end.record["registers"] == .array([.string("x0=0x1 pc=0x80000000")]))
    #expect(RunEnd(record: end.record) == end)
    end.registers = [
      RegisterValue(name: "x0", value: "0x1", processor: 0), RegisterValue(name: "pc", value: "0x2", processor: 2),
    ]
    #expect(end.record["registers"] == .array([.string("x0=0x1"), .string(""), .string("pc=0x2")]))
    #expect(RunEnd(record: end.record) == end)
    end.registers.removeLast()
    #expect(RunEnd(record: end.record) == end)
  }

  @Test("is told in one short line, whatever it says")
  func hostileEnd() throws {
    let reason = "done\u{1b}[2J\nswiftlet: all is well" + String(repeating: "é", count: 1 << 20)
    let words = ["x1 =", "x0\n=" + String(repeating: "1", count: 9999), "y=z=\u{9b}"]
    let registers = JSONValue.string(words.joined(separator: " ") + String(repeating: " a=b", count: 5000))
    let value = JSONValue.object([
      JSONMember("code", .integer(0)), JSONMember("status", .integer(256)), JSONMember("reason", .string(reason)),
      JSONMember("symbol", .string("\u{9b}31m")),
      JSONMember("registers", .array([.null] + Array(repeating: registers, count: 5000))),
    ])
    let end = try #require(RunEnd(record: value))
    #expect(end.reason.hasPrefix("done?[2J?swiftlet: all is wellé"))
    #expect(end.reason.utf8.count <= 1024)
    // No status: not one of somebody else's choice.
    #expect(end.status == nil && end.symbol == "?31m")
    let expected = [
      RegisterValue(name: "", value: "", processor: 1),
      RegisterValue(name: "x0?", value: String(repeating: "1", count: 24), processor: 1),
      RegisterValue(name: "y", value: "z=?", processor: 1),
    ]
    #expect(Array(end.registers.prefix(3)) == expected)
    // "x1" is none; nor are those of the first text.
    #expect(end.registers.count == 63 * 39)
  }

  @Test(
    "and is no record is none",
    arguments: [
      "{}", "[]", "7", #"{"code":1}"#, #"{"code":4294967296,"reason":"x"}"#, #"{"code":"1","reason":"x"}"#,
      #"{"code":1,"reason":["x"]}"#,
    ])
  func noEnd(text: String) throws { #expect(RunEnd(record: try #require(record(text))) == nil) }

  @Test(
    "is no configuration where a number is beyond what it can be",
    arguments: [
      ("restarts", Int64.max), ("restarts", -1), ("history", -1), ("started", .min), ("user", 1 << 32), ("group", -1),
    ] as [(String, Int64)])
  func configuration(name: String, number: Int64) throws {
    var request = StartRequest()
    request.image = "/a.elf"
    var good = WorkerConfiguration(name: "a", request: request)
    (good.user, good.group) = (1, 1)
    #expect(WorkerConfiguration(good.json) == good)
    guard case .object(let members) = good.json else { return }
    let bad = members.map { $0.name == name ? JSONMember(name, .integer(number)) : $0 }
    #expect(bad != members && WorkerConfiguration(.object(bad)) == nil)
  }

  @Test("as a report of its start is understood")
  func report() throws {
    #expect(Daemon.startFailure(record(#"{"running":true}"#), image: "/a") == nil)
    #expect(
      Daemon.startFailure(record(#"{"error":{"code":123,"reason":"no\u0007 KVM"}}"#), image: "/a")
        == .hostFailure("no? KVM"))
    #expect(
      Daemon.startFailure(record(#"{"error":{"code":126,"reason":"bad"},"image":true}"#), image: "/a")
        == .badImage("/a", reason: "bad"))
  }
}
