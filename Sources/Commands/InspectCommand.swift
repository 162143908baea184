import CLinux
import Control
import JSON
import Launch

/// `swiftlet inspect`.
func inspect(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  var isFirst = true
  return try forEachName(of: arguments) { name throws(Failure) in
    let reply = try arguments.connect().call("Inspect", named(name))
    if arguments.isJSON {
      try say(json: reply)
    } else {
      try say((isFirst ? "" : "\n") + inspection(reply, now: linux_clock(CLOCK_REALTIME) / 1_000_000))
    }
    isFirst = false
  }
}

/// The details of an applet, one on a line.
/// - Parameter now: milliseconds since 1970.
func inspection(_ reply: JSONValue, now: Int64) -> String {
  let applet = reply["applet"] ?? .null
  var rows: [[String]] = []
  for name in ["name", "state", "pid", "image"] where applet[name] != nil { rows.append([name, plain(applet[name])]) }
  let arguments = reply.list("arguments")
  if !arguments.isEmpty { rows.append(["arguments", arguments.map { quoted($0) }.joined(separator: " ")]) }
  if applet["memory"] != nil { rows.append(["memory", plain(applet["memory"])]) }
  for name in ["started", "ended"] where applet[name] != nil {
    let time = applet.number(name)
    rows.append([name, "\(timeText(time)) (\(age(from: time, to: now)) ago)"])
  }
  if applet["restarts"] != nil { rows.append(["restarts", plain(applet["restarts"])]) }
  if let policy = reply["restart"] { rows.append(["restart", policyText(policy)]) }
  if applet["next_start"] != nil {
    let time = applet.number("next_start")
    rows.append(["next start", "\(timeText(time)) (in \(age(from: now, to: time)))"])
  }
  rows += limitRows(reply["limits"] ?? .null)
  if let declared = applet["declared"] { rows.append(["declared", "in \(declared.text("directory"))"]) }
  if let end = applet["end"] { rows += [["end", "status \(end.number("code")): \(end.text("reason"))"]] }
  for (name, label) in [("calls", "calls"), ("cpu_time", "CPU ms"), ("resident", "resident"), ("symbol", "in")] {
    if let value = reply[name] { rows.append([label, plain(value)]) }
  }
  for region in reply.list("regions") {
    rows.append([
      "region", "\(region.text("start")) \(region.text("access")) \(region.number("size")) \(region.text("use"))",
    ])
  }
  for register in reply.list("registers") {
    let cpu = register["processor"] == nil ? "" : "\(register.number("processor")):"
    rows.append([cpu + register.text("name"), register.text("value")])
  }
  return table(rows)
}

func plain(_ value: JSONValue?) -> String {
  switch value {
  case .integer(let number): "\(number)"
  case .string(let text): text.printable()
  case .null, .bool, .real, .array, .object, nil: "-"
  }
}

/// An argument as a shell takes it.
private func quoted(_ argument: JSONValue) -> String {
  let text = plain(argument)
  let isPlain = !text.isEmpty && text.utf8.allSatisfy { isPlainInShell($0) }
  if isPlain { return text }
  return "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
}

private func isPlainInShell(_ byte: UInt8) -> Bool {
  switch byte {
  case UInt8(ascii: "+")...UInt8(ascii: ":"), UInt8(ascii: "@")...UInt8(ascii: "Z"),
    UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "="), UInt8(ascii: "_"), 0x80...0xff:
    true
  default: false
  }
}

/// A restart policy in the words of `swiftlet start`.
private func policyText(_ policy: JSONValue) -> String {
  let name = policy.text("policy") == "on_failure" ? "on-failure" : policy.text("policy")
  guard name != "no" else { return name }
  let limit = policy.number("limit")
  return name + (limit > 0 ? ":\(limit)" : "") + ", after \(policy.number("delay")) ms"
}

/// Limits, by the names of their options.
private func limitRows(_ limits: JSONValue) -> [[String]] {
  var rows: [[String]] = []
  func add(_ name: String, _ option: String, _ unit: String = "") {
    if limits[name] != nil { rows.append([option, "\(limits.number(name))\(unit)"]) }
  }
  add("deadline", "timeout", " ms")
  add("cpu_budget", "cpu-budget", " ms")
  add("call_budget", "call-budget", " ms")
  add("process_memory", "process-memory")
  add("cpu_percent", "cpu-percent")
  add("threads", "threads")
  return rows
}
