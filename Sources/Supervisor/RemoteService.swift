import CLinux
import Control
import JSON
import Monitor
import Platform

/// An RPC service in another program: a client of JSON-RPC 1.0 as in Go's net/rpc/jsonrpc.
///
/// It is connected before the process enters the sandbox, which forbids connect(2).
package final class RemoteService {
  private let name: String
  private let address: String
  private var connection: OwnedDescriptor?
  /// Received bytes of a response.
  private var received: [UInt8] = []
  /// Where the scan for their end is.
  private var scanner = RequestScanner()
  private var calls: Int64 = 0
  private let interrupted: () -> Bool
  /// Whether the current call has waited already.
  private var hasWaited = false

  /// Nanoseconds until an answer must have arrived.
  static let timeout: Int64 = 5_000_000_000
  /// Nanoseconds between checks for an interruption, which may come just before a wait begins.
  private static let look: Int64 = 50_000_000
  /// Maximum size of an answer, in bytes.
  private let limit: Int

  /// Connects to a service.
  /// - Parameters:
  ///   - limit: maximum size of an answer, in bytes.
  ///   - interrupted: asked while an answer is waited for: whether to give up.
  package convenience init(
    _ service: ServiceAddress, limit: Int = ExecCtx.defaultRPCLimit, interrupted: @escaping () -> Bool
  ) {
    let result = linux_connect(service.path, false)
    self.init(
      service.name, at: service.path, result < 0 ? nil : OwnedDescriptor(Int32(truncatingIfNeeded: result)),
      limit: limit, interrupted: interrupted)
  }

  /// - Parameter connection: a socket; nil if it could not be connected.
  init(
    _ name: String, at address: String, _ connection: OwnedDescriptor?, limit: Int = ExecCtx.defaultRPCLimit,
    interrupted: @escaping () -> Bool
  ) {
    self.limit = limit
    self.name = name
    self.address = address
    self.connection = connection
    self.interrupted = interrupted
  }

  /// Makes a call.
  /// - Throws: `RPCError`: that of the service, or why there is no answer.
  package func call(_ method: String, _ parameter: JSONValue) throws(RPCError) -> JSONValue {
    guard let descriptor = connection?.number else {
      throw RPCError("\(name): not available at \(address): start the service before the applet")
    }
    calls += 1
    hasWaited = false
    let end = Clock.monotonic + Self.timeout
    let request = JSONValue.object([
      JSONMember("method", .string(method)), JSONMember("params", .array([parameter])),
      JSONMember("id", .integer(calls)),
    ])
    var message = request.encoded ?? []
    message.append(0x0a)
    var rest = message[...]
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_sendmsg(descriptor, $0.baseAddress, $0.count, -1) }
      if result > 0 {
        rest = rest.dropFirst(result)
      } else {
        try check(result)
        do { try wait(descriptor, POLLOUT, end) } catch {
          // After an incomplete request the connection cannot be used.
          if rest.count < message.count { drop() }
          throw error
        }
      }
    }
    while true {
      let response = try response(descriptor, end)
      // A late answer to an earlier call is ignored.
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
        guard let value = text.withUnsafeBytes({ JSONValue(parsing: $0) }) else { throw lost("its answer is not JSON") }
        return value
      }
      // No answer is available immediately, so a read before the wait would be a wasted system call.
      try wait(descriptor, POLLIN, end)
      let result = withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer -> Int in
        var count: Int32 = 0
        let result = linux_recvmsg(descriptor, buffer.baseAddress, buffer.count, nil, &count)
        if result > 0 { received += UnsafeRawBufferPointer(rebasing: buffer[..<result]) }
        return result
      }
      if result == 0 { throw lost("the connection was closed") }
      if result < 0 { try check(result) }
      if received.count > limit { throw lost("its answer is longer than \(limit) bytes") }
    }
  }

  /// Removes an object from the received bytes; nil if none is complete.
  private func takeObject() throws(RPCError) -> [UInt8]? {
    switch received.withUnsafeBytes({ scanner.scan($0) }) {
    case .incomplete: return nil
    case .malformed: throw lost("its answer is not a JSON object")
    case .request(let range, _):
      let text = Array(received[range])
      received.removeFirst(range.upperBound)
      scanner = RequestScanner()
      return text
    }
  }

  /// Accepts results after which the call is repeated.
  private func check(_ result: Int) throws(RPCError) {
    guard result == -Int(EAGAIN) || result == -Int(EINTR) else { throw lost("the connection was closed") }
  }

  /// Waits until a descriptor is ready. Interruptions are checked if it is not, and in any case from a call's second
  /// wait on, so that a service that sends data continuously cannot prevent this.
  private func wait(_ descriptor: Int32, _ events: Int32, _ end: Int64) throws(RPCError) {
    let left = end - Clock.monotonic
    guard left > 0 else { throw RPCError("\(name): no answer within 5 seconds") }
    var wanted = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    let isReady = linux_ppoll(&wanted, 1, min(left, Self.look)) > 0
    if !isReady || hasWaited, interrupted() { throw RPCError("\(name): the applet is being stopped") }
    hasWaited = true
  }

  /// Closes the connection, which cannot be used any more.
  private func lost(_ reason: String) -> RPCError {
    drop()
    return RPCError("\(name): \(reason)")
  }

  private func drop() {
    connection = nil
    received = []
    scanner = RequestScanner()
  }
}
