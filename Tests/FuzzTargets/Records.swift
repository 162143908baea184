import CLinux
import Control
import JSON
import Launch
import Monitor
import Platform

@testable import Commands
@testable import Supervisor

extension FuzzTarget {
  /// The file of an applet's values, written by a compromised worker.
  static let values = FuzzTarget(
    name: "values", input: "KV files",
    run: { bytes in
      var input = Input(bytes)
      let flags = input.byte()
      let first = input.take(Int(input.number(UInt16.self)))
      let file = MemoryFile([])
      for (place, content) in [first, input.rest()].enumerated() {
        // Most inputs must have a valid checksum.
        let bytes = flags & 1 << place == 0 ? sealed(content) : content
        _ = bytes.withUnsafeBytes { linux_pwrite(file.descriptor, $0.baseAddress, $0.count, Int64(place * 64 << 10)) }
      }
      let store = ValueStore(file.descriptor)
      for key in store.keys {
        guard case .string? = store.get(key) else { fatalError("a key has a text") }
        hold((1...ValueStore.maxKey).contains(key.utf8.count), "keys are as they were set")
      }
      let keys = store.keys
      do throws(RPCError) { try store.set("a key", "a value") } catch {
        hold(store.keys == keys, "what failed has changed nothing")
        return
      }
      let again = ValueStore(file.descriptor)
      hold(again.get("a key") == .string("a value"), "what was set is there")
      hold(again.keys == store.keys, "it holds what it held")
      hold(again.keys.dropLast() == keys.filter { $0 != "a key" }[...], "the other keys stay")
    },
    seeds: {
      let file = MemoryFile([])
      let store = ValueStore(file.descriptor)
      for (key, value) in [("a", "1"), ("b", "two"), ("a key", "é\u{0}\"")] { try? store.set(key, value) }
      let places = [0, 64 << 10].map { place in
        [UInt8](unsafeUninitializedCapacity: 1024) { buffer, count in
          count = max(linux_pread(file.descriptor, buffer.baseAddress, buffer.count, place), 0)
        }
      }
      let ends = places.map { $0.lastIndex { $0 != 0 } ?? 0 }
      let seed = [UInt8(ends[0] + 1), 0] + places[0][...ends[0]] + places[1][...ends[1]]
      return [[3] + seed, [0] + seed]
    })

  /// Contents with a matching header: size and checksum are valid, the number is from the input.
  private static func sealed(_ content: [UInt8]) -> [UInt8] {
    guard content.count >= 24 else { return content }
    let body = content[24...]
    var header = Array(content[..<8])
    let number = header.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    for value in [UInt64(body.count), ValueStore.checksum(number, body)] {
      for shift in 0..<8 { header.append(UInt8(truncatingIfNeeded: value >> UInt64(shift * 8))) }
    }
    return header + body
  }

  /// A worker's files for the daemon: the record of its end, the report of its start, its configuration, its process,
  /// its console.
  static let records = FuzzTarget(
    name: "records", input: "files and messages of workers",
    run: { bytes in
      guard let kind = bytes.first else { return }
      let content = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
      if kind % 5 == 4 { return readConsole(Input(content)) }
      guard let value = JSONValue(parsing: content, depthLimit: MessageBuffer.depthLimit) else { return }
      switch kind % 5 {
      case 0:
        guard let end = RunEnd(record: value) else { return }
        hold(end.reason.utf8.count <= RunEnd.maxReason, "a reason is short")
        hold(end.reason == end.reason.printable(), "a reason is one line")
        hold((end.record.encoded?.count ?? 0) <= 64 << 10, "a record is short")
        hold(RunEnd(record: end.record) == end, "a record that was written is read as the same")
      case 1:
        guard let configuration = WorkerConfiguration(value) else { return }
        hold(WorkerConfiguration(configuration.json) == configuration, "and so is a configuration")
        var next = configuration
        next.restarts += 1
        _ = next.request.restart.delay(after: next.restarts, isFailure: true)
      case 2:
        guard let process = ProcessIdentity(value) else { return }
        hold(process.pid > 0 && ProcessIdentity(process.json) == process, "a process is one")
      default: _ = StartReport.failure(value, image: "/tmp/test.elf")
      }
    },
    seeds: {
      var end = RunEnd(code: 121, status: 3, signal: 9, reason: "invalid read")
      end.registers = [RegisterValue(name: "x0", value: "0x1"), RegisterValue(name: "pc", value: "0x80000000")]
      end.symbol = "main+0x10"
      var request = StartRequest()
      request.image = "/tmp/test.elf"
      request.restart.when = .always
      request.guest.change(
        {
          var limits = GuestLimits(); limits.deadline = 5_000_000; return limits
        }())
      request.services = [ServiceAddress(name: "S", address: "unix:/tmp/s")].compactMap { $0 }
      var configuration = WorkerConfiguration(name: "test", request: request)
      (configuration.user, configuration.group, configuration.restarts) = (1000, 1000, 3)
      let values: [(UInt8, JSONValue)] = [
        (0, end.record), (1, configuration.json),
        (2, .object([JSONMember("pid", .integer(7)), JSONMember("began", .integer(12345))])),
        (3, .object([JSONMember("error", end.record), JSONMember("image", .bool(true))])),
        (3, .object([JSONMember("running", .bool(true))])),
      ]
      return values.map { [$0.0] + ($0.1.encoded ?? []) }
        + [4, 5].map { [4, $0, 0, 3, 0x61, 0x62, 0x63, 0, 200, 0x0a] }
    })

  /// A console's file: data of any size at any offset, with holes in between.
  private static func readConsole(_ input: Input) {
    var input = input
    let file = MemoryFile([])
    var written: [Int64: UInt8] = [:]
    let hasHoleAtEnd = input.byte() & 1 == 1
    while !input.isEmpty, written.count < 4096 {
      let start = Int64(input.value(near: [4096, 32 << 10, 1 << 32, 1 << 60]) & (1 << 61 - 1))
      let content = input.take(Int(input.byte()))
      let count = linux_pwrite(file.descriptor, content, content.count, start)
      if count > 0 { for index in 0..<count { written[start + Int64(index)] = content[index] } }
    }
    if hasHoleAtEnd { ftruncate(file.descriptor, 1 << 62) }
    let end = AppletEntry.End(run: RunEnd(exited: 0), at: 0)
    let entry = AppletEntry(
      WorkerConfiguration(name: "test", request: StartRequest()), in: AppletDirectory(state: "/tmp", name: "test"),
      .ended(end, .exited))
    let descriptor = OwnedFD(
      adopting: Int32(truncatingIfNeeded: linux_dup(file.descriptor)), kernel: LinuxKernel())
    let reader = ConsoleReader(entry, file: descriptor, offset: 0, isFollowing: false)
    var last: Int64 = -1
    while true {
      let (start, bytes) = reader.next()
      if bytes.isEmpty { break }
      hold(start > last, "output is in its order")
      last = start + Int64(bytes.count - 1)
      for (index, byte) in bytes.enumerated() {
        if let expected = written.removeValue(forKey: start + Int64(index)) { hold(byte == expected, "and as it was") }
      }
    }
    hold(written.isEmpty, "nothing is left out")
  }

  /// Replies to a client, and its output.
  static let replies = FuzzTarget(
    name: "replies", input: "replies to clients",
    run: { bytes in
      guard let kind = bytes.first, let reply = Reply(message: Array(bytes.dropFirst())) else { return }
      if let errorText = reply.errorText { hold(errorText == errorText.printable(), "a complaint is one line") }
      let value = reply.parameters
      let text: String =
        switch kind % 4 {
        case 0: listing(value, now: 1_700_000_000_000)
        case 1: inspection(value, now: 1_700_000_000_000)
        case 2: line(of: value)
        default: figures(value)
        }
      hold(text.split(separator: "\n").allSatisfy { $0 == String($0).printable()[...] }, "a terminal finds no commands")
      _ = Base64.decode(value.text("data"))
    },
    seeds: {
      let applet: JSONValue = .object([
        JSONMember("name", .string("a")), JSONMember("state", .string("exited")), JSONMember("pid", .integer(7)),
        JSONMember("image", .string("/tmp/a.elf")), JSONMember("started", .integer(1_699_999_999_000)),
        JSONMember("restarts", .integer(1)), JSONMember("end", RunEnd(code: 3, status: 3, reason: "exited").json),
      ])
      let register: JSONValue = .object([JSONMember("name", .string("x0")), JSONMember("value", .string("0x1"))])
      let region: JSONValue = .object([
        JSONMember("start", .string("0x80000000")), JSONMember("size", .integer(4096)),
        JSONMember("use", .string("heap")),
      ])
      let values: [(UInt8, JSONValue)] = [
        (0, .object([JSONMember("applets", .array([applet, applet]))])),
        (
          1,
          .object([
            JSONMember("applet", applet), JSONMember("calls", .integer(7)), JSONMember("regions", .array([region])),
            JSONMember("registers", .array([register])),
          ])
        ),
        (
          2,
          .object([
            JSONMember("time", .integer(5)), JSONMember("event", .string("running")), JSONMember("name", .string("a")),
            JSONMember("data", .string("aGVsbG8=")),
          ])
        ),
        (3, .object([JSONMember("applets", .integer(1))])),
      ]
      return values.map { [$0.0] + Reply($0.1).message.dropLast() } + [
        [0] + Reply(ControlError.badImage("/tmp/a\u{1b}[2J", reason: "b")).message.dropLast()
      ]
    })
}
