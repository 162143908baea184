import CLinux
import Control
import JSON
import Platform

/// The options and words of a command about applets that there are.
struct AppletWords {
  var socket: String?
  var isJSON = false
  var isFollowing = false
  var grace: Int64?
  let names: [String]

  /// - Parameter count: how many names there have to be.
  init(_ words: ParsedWords, _ command: Command, names count: ClosedRange<Int>) throws(Failure) {
    names = words.operands
    for (index, value) in words.options {
      switch command.options[index].long.description {
      case "socket": socket = value
      case "json": isJSON = true
      case "follow": isFollowing = true
      default:
        guard let grace = parseDuration(value), grace <= 3_600_000_000_000 else {
          throw .usage(command, "--grace '\(value)' is no duration up to an hour: give one such as 5s, or 0")
        }
        self.grace = grace / 1_000_000
      }
    }
    if names.count < count.lowerBound { throw .usage(command, "the applet's name is missing") }
    if names.count > count.upperBound { throw .usage(command, "unexpected word '\(names[count.upperBound])'") }
    for name in names where !AppletName.isValid(name) {
      throw .usage(command, "'\(name)' is no name of an applet: swiftlet ps lists them")
    }
  }

  func connect() throws(Failure) -> Client { try Client(socket: socket) }
}

/// `swiftlet stop`, `kill` and `rm`: the same for each name; the first failure ends it.
func endApplets(_ words: ParsedWords, _ command: Command) throws(Failure) -> Int32 {
  let words = try AppletWords(words, command, names: 1...1000)
  let client = try words.connect()
  for name in words.names {
    switch command {
    case .stop:
      var members = [JSONMember("name", .string(name))]
      if let grace = words.grace { members.append(JSONMember("grace", .integer(grace))) }
      let reply = try client.call("Stop", .object(members))
      if words.isJSON { say(json: reply) }
    case .kill:
      let reply = try client.call("Kill", named(name))
      if words.isJSON { say(json: reply) }
    default: _ = try client.call("Remove", named(name))
    }
  }
  return Status.success.rawValue
}

/// `swiftlet wait`: ends with the status that `swiftlet run` would have ended with.
func wait(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .wait, names: 1...1)
  let client = try words.connect()
  try client.send("Wait", named(words.names[0]))
  return try readEnd(of: words.names[0], client, isJSON: words.isJSON)
}

/// A failure with a status that is not the applet's.
private func ofOwnStatus(_ failure: Failure) -> Failure {
  if case .failed(_, let message) = failure { return .failed(.host, message) }
  return failure
}

/// Takes the reply to Wait.
private func readEnd(of name: String, _ client: Client, isJSON: Bool = false) throws(Failure) -> Int32 {
  let reply: JSONValue
  do { reply = try accepted(client.next()) } catch { throw ofOwnStatus(error) }
  let end = reply["end"] ?? .null
  if isJSON {
    say(json: reply)
  } else if end["status"] == nil {
    complain("swiftlet: \(name): \(end.text("reason"))")
  }
  return Int32(truncatingIfNeeded: end.number("code"))
}

/// `swiftlet ps`.
func list(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .ps, names: 0...0)
  let reply = try words.connect().call("List")
  if words.isJSON { say(json: reply) } else { say(listing(reply, now: linux_clock(CLOCK_REALTIME) / 1_000_000)) }
  return Status.success.rawValue
}

/// A line for each applet.
/// - Parameter now: milliseconds since 1970.
func listing(_ reply: JSONValue, now: Int64) -> String {
  var rows = [["NAME", "STATE", "PID", "AGE", "RESTARTS", "IMAGE"]]
  for applet in reply.list("applets") {
    let state = applet.text("state")
    rows.append([
      applet.text("name"), state == "exited" ? "exited \(applet["end"]?.number("code") ?? 0)" : state,
      applet["pid"] == nil ? "-" : "\(applet.number("pid"))", age(from: applet.number("started"), to: now),
      "\(applet.number("restarts"))", applet.text("image"),
    ])
  }
  return table(rows)
}

/// The time between two moments in the largest unit of which there is one.
private func age(from start: Int64, to now: Int64) -> String {
  let seconds = start < 0 || now < start ? 0 : (now - start) / 1000
  switch seconds {
  case 0..<60: return "\(seconds)s"
  case 60..<3600: return "\(seconds / 60)m"
  case 3600..<86400: return "\(seconds / 3600)h"
  default: return "\(seconds / 86400)d"
  }
}

/// Rows of which each column is as wide as its widest word.
func table(_ rows: [[String]]) -> String {
  var widths: [Int] = []
  for row in rows {
    for (column, word) in row.enumerated() {
      if column == widths.count { widths.append(0) }
      widths[column] = max(widths[column], word.utf8.count)
    }
  }
  var text = ""
  for row in rows {
    for (column, word) in row.enumerated() {
      text += column == row.count - 1 ? word + "\n" : padded(word, to: widths[column] + 2)
    }
  }
  return text
}

/// `swiftlet inspect`.
func inspect(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .inspect, names: 1...1)
  let reply = try words.connect().call("Inspect", named(words.names[0]))
  if words.isJSON { say(json: reply) } else { say(inspection(reply)) }
  return Status.success.rawValue
}

/// A line for each thing that is known of an applet.
func inspection(_ reply: JSONValue) -> String {
  let applet = reply["applet"] ?? .null
  var rows: [[String]] = []
  for name in ["name", "state", "pid", "image", "memory", "restarts"] where applet[name] != nil {
    rows.append([name, plain(applet[name])])
  }
  if let end = applet["end"] { rows += [["end", "status \(end.number("code")): \(end.text("reason"))"]] }
  for (name, label) in [("calls", "calls"), ("cpu_time", "processor ms"), ("resident", "resident"), ("symbol", "in")] {
    if let value = reply[name] { rows.append([label, plain(value)]) }
  }
  for region in reply.list("regions") {
    rows.append([
      "region", "\(region.text("start")) \(region.text("access")) \(region.number("size")) \(region.text("use"))",
    ])
  }
  for register in reply.list("registers") {
    let processor = register["processor"] == nil ? "" : "\(register.number("processor")):"
    rows.append([processor + register.text("name"), register.text("value")])
  }
  return table(rows)
}

private func plain(_ value: JSONValue?) -> String {
  switch value {
  case .integer(let number): "\(number)"
  case .string(let text): text.printable()
  default: "-"
  }
}

/// `swiftlet logs`.
func logs(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .logs, names: 1...1)
  let client = try words.connect()
  try follow(words.names[0], client, toItsEnd: words.isFollowing)
  while try !printNext(client) {}
  return Status.success.rawValue
}

private func follow(_ name: String, _ client: Client, toItsEnd: Bool) throws(Failure) {
  let parameters: JSONValue = .object([
    JSONMember("name", .string(name)), JSONMember("follow", .bool(toItsEnd)),
  ])
  try client.send("Console", parameters, more: true)
}

/// Prints the next part of a console.
/// - Returns: whether it was the last.
private func printNext(_ client: Client) throws(Failure) -> Bool {
  let reply = try client.next()
  let parameters = try accepted(reply)
  guard case .string(let text)? = parameters["data"], let bytes = Base64.decode(text) else {
    throw .failed(.host, "the daemon's reply is no base64")
  }
  say(bytes: bytes)
  return !reply.continues
}

/// `swiftlet attach`: output from the beginning, input from here, and its status at the end.
func attach(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .attach, names: 1...1)
  do { return try attach(to: words.names[0], words) } catch { throw ofOwnStatus(error) }
}

private func attach(to name: String, _ words: AppletWords) throws(Failure) -> Int32 {
  let output = try words.connect()
  let requests = try words.connect()
  // Asked before it ends: one that was started with --rm is not known any more then.
  let end = try words.connect()
  try end.send("Wait", named(name))
  try follow(name, output, toItsEnd: true)
  var input = InputSource()
  while true {
    var wanted = [
      pollfd(fd: output.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: input.isWanted ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0),
    ]
    // What the applet did not take is offered again after a while.
    _ = linux_poll_for(&wanted, wanted.count, input.waits ? 50_000_000 : -1)
    var hasOutput = wanted[0].revents != 0
    while hasOutput {
      if try printNext(output) { return try readEnd(of: name, end) }
      // Several replies may come at once.
      hasOutput = output.hasMore
    }
    if wanted[1].revents != 0 { input.receive() }
    try input.send(to: name, requests)
  }
}

/// Standard input on its way to an applet.
private struct InputSource {
  private var bytes: [UInt8] = []
  private var hasEnded = false
  private var isDone = false

  var isWanted: Bool { !hasEnded && bytes.isEmpty }
  var waits: Bool { !isDone && (hasEnded || !bytes.isEmpty) }

  mutating func receive() {
    var room = [UInt8](repeating: 0, count: 4096)
    let result = room.withUnsafeMutableBytes { linux_read(STDIN_FILENO, $0.baseAddress, $0.count) }
    if result == -Int(EINTR) || result == -Int(EAGAIN) { return }
    if result > 0 { bytes = Array(room[..<result]) } else { hasEnded = true }
  }

  mutating func send(to name: String, _ client: Client) throws(Failure) {
    guard !isDone, hasEnded || !bytes.isEmpty else { return }
    var members = [JSONMember("name", .string(name)), JSONMember("data", .string(Base64.encode(bytes)))]
    if hasEnded { members.append(JSONMember("end", .bool(true))) }
    try client.send("Input", .object(members))
    let reply = try client.next()
    switch reply.error {
    // It has ended meanwhile, as its console will tell, and may be forgotten already.
    case "org.swiftlet.Control.WrongState", "org.swiftlet.Control.NoSuchApplet":
      isDone = true
      bytes = []
      return
    // The daemon is short of something: it is asked again.
    case "org.swiftlet.Control.HostFailure": return
    default: break
    }
    bytes.removeFirst(max(min(Int(try accepted(reply).number("taken")), bytes.count), 0))
    if hasEnded, bytes.isEmpty { isDone = true }
  }
}

/// `swiftlet events`.
func events(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .events, names: 0...0)
  let client = try words.connect()
  try client.send("Events", more: true)
  while true {
    let event = try accepted(client.next())
    if words.isJSON {
      say(json: event)
    } else if event["event"] != nil {
      say(line(of: event))
    }
  }
}

func line(of event: JSONValue) -> String {
  padded("\(event.number("time"))", to: 15) + padded(event.text("event"), to: 13)
    + padded(event.text("name"), to: 20) + event.text("detail") + "\n"
}

/// `swiftlet metrics`.
func metrics(_ words: ParsedWords) throws(Failure) -> Int32 {
  let words = try AppletWords(words, .metrics, names: 0...0)
  let reply = try words.connect().call("Metrics")
  if words.isJSON { say(json: reply) } else { say(figures(reply)) }
  return Status.success.rawValue
}

/// A line for each number.
func figures(_ reply: JSONValue) -> String {
  guard case .object(let members) = reply else { return "" }
  return table(members.map { [$0.name.printable(), plain($0.value)] })
}
