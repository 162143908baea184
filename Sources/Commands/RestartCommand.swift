import CLinux
import Control
import JSON
import Launch
import Platform

/// `swiftlet restart`.
func restart(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  try forEachName(of: arguments) { name throws(Failure) in
    let reply = try restart(name, arguments)
    if arguments.isJSON { try say(json: reply) }
  }
}

/// Restarts an applet. If the daemon reloads meanwhile, the call is repeated.
private func restart(_ name: String, _ arguments: AppletArguments) throws(Failure) -> JSONValue {
  var members = [JSONMember("name", .string(name))]
  if let grace = arguments.grace { members.append(JSONMember("grace", .integer(grace))) }
  let applet = try listed(arguments.connect()).first { $0.text("name") == name }
  // The daemon may have no copy of the image, and may be unable to open the file.
  if case .string(let path)? = applet?["image"], !path.isEmpty,
    let file = try? OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: LinuxKernel())
  {
    let sent = JSONValue.object(members + [JSONMember("image_descriptor", .integer(0))])
    let reply = try LastingCall("StartAgain", sent, file: file.number, arguments.connect).next()
    // If it has not arrived, the applet is on another machine, and so is its file.
    if !reply.lacksDescriptor { return try accepted(reply, of: "StartAgain") }
  }
  return try accepted(LastingCall("StartAgain", .object(members), arguments.connect).next(), of: "StartAgain")
}
