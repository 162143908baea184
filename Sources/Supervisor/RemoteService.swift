import CLinux
import Control
import JSON
import Monitor
import Platform

/// An RPC service that another program serves: JSON-RPC 1.0 over a connection, as Go's net/rpc/jsonrpc speaks it.
///
/// The connection is made before the sandbox is entered, which allows no other.
package final class RemoteService {
  private let name: String
  private let address: String
  private var connection: OwnedDescriptor?
  /// Bytes of a response that have come.
  private var received: [UInt8] = []
  private var calls: Int64 = 0
  private let interrupted: () -> Bool
  /// Whether the present call has come back from a wait before.
  private var hasWaited = false

  /// Nanoseconds that it has for an answer.
  static let patience: Int64 = 5_000_000_000
  /// Nanoseconds after which a wait looks up: what interrupts it may have come just before it began.
  private static let look: Int64 = 100_000_000
  /// Most bytes of an answer.
  private static let longest = 256 << 10

  package convenience init(_ service: ServiceAddress, interrupted: @escaping () -> Bool) {
    let result = linux_connect(service.path, false)
    self.init(
      service.name, at: service.path, result < 0 ? nil : OwnedDescriptor(Int32(truncatingIfNeeded: result)),
      interrupted: interrupted)
  }

  /// - Parameter connection: a socket; nil where there is none.
  init(_ name: String, at address: String, _ connection: OwnedDescriptor?, interrupted: @escaping () -> Bool) {
    self.name = name
    self.address = address
    self.connection = connection
    self.interrupted = interrupted
  }

  /// Makes a call.
  /// - Throws: `RPCError`: the service's own, or why there is no answer.
  package func call(_ method: String, _ parameter: JSONValue) throws(RPCError) -> JSONValue {
    guard let descriptor = connection?.number else {
      throw RPCError("\(name): nobody serves it at \(address): start the service before the applet")
    }
    calls += 1
    hasWaited = false
    let end = Clock.monotonic + Self.patience
    let request = JSONValue.object([
      JSONMember("method", .string(method)), JSONMember("params", .array([parameter])),
      JSONMember("id", .integer(calls)),
    ])
    var message = request.encoded ?? []
    message.append(0x0a)
    var rest = message[...]
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_send_with(descriptor, $0.baseAddress, $0.count, -1) }
      if result > 0 {
        rest = rest.dropFirst(result)
      } else {
        try check(result)
        do { try wait(descriptor, POLLOUT, end) } catch {
          // Behind a part of this request the next one would be none.
          if rest.count < message.count { drop() }
          throw error
        }
      }
    }
    while true {
      let response = try response(descriptor, end)
      // An answer that came too late for its call belongs to that one.
      guard response["id"] == .integer(calls) else { continue }
      switch response["error"] {
      case nil, .null: return response["result"] ?? .null
      case .string(let message): throw RPCError(message)
      case let other?: throw RPCError(String(decoding: other.encoded ?? [], as: UTF8.self))
      }
    }
  }

  private func response(_ descriptor: Int32, _ end: Int64) throws(RPCError) -> JSONValue {
    while true {
      if let text = try takeObject() {
        guard let value = text.withUnsafeBytes({ JSONValue(parsing: $0) }) else { throw lost("its answer is no JSON") }
        return value
      }
      // No program has answered before it was asked: to try without waiting would be a system call for nothing.
      try wait(descriptor, POLLIN, end)
      let result = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { room -> Int in
        var count: Int32 = 0
        let result = linux_receive(descriptor, room.baseAddress, room.count, nil, &count)
        if result > 0 { received += UnsafeRawBufferPointer(rebasing: room[..<result]) }
        return result
      }
      if result == 0 { throw lost("it has ended") }
      if result < 0 { try check(result) }
      if received.count > Self.longest { throw lost("its answer is longer than 256 KiB") }
    }
  }

  /// Takes a whole object out of what has come; nil where none is whole.
  private func takeObject() throws(RPCError) -> [UInt8]? {
    switch received.withUnsafeBytes({ RequestScanner.scan($0) }) {
    case .incomplete: return nil
    case .malformed: throw lost("its answer is no JSON object")
    case .request(let range, _):
      let text = Array(received[range])
      received.removeFirst(range.upperBound)
      return text
    }
  }

  /// Passes a call's result that says to try once more.
  private func check(_ result: Int) throws(RPCError) {
    guard result == -Int(EAGAIN) || result == -Int(EINTR) else { throw lost("it has ended") }
  }

  /// Waits a moment for room to send, or something to receive. Whether to give up is asked whenever there is neither, and each
  /// time from a call's second wait on: a service that sends without end is no reason to wait for its right answer.
  private func wait(_ descriptor: Int32, _ events: Int32, _ end: Int64) throws(RPCError) {
    let left = end - Clock.monotonic
    guard left > 0 else { throw RPCError("\(name): no answer within 5 seconds") }
    var wanted = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    let isReady = linux_poll_for(&wanted, 1, min(left, Self.look)) > 0
    if !isReady || hasWaited, interrupted() { throw RPCError("\(name): the applet is being stopped") }
    hasWaited = true
  }

  /// The connection is of no use any more.
  private func lost(_ reason: StaticString) -> RPCError {
    drop()
    return RPCError("\(name): \(reason)")
  }

  private func drop() {
    connection = nil
    received = []
  }
}
