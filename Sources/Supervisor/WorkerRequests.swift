import Applet
import CLinux
import Control
import JSON
import KVM
import Launch
import Machine
import Monitor
import Platform

/// Answers the daemon's requests to a worker: one call and one reply for each connection.
final class WorkerRequests {
  private let isDebug: Bool
  /// The start of the applet's run: CLOCK_MONOTONIC time in nanoseconds.
  private let began: Int64
  /// Whether the input's other end is still open.
  private var hasInput: Bool
  /// The latency of calls, once somebody has asked for it.
  private var latency: CallLatency?
  /// Number of calls that are measured after each request for statistics.
  private static let measured = 256
  /// Nanoseconds within which the daemon must send or read its part of a request. It sends the request before the
  /// connection is accepted.
  private static let timeout: Int64 = 200_000_000

  init(_ request: StartRequest, began: Int64) {
    isDebug = request.isDebug
    hasInput = request.hasInput
    self.began = began
  }

  /// Answers pending requests.
  func answer(_ context: ExecCtx) {
    while true {
      let connection = linux_accept(WorkerFile.requests.rawValue)
      guard connection >= 0 else { return }
      let descriptor = Int32(truncatingIfNeeded: connection)
      if let call = receive(descriptor) { send(reply(to: call, context).message, descriptor) }
      _ = linux_close(descriptor)
    }
  }

  private func reply(to call: Call, _ context: ExecCtx) -> Reply {
    do { return Reply(try perform(call, context)) } catch { return Reply(error) }
  }

  private func perform(_ call: Call, _ context: ExecCtx) throws(ControlError) -> JSONValue {
    let parameters = Parameters(call.parameters)
    switch call.method {
    case "Stop":
      context.stop()
      return .object([])
    case "Inspect": return inspect(context)
    case "Statistics": return statistics(context)
    case "SetLimits":
      try GuestLimits(parameters).apply(to: context, since: began)
      return .object([])
    case "EndInput":
      // After the first time, the number may belong to another descriptor.
      if hasInput { _ = linux_close(WorkerFile.inputKeeper.rawValue) }
      hasInput = false
      return .object([])
    case "Peek":
      let address = try parameters.address("address")
      guard let size = try parameters.integer("size", in: 0...65536) else { throw .invalidParameter("size") }
      guard let range = GuestRange(start: address, count: UInt64(size)),
        let bytes = try? context.memory.withBytes(range, for: .read, { Array($0) })
      else { throw .badAddress("", address: hex(address)) }
      return .object([JSONMember("data", .string(Base64.encode(bytes)))])
    case "Poke":
      let address = try parameters.address("address")
      guard let bytes = try parameters.bytes("data"), bytes.count <= 65536 else { throw .invalidParameter("data") }
      guard let range = GuestRange(start: address, count: UInt64(bytes.count)),
        (try? context.memory.withBytes(range, for: .write, { $0.copyBytes(from: bytes) })) != nil
      else { throw .badAddress("", address: hex(address)) }
      return .object([])
    default: throw .methodNotFound(call.method)
    }
  }

  private func inspect(_ context: ExecCtx) -> JSONValue {
    var members = [
      JSONMember("calls", .integer(Int64(clamping: context.calls))),
      JSONMember("cpu_time", .integer(linux_clock(CLOCK_PROCESS_CPUTIME_ID) / 1_000_000)),
      JSONMember("regions", .array(context.memory.regions.map { Self.json($0) })),
    ]
    guard isDebug else { return .object(members) }
    // The other CPUs of a program in system mode continue meanwhile.
    context.showingFirstCPU {
      let registers = RegisterValue.list(of: context, cpu: context.cpuCount > 1 ? 0 : nil)
      members.append(JSONMember("registers", .array(registers.map { $0.json })))
      if let symbol = context.name(of: context.pc) { members.append(JSONMember("symbol", .string(symbol))) }
    }
    return .object(members)
  }

  /// The worker's part of the interface's type AppletStatistics.
  private func statistics(_ context: ExecCtx) -> JSONValue {
    func counts(_ label: String, _ counts: [(name: String, count: UInt64)]) -> JSONValue {
      .array(
        counts.map {
          .object([JSONMember(label, .string($0.name)), JSONMember("count", .integer(Int64(clamping: $0.count)))])
        })
    }
    var members = [
      JSONMember("calls", .integer(Int64(clamping: context.calls))),
      JSONMember("call_counts", counts("call", context.callCounts.named.map { ($0.name.description, $0.count) })),
    ]
    if let exits = context.exitCounts {
      if let all = exits.all { members.append(JSONMember("exits", .integer(Int64(clamping: all)))) }
      members.append(JSONMember("exit_counts", counts("kind", exits.kinds.map { ($0.name, $0.count) })))
    }
    let latency = latency ?? CallLatency()
    self.latency = latency
    members.append(JSONMember("call_latencies", .array(latency.named.map { Self.json($0.histogram, of: $0.name) })))
    latency.measure(Self.measured, of: context)
    func add(_ name: String, _ nanoseconds: Int64) {
      members.append(JSONMember(name, .integer(max(nanoseconds / 1_000_000, 0))))
    }
    if let deadline = context.deadline { add("deadline_left", deadline - Clock.monotonic) }
    if let budget = context.cpuBudget { add("cpu_budget_left", budget - context.cpuUsed) }
    return .object(members)
  }

  private static func json(_ histogram: CallLatency.Histogram, of call: StaticString) -> JSONValue {
    let buckets = histogram.buckets.indices.map { JSONValue.integer(Int64(clamping: histogram.buckets[$0])) }
    return .object([
      JSONMember("call", .string(call.description)), JSONMember("sum", .integer(histogram.sum)),
      JSONMember("buckets", .array(buckets)),
    ])
  }

  private static func json(_ region: MemoryRegion) -> JSONValue {
    let use: String =
      switch region.use {
      case .image: "image"
      case .heap: "heap"
      case .stack: "stack"
      case .added: "added"
      case .deviceTree: "device tree"
      }
    let access =
      (region.access.contains(.read) ? "r" : "-") + (region.access.contains(.write) ? "w" : "-")
      + (region.access.contains(.execute) ? "x" : "-")
    return .object([
      JSONMember("start", .string(hex(region.range.lowerBound))),
      JSONMember("size", .integer(Int64(clamping: region.range.upperBound - region.range.lowerBound))),
      JSONMember("access", .string(access)), JSONMember("use", .string(use)),
    ])
  }

  /// The call on a connection; nil if none arrives in time.
  private func receive(_ descriptor: Int32) -> Call? {
    var buffer = MessageBuffer()
    let end = Clock.monotonic + Self.timeout
    while true {
      switch buffer.next() {
      case .message(let message): return Call(message: message)
      case .tooLong: return nil
      case .incomplete: break
      }
      var count: Int32 = 0
      let result = buffer.fill { linux_recvmsg(descriptor, $0.baseAddress, $0.count, nil, &count) }
      if result > 0 { continue }
      if result != -Int(EAGAIN) && result != -Int(EINTR) || !wait(descriptor, POLLIN, until: end) { return nil }
    }
  }

  private func send(_ message: [UInt8], _ descriptor: Int32) {
    var rest = message[...]
    let end = Clock.monotonic + Self.timeout
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_sendmsg(descriptor, $0.baseAddress, $0.count, -1) }
      if result > 0 {
        rest = rest.dropFirst(result)
      } else if result != -Int(EAGAIN) && result != -Int(EINTR) || !wait(descriptor, POLLOUT, until: end) {
        return
      }
    }
  }

  /// Waits for a descriptor; returns false on timeout.
  private func wait(_ descriptor: Int32, _ events: Int32, until end: Int64) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    let left = end - Clock.monotonic
    guard left > 0 else { return false }
    _ = linux_ppoll(&wanted, 1, left)
    return true
  }
}
