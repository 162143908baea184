import Control
import JSON
import Launch

/// Arguments of `swiftlet update`.
struct UpdateArguments: CommandArguments, DescribesGuest, ConnectsToDaemon {
  var guest = GuestArguments()
  var socket: String?
  var isJSON = false
  private(set) var applets = AppletArguments(names: 1...1000)

  mutating func take(operands: [String]) throws(ArgumentError) {
    // The limits are checked as those of a guest are.
    _ = try guest.spec()
    guard guest.request.limits != GuestLimits() else {
      throw ArgumentError("no limit is given: give one such as --timeout 1h")
    }
    try applets.take(operands: operands)
  }

  static var options: [Option<UpdateArguments>] { timeLimitOptions() + processLimitOptions() + [socketOption()] }
}

/// `swiftlet update`.
func update(_ arguments: UpdateArguments) throws(Failure) -> Int32 {
  let limits = arguments.guest.request.limits.json
  return try forEach(arguments.applets.names) { name throws(Failure) in
    let parameters = JSONValue.object([JSONMember("name", .string(name)), JSONMember("limits", limits)])
    _ = try arguments.connect().call("SetLimits", parameters)
  }
}
