import CLinux
import Control
import JSON

/// A call that waits or gets several replies, and outlives the daemon: if the daemon reloads or is restarted, the call
/// is repeated to the new one.
final class LastingCall {
  private let method: String
  /// The parameters, also for a repeated call.
  var parameters: JSONValue
  private let more: Bool
  /// A descriptor that is sent with the call, open as long as this object; -1 for none.
  private let file: Int32
  private let connect: () throws(Failure) -> Client
  private var client: Client
  /// Number of consecutive connections that ended soon without a reply.
  private var attempts = 0
  private var began = linux_clock(CLOCK_MONOTONIC)
  /// Whether the call was repeated.
  private(set) var isRepeated = false

  /// Maximum number of consecutive attempts, and nanoseconds between them, in which a new daemon must start.
  private static let maxAttempts = 20
  private static let pause: Int64 = 100_000_000

  /// Makes the call.
  /// - Throws: `Failure.failed(.host)` if no daemon listens.
  init(
    _ method: String, _ parameters: JSONValue = .object([]), more: Bool = false, file: Int32 = -1,
    _ connect: @escaping () throws(Failure) -> Client
  ) throws(Failure) {
    self.method = method
    self.parameters = parameters
    self.more = more
    self.file = file
    self.connect = connect
    client = try connect()
    try client.send(method, parameters, more: more, file: file)
  }

  /// The descriptor for poll(2), which is readable when a reply arrives.
  var number: Int32 { client.number }
  var hasMore: Bool { client.hasMore }

  /// Waits for the next reply.
  func next() throws(Failure) -> Reply {
    while true {
      if let reply = try buffered() { return reply }
      try receive()
    }
  }

  /// The next reply, if it has been received completely.
  func buffered() throws(Failure) -> Reply? {
    guard let reply = try client.buffered() else { return nil }
    attempts = 0
    return reply
  }

  /// Receives a part of a reply; blocks until there is one, or repeats the call to a new daemon.
  func receive() throws(Failure) {
    do throws(Failure) { try client.receive() } catch {
      guard client.isGone else { throw error }
      try repeatCall(after: error)
    }
  }

  private func repeatCall(after failure: Failure) throws(Failure) {
    if linux_clock(CLOCK_MONOTONIC) - began > 1_000_000_000 { attempts = 0 }
    while attempts < Self.maxAttempts {
      // The first attempt is immediate: the socket may be passed on to the next daemon.
      if attempts > 0 { _ = linux_ppoll(nil, 0, Self.pause) }
      attempts += 1
      do throws(Failure) {
        client = try connect()
        try client.send(method, parameters, more: more, file: file)
        began = linux_clock(CLOCK_MONOTONIC)
        isRepeated = true
        return
      } catch {}
    }
    throw failure
  }
}
