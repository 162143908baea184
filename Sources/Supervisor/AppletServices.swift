import CLinux
import Control
import JSON
import Monitor
import Platform

/// The RPC services that an applet of the daemon has: Echo, Info, Log, KV, and those that other programs serve.
final class AppletServices {
  let server = Server()

  /// - Parameters:
  ///   - values: where KV keeps its values: a descriptor that stays open.
  ///   - interrupted: asked while a service is waited for, each time a signal has come: whether to give up.
  init(_ configuration: WorkerConfiguration, values: Int32, interrupted: @escaping () -> Bool) {
    let name = configuration.name
    server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    let info = JSONValue.object([
      JSONMember("name", .string(name)), JSONMember("restarts", .integer(configuration.restarts)),
      JSONMember("started", .integer(configuration.started)),
      JSONMember("deadline", configuration.request.limits.deadline.map { .integer($0) } ?? .null),
    ])
    server.register("Info.Get") { (_: JSONValue) throws(RPCError) -> JSONValue in info }
    addLog(name, Log(format: configuration.isLogJSON ? .json : .text, hasPrefix: configuration.hasLogPrefix))
    addValues(ValueStore(values))
    for service in configuration.request.services {
      let remote = RemoteService(service, interrupted: interrupted)
      server.forward(service.name) { (method: String, parameter: JSONValue) throws(RPCError) -> JSONValue in
        try remote.call(method, parameter)
      }
    }
  }

  // MARK: Log

  /// Log.Info, Log.Warning, Log.Error: a line in the daemon's log.
  private func addLog(_ name: String, _ log: Log) {
    let limit = RateLimit(burst: 100, each: 100_000_000)
    for (method, level) in [("Log.Info", Log.Level.info), ("Log.Warning", .warning), ("Log.Error", .error)] {
      server.register(method) { (text: String) throws(RPCError) -> JSONValue in
        guard text.utf8.count <= 1024 else { throw RPCError("Log: a line has at most 1024 bytes") }
        guard limit.take() else { throw RPCError("Log: more than 10 lines a second") }
        log.write(level, "log", [("name", name), ("text", text)])
        return .null
      }
    }
  }

  // MARK: KV

  /// KV.Set {"key", "value"}, KV.Get "key", KV.Delete "key", KV.Keys null: texts that outlive the applet's process.
  private func addValues(_ store: ValueStore) {
    // Each change is a write to the disk that everybody waits for.
    let limit = RateLimit(burst: 1000, each: 10_000_000)
    let tooMany = RPCError("KV: more than 100 changes a second")
    server.register("KV.Set") { (pair: JSONValue) throws(RPCError) -> JSONValue in
      guard case .string(let key)? = pair["key"], case .string(let value)? = pair["value"] else {
        throw RPCError("KV.Set takes an object with a key and a value, both strings")
      }
      guard limit.take() else { throw tooMany }
      try store.set(key, value)
      return .null
    }
    server.register("KV.Get") { (key: String) throws(RPCError) -> JSONValue in store.get(key) ?? .null }
    server.register("KV.Delete") { (key: String) throws(RPCError) -> JSONValue in
      guard limit.take() else { throw tooMany }
      try store.set(key, nil)
      return .null
    }
    server.register("KV.Keys") { (_: JSONValue) throws(RPCError) -> JSONValue in
      .array(store.keys.map { .string($0) })
    }
  }
}

/// How often something may happen: so many times at once, and again after each interval.
final class RateLimit {
  private let burst: Int64
  private let interval: Int64
  /// CLOCK_MONOTONIC nanoseconds at which all would be allowed again.
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
