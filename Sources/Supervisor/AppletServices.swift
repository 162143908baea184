import CLinux
import Control
import JSON
import Launch
import Monitor
import Platform

/// The RPC services of an applet in the daemon: Echo, Info, Log, KV, and those of other programs.
final class AppletServices {
  let server = Server()

  /// - Parameters:
  ///   - values: the file of KV's values: a descriptor that stays open.
  ///   - interrupted: called while a service is waited for, after each signal; returns whether to give up.
  init(_ configuration: WorkerConfiguration, values: Int32, interrupted: @escaping () -> Bool) throws(RPCError) {
    let name = configuration.name
    try server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    let info = JSONValue.object([
      JSONMember("name", .string(name)), JSONMember("restarts", .integer(configuration.restarts)),
      JSONMember("started", .integer(configuration.started.time)),
      JSONMember("deadline", configuration.request.guest.limits.deadlineMilliseconds.map { .integer($0) } ?? .null),
    ])
    try server.register("Info.Get") { (_: JSONValue) throws(RPCError) -> JSONValue in info }
    try addLog(name, Log(format: configuration.isLogJSON ? .json : .text, hasPrefix: configuration.hasLogPrefix))
    try addValues(ValueStore(values))
    for service in configuration.request.services {
      let remote = RemoteService(
        service, limit: configuration.request.guest.rpcLimit, interrupted: interrupted)
      try server.forward(service.name) { (method: String, parameter: JSONValue) throws(RPCError) -> JSONValue in
        try remote.call(method, parameter)
      }
    }
  }

  // MARK: Log

  /// Log.Info, Log.Warning, Log.Error: write a line to the daemon's log.
  private func addLog(_ name: String, _ log: Log) throws(RPCError) {
    let limit = RateLimit(burst: 100, each: 100_000_000)
    for (method, level) in [("Log.Info", Log.Level.info), ("Log.Warning", .warning), ("Log.Error", .error)] {
      try server.register(method) { (text: String) throws(RPCError) -> JSONValue in
        guard text.utf8.count <= 1024 else { throw RPCError("Log: a line has at most 1024 bytes") }
        guard limit.take() else { throw RPCError("Log: more than 10 lines a second") }
        log.write(level, "log", [("name", name), ("text", text)])
        return .null
      }
    }
  }

  // MARK: KV

  /// KV.Set {"key", "value"}, KV.Get "key", KV.Delete "key", KV.Keys null: strings that outlive the applet's process.
  private func addValues(_ store: ValueStore) throws(RPCError) {
    // Each change is written to the disk, which all applets share.
    let limit = RateLimit(burst: 1000, each: 10_000_000)
    let tooMany = RPCError("KV: more than 100 changes a second")
    try server.register("KV.Set") { (pair: JSONValue) throws(RPCError) -> JSONValue in
      guard case .string(let key)? = pair["key"], case .string(let value)? = pair["value"] else {
        throw RPCError("KV.Set needs an object with a key and a value, both strings")
      }
      guard limit.take() else { throw tooMany }
      try store.set(key, value)
      return .null
    }
    try server.register("KV.Get") { (key: String) throws(RPCError) -> JSONValue in store.get(key) ?? .null }
    try server.register("KV.Delete") { (key: String) throws(RPCError) -> JSONValue in
      guard limit.take() else { throw tooMany }
      try store.set(key, nil)
      return .null
    }
    try server.register("KV.Keys") { (_: JSONValue) throws(RPCError) -> JSONValue in
      .array(store.keys.map { .string($0) })
    }
  }
}

/// A rate limit: a burst, and one more after each interval.
final class RateLimit {
  private let burst: Int64
  private let interval: Int64
  /// The CLOCK_MONOTONIC time in nanoseconds at which a full burst is allowed again.
  private var full: Int64 = 0

  init(burst: Int64, each nanoseconds: Int64) {
    self.burst = burst
    interval = nanoseconds
  }

  func take() -> Bool {
    let now = Clock.monotonic
    let next = max(full, now) + interval
    guard next - now <= burst * interval else { return false }
    full = next
    return true
  }
}
