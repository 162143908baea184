import Control
import JSON

/// The configuration of a worker. It is also the daemon's record of the applet, from which a later daemon takes over.
struct WorkerConfiguration: Equatable {
  var name: String
  var request: StartRequest
  /// The user as which the worker runs if it is started as root; nil for no change.
  var user: UInt32?
  var group: UInt32?
  var isSandboxed = true
  /// Whether the daemon's log is in JSON.
  var isLogJSON = false
  var hasLogPrefix = false
  /// Maximum size of the history of output, in bytes.
  var history: Int64 = 256 << 10
  /// The restart policy of an applet that was stopped or has ended for good: `request.restart` is `no` then. nil before.
  var stoppedPolicy: RestartPolicy?
  /// Whether it is declared, and to be started when its declaration is applied the next time, though that has not changed.
  var isExpected = false
  /// Number of restarts before this run.
  var restarts: Int64 = 0
  /// Start time of this run.
  var started = StartTime()
  /// Maximum size of the copy of the image that the worker makes for restarts, in bytes; nil for no copy.
  var maxImageSize: Int64?
  /// Whether the applet is only restarted if there is a copy of its image.
  var keepsImage = false
  /// Path of its control group; nil for none.
  var controlGroup: String?
  var cgroup: ControlGroup? { controlGroup.map { ControlGroup(path: $0) } }

  init(name: String, request: StartRequest) {
    self.name = name
    self.request = request
  }

  /// The restart policy that the applet was started with.
  var policy: RestartPolicy { stoppedPolicy ?? request.restart }

  /// Makes its restart policy `no`.
  mutating func disableRestarts() {
    guard request.restart.when != .no else { return }
    stoppedPolicy = request.restart
    request.restart.when = .no
  }

  /// Makes it as it was before the first run.
  mutating func renew() {
    request.restart = policy
    stoppedPolicy = nil
    isExpected = false
    restarts = 0
  }

  var json: JSONValue {
    var members = [
      JSONMember("name", .string(name)), JSONMember("request", request.json),
      JSONMember("sandbox", .bool(isSandboxed)), JSONMember("log_json", .bool(isLogJSON)),
      JSONMember("log_prefix", .bool(hasLogPrefix)), JSONMember("history", .integer(history)),
      JSONMember("restarts", .integer(restarts)), JSONMember("started", .integer(started.wall)),
    ]
    if let uptime = started.uptime { members.append(JSONMember("uptime", .integer(uptime))) }
    if let boot = started.boot { members.append(JSONMember("boot", .string(boot))) }
    if let user { members.append(JSONMember("user", .integer(Int64(user)))) }
    if let group { members.append(JSONMember("group", .integer(Int64(group)))) }
    if let stoppedPolicy { members.append(JSONMember("stopped_policy", stoppedPolicy.json)) }
    if isExpected { members.append(JSONMember("expected", .bool(true))) }
    if keepsImage { members.append(JSONMember("image_kept", .bool(true))) }
    if let maxImageSize { members.append(JSONMember("image_room", .integer(maxImageSize))) }
    if let controlGroup { members.append(JSONMember("control_group", .string(controlGroup))) }
    return .object(members)
  }

  /// - Returns: nil if the value is not a valid record.
  init?(_ value: JSONValue) {
    let parameters = Parameters(value)
    let ids: ClosedRange<Int64> = 0...Int64(UInt32.max)
    do throws(ControlError) {
      guard let request = value["request"], let history = try parameters.integer("history", in: 0...1 << 40) else {
        return nil
      }
      name = try parameters.name()
      self.request = try StartRequest(request)
      self.history = history
      isSandboxed = value["sandbox"] != .bool(false)
      isLogJSON = value["log_json"] == .bool(true)
      isExpected = value["expected"] == .bool(true)
      keepsImage = value["image_kept"] == .bool(true)
      hasLogPrefix = value["log_prefix"] == .bool(true)
      if let policy = try parameters.object("stopped_policy") { stoppedPolicy = try RestartPolicy(policy) }
      // Bounded, since the daemon increments the count and computes ages from the time.
      restarts = try parameters.integer("restarts", in: 0...1 << 40) ?? 0
      started.wall = try parameters.integer("started", in: 0...1 << 50) ?? 0
      started.uptime = try parameters.integer("uptime", in: 0...1 << 50)
      started.boot = try parameters.string("boot")
      // A number that is truncated would be that of another user.
      user = try parameters.integer("user", in: ids).map { UInt32($0) }
      group = try parameters.integer("group", in: ids).map { UInt32($0) }
      maxImageSize = try parameters.integer("image_room", in: 0...1 << 40)
      controlGroup = try parameters.string("control_group")
    } catch { return nil }
  }
}
