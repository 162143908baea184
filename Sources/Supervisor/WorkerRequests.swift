import Applet
import CLinux
import Control
import JSON
import Machine
import Monitor
import Platform

/// The worker's side of the daemon's requests: a connection for each, with one call and one reply.
final class WorkerRequests {
  private let isDebug: Bool
  /// When the applet's run began: CLOCK_MONOTONIC nanoseconds.
  private let began: Int64
  /// Whether the other end of the applet's input is open still.
  private var hasInput: Bool
  /// Whether the daemon has asked for the applet's end.
  private(set) var isStopping = false
  /// Nanoseconds that the daemon has for its part of a request; it has sent it before the connection is accepted.
  private static let patience: Int64 = 200_000_000

  init(_ request: StartRequest, began: Int64) {
    isDebug = request.isDebug
    hasInput = request.hasInput
    self.began = began
  }

  /// Answers what waits.
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
      isStopping = true
      context.stop()
      return .object([])
    case "Inspect": return inspect(context)
    case "SetLimits":
      Worker.setLimits(try AppletLimits(parameters), of: context, since: began)
      return .object([])
    case "EndInput":
      // Once it is closed, another descriptor may have its number.
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
    // The other processors of a program in system mode run meanwhile.
    context.showingFirstProcessor {
      let registers = RegisterValue.list(of: context, processor: context.processorCount > 1 ? 0 : nil)
      members.append(JSONMember("registers", .array(registers.map { $0.json })))
      if let symbol = context.name(of: context.pc) { members.append(JSONMember("symbol", .string(symbol))) }
    }
    return .object(members)
  }

  private static func json(_ region: MemoryRegion) -> JSONValue {
    let use: String =
      switch region.use {
      case .image: "image"
      case .heap: "heap"
      case .stack: "stack"
      default: "added"
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

  /// The call of a connection; nil where none comes in time.
  private func receive(_ descriptor: Int32) -> Call? {
    var buffer = MessageBuffer()
    let end = Clock.monotonic + Self.patience
    while true {
      switch buffer.next() {
      case .message(let message): return Call(message: message)
      case .tooLong: return nil
      case .incomplete: break
      }
      var count: Int32 = 0
      let result = buffer.fill { linux_receive(descriptor, $0.baseAddress, $0.count, nil, &count) }
      if result > 0 { continue }
      if result != -Int(EAGAIN) && result != -Int(EINTR) || !wait(descriptor, POLLIN, until: end) { return nil }
    }
  }

  private func send(_ message: [UInt8], _ descriptor: Int32) {
    var rest = message[...]
    let end = Clock.monotonic + Self.patience
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_send_with(descriptor, $0.baseAddress, $0.count, -1) }
      if result > 0 {
        rest = rest.dropFirst(result)
      } else if result != -Int(EAGAIN) && result != -Int(EINTR) || !wait(descriptor, POLLOUT, until: end) {
        return
      }
    }
  }

  /// Waits for a descriptor; false once time is up.
  private func wait(_ descriptor: Int32, _ events: Int32, until end: Int64) -> Bool {
    var wanted = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    let left = end - Clock.monotonic
    guard left > 0 else { return false }
    _ = linux_poll_for(&wanted, 1, left)
    return true
  }
}
