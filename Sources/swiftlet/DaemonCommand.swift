import CLinux
import Platform
import Supervisor

let daemonOptions = [
  Option("socket", short: "s", argument: "PATH", help: "listen there (default /run/swiftlet/control.sock)"),
  Option("state", argument: "FOLDER", help: "keep the applets' files there (default /run/swiftlet/applets)"),
  Option("group", argument: "GROUP", help: "let members of this group in, beside root and the daemon's own user"),
  Option("worker-user", argument: "USER", help: "run applets as this user, where the daemon is root"),
  Option("cgroup", argument: "FOLDER", help: "make applets' control groups there (default: what systemd delegates)"),
  Option("grace", argument: "DURATION", help: "time for applets to stop when the daemon ends (default 10s)"),
  Option("log-format", argument: "text|json", help: "how events are written to standard error (default text)"),
  Option("no-sandbox", help: "let applets' processes keep the rights that they do not need (docs/sandbox.md)"),
]

/// What the words of `swiftlet daemon` ask for.
func daemonRequest(_ words: ParsedWords) throws(Failure) -> DaemonOptions {
  var options = DaemonOptions()
  options.version = version.description
  for (index, value) in words.options {
    switch daemonOptions[index].long.description {
    case "socket": options.socket = value
    case "state": options.state = value
    case "group":
      var group: UInt32 = 0
      guard linux_group(value, &group) == 0 || number(value, &group) else {
        throw .usage(.daemon, "--group '\(value)' does not exist: /etc/group lists groups")
      }
      options.group = group
    case "worker-user":
      var (user, group): (UInt32, UInt32) = (0, 0)
      if linux_user(value, &user, &group) != 0 {
        guard number(value, &user) else {
          throw .usage(.daemon, "--worker-user '\(value)' does not exist: /etc/passwd lists users")
        }
        group = user
      }
      options.workerUser = user
      options.workerGroup = group
    case "cgroup": options.controlGroup = value
    case "grace":
      guard let grace = parseDuration(value), grace <= 3_600_000_000_000 else {
        throw .usage(.daemon, "--grace '\(value)' is no duration up to an hour: give one such as 10s")
      }
      options.endGrace = grace
    case "log-format":
      switch value {
      case "text": options.logFormat = .text
      case "json": options.logFormat = .json
      default: throw .usage(.daemon, "--log-format '\(value)' does not exist: give text or json")
      }
    default: options.isSandboxed = false
    }
  }
  if let word = words.operands.first { throw .usage(.daemon, "unexpected word '\(word)'") }
  return options
}

/// `swiftlet daemon`.
func daemon(_ words: ParsedWords) throws(Failure) -> Int32 {
  var options = try daemonRequest(words)
  options.takeHandedOver()
  do {
    try Daemon(options).run()
  } catch { throw .failed(.host, error.description) }
  return Status.success.rawValue
}

/// Reads a user's or group's number.
private func number(_ text: String, _ number: inout UInt32) -> Bool {
  guard let value = parseSize(text), let exact = UInt32(exactly: value) else { return false }
  number = exact
  return true
}
