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
      hasLogPrefix = value["log_prefix"] == .bool(true)
      // A count that goes on, and a time of which ages are made.
      restarts = try parameters.integer("restarts", in: 0...1 << 40) ?? 0
      started = try parameters.integer("started", in: 0...1 << 50) ?? 0
      // Another user's number than the one that was meant would be one too many.
      user = try parameters.integer("user", in: ids).map { UInt32($0) }
      group = try parameters.integer("group", in: ids).map { UInt32($0) }
      controlGroup = try parameters.string("control_group")
    } catch { return nil }
  }
}
