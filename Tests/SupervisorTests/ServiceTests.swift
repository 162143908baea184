import CLinux
import Control
import Foundation
import JSON
import Monitor
import Testing

@testable import Supervisor

@Suite("KV's values")
struct ValueStoreTests {
  private func withFile(_ body: (Int32) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "swiftlet-values-\(UUID().uuidString)").path
    let descriptor = Int32(linux_open(path, O_RDWR | O_CREAT, 0o600))
    defer {
      _ = linux_close(descriptor)
      unlink(path)
    }
    try body(descriptor)
  }

  @Test("outlive the process, and survive an interrupted change")
  func torn() throws {
    try withFile { file in
      let store = ValueStore(file)
      try store.set("a", "1")
      try store.set("b", "2")
      #expect(ValueStore(file).keys == ["a", "b"])
      // The second change is in the slot at the beginning.
      var byte: UInt8 = 0x7f
      _ = linux_pwrite(file, &byte, 1, 30)
      #expect(ValueStore(file).keys == ["a"])
      try ValueStore(file).set("c", "3")
      #expect(ValueStore(file).get("c") == .string("3"))
      try ValueStore(file).set("a", nil)
      #expect(ValueStore(file).keys == ["c"])
    }
  }

  /// A slot that a compromised process may have written: complete, but not written by a store.
  private func place(_ sequence: UInt64, _ contents: String) -> [UInt8] {
    let body = Array(contents.utf8)
    let header = [sequence, UInt64(body.count), ValueStore.checksum(sequence, body[...])]
    return header.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) } } + body
  }

  @Test(
    "that no store has written are ignored, and can be set again",
    arguments: [
      (5, #"{"a":1}"#), (5, #"{"a":{"b":[]}}"#), (5, #"{"":"1"}"#), (5, "[]"),
      (5, "{\"\(String(repeating: "k", count: 129))\":\"1\"}"),
      (5, String(repeating: "{\"a\":", count: 1000) + "1" + String(repeating: "}", count: 1000)),
    ] as [(UInt64, String)])
  func foreign(sequence: UInt64, contents: String) throws {
    try withFile { file in
      let bytes = place(sequence, contents)
      #expect(linux_pwrite(file, bytes, bytes.count, 0) == bytes.count)
      let store = ValueStore(file)
      #expect(store.keys.isEmpty)
      try store.set("b", "2")
      #expect(ValueStore(file).keys == ["b"])
    }
    // The same slot is read if it is valid.
    try withFile { file in
      let bytes = place(5, #"{"a":"1"}"#)
      #expect(linux_pwrite(file, bytes, bytes.count, 0) == bytes.count)
      #expect(ValueStore(file).keys == ["a"])
    }
  }

  /// Also if the other slot has a number that does not precede or follow it.
  @Test(
    "outlive their store for any sequence number", arguments: [0, 5, .max - 2, .max - 1, .max] as [UInt64],
    [nil, 1, 5, 1 << 63, .max] as [UInt64?])
  func numbers(sequence: UInt64, distance: UInt64?) throws {
    try withFile { file in
      let first = place(sequence, #"{"a":"1"}"#)
      #expect(linux_pwrite(file, first, first.count, 0) == first.count)
      if let distance {
        let second = place(sequence &+ distance, #"{"a":"2"}"#)
        #expect(linux_pwrite(file, second, second.count, 64 << 10) == second.count)
      }
      #expect(ValueStore(file).get("a") == .string(distance == 1 ? "2" : "1"))
      for value in ["3", "4", "5", "6"] {
        try ValueStore(file).set("b", value)
        #expect(ValueStore(file).get("b") == .string(value))
        #expect(ValueStore(file).keys == ["a", "b"])
      }
    }
  }

  @Test("are rejected without a change if they do not fit")
  func limits() throws {
    try withFile { file in
      let store = ValueStore(file)
      try store.set("a", "1")
      #expect(throws: RPCError.self) { try store.set("b", String(repeating: "x", count: 65536)) }
      #expect(throws: RPCError.self) { try store.set("", "1") }
      #expect(throws: RPCError.self) { try store.set(String(repeating: "k", count: 129), "1") }
      #expect(store.keys == ["a"])
    }
    let closed = ValueStore(-1)
    #expect(throws: RPCError.self) { try closed.set("a", "1") }
    #expect(closed.keys.isEmpty)
  }
}

@Suite("A rate limit")
struct RateLimitTests {
  @Test("allows a burst, and one more after each interval")
  func burst() {
    let limit = RateLimit(burst: 3, each: 50_000_000)
    #expect((0..<4).map { _ in limit.take() } == [true, true, true, false])
    usleep(60_000)
    #expect(limit.take())
  }
}

@Suite("Services of other programs")
struct RemoteServiceTests {
  /// Serves one connection: for each request the next of these answers; nil closes the connection.
  private func service(_ answers: [String?]) throws -> RemoteService {
    let path = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString.prefix(8))").path
    let listener = Int32(linux_listen_at(path, 0o600))
    try #require(listener >= 0)
    // The client may have disconnected.
    signal(SIGPIPE, SIG_IGN)
    Foundation.Thread.detachNewThread {
      defer {
        _ = linux_close(listener)
        unlink(path)
      }
      var connection = Int32(linux_accept(listener))
      while connection < 0 {
        usleep(1000)
        connection = Int32(linux_accept(listener))
      }
      for answer in answers {
        var byte: UInt8 = 0
        while byte != 0x0a { if linux_read(connection, &byte, 1) < 0 { usleep(1000) } }
        guard let answer else { break }
        // In two parts, as on networks.
        let bytes = Array(answer.utf8)
        _ = linux_write(connection, bytes, bytes.count / 2)
        usleep(2000)
        _ = bytes.withUnsafeBytes {
          linux_write(connection, $0.baseAddress! + bytes.count / 2, bytes.count - bytes.count / 2)
        }
      }
      _ = linux_close(connection)
    }
    return RemoteService(try #require(ServiceAddress(name: "Thing", address: "unix:" + path))) { false }
  }

  @Test("return results and errors; late answers are ignored")
  func answers() throws {
    let service = try service([
      #"{"id":1,"result":[1,2],"error":null}"#, #"{"id":2,"result":null,"error":"no such thing"}"#,
      #"{"id":2,"result":0}{"id":3,"result":"three","error":null}"#, nil,
    ])
    #expect(try service.call("Thing.Do", .string("x")) == .array([.integer(1), .integer(2)]))
    #expect(throws: RPCError("no such thing")) { try service.call("Thing.Do", .null) }
    #expect(try service.call("Thing.Do", .null) == .string("three"))
    #expect(throws: RPCError("Thing: the connection was closed")) { try service.call("Thing.Do", .null) }
    #expect(throws: RPCError.self) { try service.call("Thing.Do", .null) }
  }

  @Test(
    "that answer without JSON are disconnected", arguments: ["hello", "{]}", String(repeating: "{\"a\":", count: 100)])
  func garbage(answer: String) throws {
    let service = try service([answer])
    #expect(throws: RPCError.self) { try service.call("Thing.Do", .null) }
  }

  /// A service that performs an action repeatedly as soon as it is connected.
  private func endless(
    interrupted: @escaping () -> Bool, _ body: @escaping @Sendable (Int32) -> Bool
  ) throws -> RemoteService {
    let path = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString.prefix(8))").path
    let listener = Int32(linux_listen_at(path, 0o600))
    try #require(listener >= 0)
    signal(SIGPIPE, SIG_IGN)
    let service = RemoteService(
      try #require(ServiceAddress(name: "Thing", address: "unix:" + path)), interrupted: interrupted)
    let connection = Int32(linux_accept(listener))
    try #require(connection >= 0)
    _ = linux_close(listener)
    unlink(path)
    Foundation.Thread.detachNewThread {
      while body(connection) {}
      _ = linux_close(connection)
    }
    return service
  }

  @Test("do not delay a stop, silent or sending continuously", arguments: [false, true])
  func interruption(isFlood: Bool) throws {
    let answer = Array((String(repeating: #"{"id":99,"result":1}"#, count: 100)).utf8)
    let begin = linux_clock(CLOCK_MONOTONIC)
    // A stop during the wait, without a signal to this thread.
    let service = try endless(interrupted: { linux_clock(CLOCK_MONOTONIC) - begin > 300_000_000 }) { connection in
      var wanted = pollfd(fd: connection, events: Int16(POLLOUT), revents: 0)
      if !isFlood { wanted.events = 0 }
      guard poll(&wanted, 1, 10000) == 0 || wanted.revents & Int16(POLLHUP | POLLERR) == 0 else { return false }
      if isFlood { _ = linux_write(connection, answer, answer.count) }
      return true
    }
    #expect(throws: RPCError("Thing: the applet is being stopped")) { try service.call("Thing.Do", .null) }
    #expect(linux_clock(CLOCK_MONOTONIC) - begin < 3_000_000_000)
  }

  @Test("that accepted half a request get no other one")
  func half() throws {
    let service = try endless(interrupted: { true }) { connection in
      var wanted = pollfd(fd: connection, events: 0, revents: 0)
      return poll(&wanted, 1, 10000) == 0
    }
    let long = JSONValue.string(String(repeating: "x", count: 4 << 20))
    #expect(throws: RPCError("Thing: the applet is being stopped")) { try service.call("Thing.Do", long) }
    #expect { try service.call("Thing.Do", .null) } throws: {
      ($0 as? RPCError)?.message.contains("not available at") == true
    }
  }

  @Test("that are not available cause an error")
  func absent() throws {
    let service = RemoteService(try #require(ServiceAddress(name: "Thing", address: "unix:/nowhere"))) { false }
    #expect(throws: RPCError("Thing: not available at /nowhere: start the service before the applet")) {
      try service.call("Thing.Do", .null)
    }
  }
}
