import Control
import JSON

/// What a worker is told: the daemon's own record of the applet, too, from which its successor takes over.
struct WorkerConfiguration: Equatable {
  var name: String
  var request: StartRequest
  /// Whose rights the worker takes where it is root; nil to stay.
  var user: UInt32?
  var group: UInt32?
  var isSandboxed = true
  /// How the daemon's log is written.
  var isLogJSON = false
  var hasLogPrefix = false
  /// Bytes of output to keep.
  var history: Int64 = 256 << 10
  /// How often it was started again before this run.
  var restarts: Int64 = 0
  /// Milliseconds since 1970.
  var started: Int64 = 0
  /// Folder of the control group that its process is in, for the daemon's successor.
  var controlGroup: String?

  init(name: String, request: StartRequest) {
    self.name = name
    self.request = request
  }

  var json: JSONValue {
    var members = [
      JSONMember("name", .string(name)), JSONMember("request", request.json),
      JSONMember("sandbox", .bool(isSandboxed)), JSONMember("log_json", .bool(isLogJSON)),
      JSONMember("log_prefix", .bool(hasLogPrefix)), JSONMember("history", .integer(history)),
      JSONMember("restarts", .integer(restarts)), JSONMember("started", .integer(started)),
    ]
    if let user { members.append(JSONMember("user", .integer(Int64(user)))) }
    if let group { members.append(JSONMember("group", .integer(Int64(group)))) }
    if let controlGroup { members.append(JSONMember("control_group", .string(controlGroup))) }
    return .object(members)
  }

  /// - Returns: nil for what is no such record.
  init?(_ value: JSONValue) {
    guard case .string(let name)? = value["name"], AppletName.isValid(name), let request = value["request"],
      let parsed = try? StartRequest(request), case .integer(let history)? = value["history"]
    else { return nil }
    self.name = name
    self.request = parsed
    self.history = history
    isSandboxed = value["sandbox"] != .bool(false)
    isLogJSON = value["log_json"] == .bool(true)
    hasLogPrefix = value["log_prefix"] == .bool(true)
    if case .integer(let restarts)? = value["restarts"] { self.restarts = restarts }
    if case .integer(let started)? = value["started"] { self.started = started }
    if case .integer(let user)? = value["user"] { self.user = UInt32(truncatingIfNeeded: user) }
    if case .integer(let group)? = value["group"] { self.group = UInt32(truncatingIfNeeded: group) }
    if case .string(let path)? = value["control_group"] { controlGroup = path }
  }
}
