import CLinux
import Control
import JSON
import Launch

/// `swiftlet ps`.
func list(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let applets = try listed(arguments.connect()).filter { AppletFilter.admit(arguments.filters, $0) }
  let reply = JSONValue.object([JSONMember("applets", .array(applets))])
  if arguments.isJSON {
    try say(json: reply)
  } else if arguments.isQuiet {
    try say(applets.reduce("") { $0 + $1.text("name") + "\n" })
  } else {
    try say(listing(reply, now: linux_clock(CLOCK_REALTIME) / 1_000_000, width: terminalWidth()))
  }
  return ExitCode.success.rawValue
}

/// All applets, as a method without parameters returns them.
func listed(_ client: Client, by method: String = "List") throws(Failure) -> [JSONValue] {
  // In several replies: the list may be too long for one.
  try client.send(method, more: true)
  var applets: [JSONValue] = []
  while true {
    let piece = try client.next()
    applets += try accepted(piece).list("applets")
    if !piece.continues { return applets }
  }
}

/// Which applets are listed.
enum AppletFilter: Equatable {
  case state(String)
  /// A pattern of the shell.
  case name(String)

  /// The interface's type State.
  static var states: [String] { ["starting", "running", "waiting", "exited", "stopped", "failed", "lost"] }

  /// - Returns: nil if it is neither state= nor name=, or there is no such state.
  init?(_ text: String) {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[1].isEmpty else { return nil }
    let value = String(parts[1])
    switch parts[0] {
    case "state" where Self.states.contains(value): self = .state(value)
    case "name": self = .name(value)
    default: return nil
    }
  }

  private var isState: Bool { if case .state = self { true } else { false } }

  private func admits(_ applet: JSONValue) -> Bool {
    switch self {
    case .state(let state): applet.text("state") == state
    case .name(let pattern): linux_matches(pattern, applet.text("name"))
    }
  }

  /// Whether an applet has one of the states and one of the names.
  static func admit(_ filters: [AppletFilter], _ applet: JSONValue) -> Bool {
    [true, false].allSatisfy { isState in
      let some = filters.filter { $0.isState == isState }
      return some.isEmpty || some.contains { $0.admits(applet) }
    }
  }
}

/// One line for each applet.
/// - Parameters:
///   - now: milliseconds since 1970.
///   - width: that of the terminal; nil for no limit.
func listing(_ reply: JSONValue, now: Int64, width: Int? = nil) -> String {
  var rows = [["NAME", "STATE", "EXIT", "PID", "AGE", "RESTARTS", "IMAGE"]]
  for applet in reply.list("applets") {
    rows.append([
      applet.text("name"), applet.text("state"), applet["end"].map { "\($0.number("code"))" } ?? "-",
      applet["pid"] == nil ? "-" : "\(applet.number("pid"))", age(from: applet.number("started"), to: now),
      "\(applet.number("restarts"))", applet.text("image"),
    ])
  }
  return table(fitted(rows, to: width))
}

/// The time between two times, in the largest unit that is not zero.
func age(from start: Int64, to now: Int64) -> String {
  let seconds = start < 0 || now < start ? 0 : (now - start) / 1000
  switch seconds {
  case 0..<60: return "\(seconds)s"
  case 60..<3600: return "\(seconds / 60)m"
  case 3600..<86400: return "\(seconds / 3600)h"
  default: return "\(seconds / 86400)d"
  }
}
