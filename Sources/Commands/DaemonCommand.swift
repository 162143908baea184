import CLinux
import Launch
import Platform
import Supervisor

/// Arguments of `swiftlet daemon`.
struct DaemonArguments: CommandArguments {
  var daemon = DaemonOptions()
  /// Paths that are given; the others are those of the system or of the user.
  var (socket, state): (String?, String?)
  var needsWholeSandbox = false

  mutating func take(operands: [String]) throws(ArgumentError) { try NoArguments().take(operands: operands) }

  static var options: [Option<DaemonArguments>] {
    [
      Option("socket", short: "s", argument: "PATH", help: "path of the socket (default /run/swiftlet/control.sock)") {
        arguments, value in
        arguments.socket = value
      },
      Option("state", argument: "DIRECTORY", help: "directory for the applets' files (default /run/swiftlet/applets)") {
        arguments, value in
        arguments.state = value
      },
      Option("applets", argument: "DIRECTORY", help: "directory of declared applets (default /etc/swiftlet/applets.d)")
      {
        arguments, value in
        arguments.daemon.applets = value
      },
      Option("group", argument: "GROUP", help: "allow this group to connect, in addition to root and the daemon's user")
      {
        arguments, value throws(ArgumentError) in
        var group: UInt32 = 0
        guard linux_group(value, &group) == 0 || number(value, &group) else {
          throw ArgumentError("--group '\(value)' does not exist: see /etc/group")
        }
        arguments.daemon.group = group
      },
      Option("worker-user", argument: "USER", help: "run applets as this user, if the daemon is root") {
        arguments, value throws(ArgumentError) in
        var (user, group): (UInt32, UInt32) = (0, 0)
        if linux_user(value, &user, &group) != 0 {
          guard number(value, &user) else {
            throw ArgumentError("--worker-user '\(value)' does not exist: see /etc/passwd")
          }
          group = user
        }
        arguments.daemon.workerUser = user
        arguments.daemon.workerGroup = group
      },
      Option(
        "cgroup", argument: "DIRECTORY", help: "parent of the applets' control groups (default: delegated by systemd)"
      ) {
        arguments, value in
        arguments.daemon.controlGroup = value
      },
      Option("grace", argument: "DURATION", help: "time for applets to stop when the daemon ends (default 10s)") {
        arguments, value throws(ArgumentError) in
        arguments.daemon.endGrace = try grace(value, such: "10s")
      },
      Option("log-format", argument: "text|json", help: "format of events on standard error (default text)") {
        arguments, value throws(ArgumentError) in
        switch value {
        case "text": arguments.daemon.logFormat = .text
        case "json": arguments.daemon.logFormat = .json
        default: throw ArgumentError("--log-format '\(value)' is invalid: give text or json")
        }
      },
      Option("no-sandbox", help: "run applets without the sandbox (docs/sandbox.md)") {
        arguments, _ in
        arguments.daemon.isSandboxed = false
      },
      Option("require-sandbox", help: "fail if the kernel lacks a part of the sandbox (Landlock)") {
        arguments, _ in
        arguments.needsWholeSandbox = true
      },
    ]
  }
}

/// `swiftlet daemon`.
func daemon(_ arguments: DaemonArguments) throws(Failure) -> Int32 {
  var options = arguments.daemon
  options.applets = options.applets ?? (UserPaths.isRoot ? "/etc/swiftlet/applets.d" : UserPaths.applets)
  if UserPaths.isRoot {
    options.socket = arguments.socket ?? options.socket
    options.state = arguments.state ?? options.state
  } else {
    if let socket = arguments.socket { options.socket = socket } else { options.socket = try ownSocket() }
    guard let state = arguments.state ?? UserPaths.state else {
      throw .failed(.host, "neither XDG_STATE_HOME nor HOME is set: give --state")
    }
    options.state = state
  }
  options.version = version.description
  options.takeHandedOver()
  if arguments.needsWholeSandbox {
    do { try Sandbox.requireWhole() } catch { throw .failed(.host, error.description) }
  }
  do {
    try Daemon(options).run()
  } catch { throw .failed(.host, error.description) }
  return ExitCode.success.rawValue
}

/// The socket of a user's own daemon, whose directory is made.
private func ownSocket() throws(Failure) -> String {
  guard let directory = UserPaths.runtimeDirectory, let socket = UserPaths.socket else {
    throw .failed(.host, "XDG_RUNTIME_DIR is not set, which a login through systemd-logind does: give --socket")
  }
  // If it cannot be made, the socket cannot be made either.
  _ = linux_mkdir(directory, 0o700)
  return socket
}

/// Parses a time to stop, in nanoseconds.
func grace(_ value: String, such example: StaticString) throws(ArgumentError) -> Int64 {
  guard let grace = parseDuration(value), grace <= 3_600_000_000_000 else {
    throw ArgumentError("--grace '\(value)' is not a duration of up to an hour: give one such as \(example)")
  }
  return grace
}

/// Parses the number of a user or group. The highest means none in system calls (setresuid(2), chown(2)).
private func number(_ text: String, _ number: inout UInt32) -> Bool {
  guard let value = parseSize(text), let exact = UInt32(exactly: value), exact != .max else { return false }
  number = exact
  return true
}
