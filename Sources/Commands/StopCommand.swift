import Control
import JSON
import Launch

/// `swiftlet stop`.
func stop(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  try forEachName(of: arguments) { name throws(Failure) in
    var members = [JSONMember("name", .string(name))]
    if let grace = arguments.grace { members.append(JSONMember("grace", .integer(grace))) }
    try end("Stop", .object(members), arguments)
  }
}

/// `swiftlet kill`.
func kill(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  try forEachName(of: arguments) { name throws(Failure) in try end("Kill", named(name), arguments) }
}

/// `swiftlet rm`.
func remove(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  try forEachName(of: arguments) { name throws(Failure) in
    let reply = try requestRemoval(of: name, arguments.connect())
    guard arguments.isForced, reply.error == "org.swiftlet.Control.WrongState" else {
      _ = try accepted(reply, of: "Remove")
      return
    }
    let stopped = try LastingCall("Stop", named(name), arguments.connect).next()
    // It may have ended by itself meanwhile.
    if stopped.error != "org.swiftlet.Control.WrongState", stopped.error != "org.swiftlet.Control.NoSuchApplet" {
      _ = try accepted(stopped, of: "Stop")
    }
    // One that was started with --rm is gone.
    let last = try requestRemoval(of: name, arguments.connect())
    if last.error != "org.swiftlet.Control.NoSuchApplet" { _ = try accepted(last, of: "Remove") }
  }
}

private func requestRemoval(of name: String, _ client: Client) throws(Failure) -> Reply {
  try client.send("Remove", named(name))
  return try client.next()
}

/// Whether an applet has ended and is not started again.
func hasEnded(_ applet: JSONValue) -> Bool {
  switch applet.text("state") {
  case "exited", "stopped", "failed", "lost": true
  default: false
  }
}

/// Removes an applet that has ended.
/// - Returns: whether it was there, and still had ended.
private func removed(_ name: String, _ client: Client) throws(Failure) -> Bool {
  let reply = try requestRemoval(of: name, client)
  if reply.error == "org.swiftlet.Control.NoSuchApplet" || reply.error == "org.swiftlet.Control.WrongState" {
    return false
  }
  _ = try accepted(reply, of: "Remove")
  return true
}

/// `swiftlet prune`.
func prune(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let client = try arguments.connect()
  var names: [String] = []
  for applet in try listed(client) where hasEnded(applet) {
    let name = applet.text("name")
    guard try removed(name, client) else { continue }
    names.append(name)
    if !arguments.isJSON { try say(name + "\n") }
  }
  if arguments.isJSON {
    try say(json: .object([JSONMember("removed", .array(names.map { .string($0) }))]))
  }
  return ExitCode.success.rawValue
}

/// Ends an applet. If the daemon reloads meanwhile, the applet may have ended before the call is repeated.
private func end(_ method: String, _ parameters: JSONValue, _ arguments: AppletArguments) throws(Failure) {
  let call = try LastingCall(method, parameters, arguments.connect)
  var reply = try call.next()
  if call.isRepeated, reply.error == "org.swiftlet.Control.WrongState" {
    reply = try LastingCall("Wait", named(parameters.text("name")), arguments.connect).next()
  }
  let end = try accepted(reply, of: method)
  if arguments.isJSON { try say(json: end) }
}

/// Performs an action for each applet, even if it fails for some.
/// - Throws: the failure for a single name; for several, an error with the names of those that failed.
func forEachName(
  of arguments: AppletArguments, _ body: (String) throws(Failure) -> Void
) throws(Failure) -> Int32 { try forEach(arguments.names, body) }

/// The same.
func forEach(_ names: [String], _ body: (String) throws(Failure) -> Void) throws(Failure) -> Int32 {
  if names.count == 1 {
    try body(names[0])
    return ExitCode.success.rawValue
  }
  var failed: [String] = []
  var first: ExitCode?
  for name in names {
    do throws(Failure) { try body(name) } catch {
      guard case .failed(let code, let message) = error else { throw error }
      complain("swiftlet: \(message)")
      failed.append(name)
      first = first ?? code
    }
  }
  guard let first else { return ExitCode.success.rawValue }
  throw .failed(first, "\(failed.count) of \(names.count) failed: \(failed.joined(separator: ", "))")
}
