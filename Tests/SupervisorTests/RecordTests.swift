import Control
import Foundation
import JSON
import Launch
import Monitor
import Testing

@testable import Supervisor

@Suite("The record of an applet's process")
struct RecordTests {
  private func record(_ text: String) -> JSONValue? {
    Array(text.utf8).withUnsafeBytes { JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }
  }

  @Test("is read as it was written")
  func end() throws {
    var end = RunEnd(code: 121, reason: "invalid read, in café")
    end.symbol = "main+0x10"
    // In one string for each CPU.
    end.registers = [RegisterValue(name: "x0", value: "0x1"), RegisterValue(name: "pc", value: "0x80000000")]
    #expect(end.record["registers"] == .array([.string("x0=0x1 pc=0x80000000")]))
    #expect(RunEnd(record: end.record) == end)
    end.registers = [
      RegisterValue(name: "x0", value: "0x1", cpu: 0), RegisterValue(name: "pc", value: "0x2", cpu: 2),
    ]
    #expect(end.record["registers"] == .array([.string("x0=0x1"), .string(""), .string("pc=0x2")]))
    #expect(RunEnd(record: end.record) == end)
    end.registers.removeLast()
    #expect(RunEnd(record: end.record) == end)
    // Stopped by a request, exited with the same number, and a process that ended with it without a record of its own.
    for (end, isStopped) in [
      (RunEnd(Outcome.stopped), true), (RunEnd(exited: 125), false), (RunEnd(code: 125, reason: "ended"), false),
    ] { #expect(RunEnd(record: end.record) == end && end.isStopped == isStopped) }
  }

  @Test("is not read if it is larger than a worker's; the daemon's own is")
  func largeRecords() throws {
    let state = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: state.appending(path: "one"), withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: state) }
    let directory = AppletDirectory(state: state.path, name: "one")
    let many = JSONValue.array(Array(repeating: .array([]), count: 100_000))
    for name in ["end", "configuration"] { try directory.write(name, many) }
    #expect(directory.read("end") == nil)
    #expect(directory.read("configuration") == many)
  }

  @Test("is one short line for any contents")
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
    // Without a status, instead of one that a worker has chosen.
    #expect(end.status == nil && end.symbol == "?31m")
    let expected = [
      RegisterValue(name: "", value: "", cpu: 1),
      RegisterValue(name: "x0?", value: String(repeating: "1", count: 24), cpu: 1),
      RegisterValue(name: "y", value: "z=?", cpu: 1),
    ]
    #expect(Array(end.registers.prefix(3)) == expected)
    // "x1" is invalid; so are those of the first string.
    #expect(end.registers.count == 63 * 39)
  }

  @Test(
    "that is invalid is rejected",
    arguments: [
      "{}", "[]", "7", #"{"code":1}"#, #"{"code":4294967296,"reason":"x"}"#, #"{"code":"1","reason":"x"}"#,
      #"{"code":1,"reason":["x"]}"#,
    ])
  func noEnd(text: String) throws { #expect(RunEnd(record: try #require(record(text))) == nil) }

  @Test(
    "is no configuration if a number is out of range",
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

  @Test("has the restart policy of an applet that was stopped")
  func stoppedPolicy() throws {
    var request = StartRequest()
    request.image = "/a.elf"
    (request.restart.when, request.restart.limit) = (.onFailure, 3)
    var configuration = WorkerConfiguration(name: "a", request: request)
    configuration.restarts = 2
    configuration.disableRestarts()
    configuration.disableRestarts()
    #expect(configuration.request.restart.when == .no && configuration.policy == request.restart)
    // Also for a later daemon.
    configuration = try #require(WorkerConfiguration(configuration.json))
    #expect(configuration.policy == request.restart)
    configuration.renew()
    #expect(configuration == WorkerConfiguration(name: "a", request: request))
  }

  @Test("says what follows a stop in progress")
  func stopInProgress() throws {
    let state = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: state.appending(path: "a"), withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: state) }
    let directory = AppletDirectory(state: state.path, name: "a")
    var request = StartRequest()
    request.image = "/a.elf"
    for next in [AppletProcess.Next.end, .restart] {
      let process = AppletProcess(ProcessIdentity(pid: 7, began: 9), in: directory, isChild: false)
      process.beginStop(killAt: 12, then: next)
      AppletEntry(WorkerConfiguration(name: "a", request: request), in: directory, .running(process)).recordStop()
      let stop = try #require(AppletEntry.takeStop(of: process.identity, directory))
      #expect(stop.until == 12 && stop.next == next)
      #expect(AppletEntry.takeStop(of: process.identity, directory) == nil)
    }
  }

  @Test("is parsed as a report of its start")
  func report() throws {
    #expect(StartReport.failure(record(#"{"running":true}"#), image: "/a") == nil)
    #expect(
      StartReport.failure(record(#"{"error":{"code":123,"reason":"no\u0007 KVM"}}"#), image: "/a")
        == .hostFailure("no? KVM"))
    #expect(
      StartReport.failure(record(#"{"error":{"code":126,"reason":"bad"},"image":true}"#), image: "/a")
        == .badImage("/a", reason: "bad"))
  }
}
