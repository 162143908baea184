import CLinux
import Control

/// Arguments of a command that is a client of the daemon.
protocol ConnectsToDaemon {
  /// Path of the daemon's socket; nil for $SWIFTLET_SOCKET or the default.
  var socket: String? { get set }
  /// Whether replies are printed as JSON.
  var isJSON: Bool { get set }
}

extension ConnectsToDaemon {
  func connect() throws(Failure) -> Client { try Client(socket: socket) }
}

func socketOption<Arguments: ConnectsToDaemon>() -> Option<Arguments> {
  Option(
    "socket", short: "s", argument: "PATH",
    help: "the daemon's socket (default: $SWIFTLET_SOCKET, the user's daemon's, or the system's)"
  ) { arguments, value in
    arguments.socket = value
  }
}

func jsonOption<Arguments: ConnectsToDaemon>() -> Option<Arguments> {
  Option("json", help: "print the reply as JSON") { arguments, _ in arguments.isJSON = true }
}

/// Arguments of a command about applets in the daemon.
struct AppletArguments: CommandArguments, ConnectsToDaemon {
  var socket: String?
  var isJSON = false
  var isFollowing = false
  /// Time in milliseconds for an applet to stop; nil for the daemon's default.
  var grace: Int64?
  /// Whether `rm` stops applets.
  var isForced = false
  /// Whether only names are printed.
  var isQuiet = false
  /// Which applets are listed.
  var filters: [AppletFilter] = []
  /// Number of lines of output to begin with; nil for all.
  var tail: Int?
  /// Whether each line of output has its time.
  var hasTimes = false
  /// The time from which on output is printed, in milliseconds since 1970; nil for all.
  var since: Int64?
  /// Whether figures are printed again and again.
  var isStreaming = true
  private(set) var names: [String] = []
  /// Allowed number of names.
  private let count: ClosedRange<Int>

  init(names count: ClosedRange<Int>) { self.count = count }

  mutating func take(operands: [String]) throws(ArgumentError) {
    if operands.count < count.lowerBound { throw ArgumentError("the applet's name is missing") }
    if operands.count > count.upperBound { throw ArgumentError("unexpected argument '\(operands[count.upperBound])'") }
    for name in operands where !AppletName.isValid(name) {
      throw ArgumentError("'\(name)' is not a valid name of an applet: see swiftlet ps")
    }
    names = operands
  }

  static var socketOptions: [Option<AppletArguments>] { [socketOption()] }
  static var options: [Option<AppletArguments>] { [socketOption(), jsonOption()] }

  static var stopOptions: [Option<AppletArguments>] {
    [
      Option("grace", short: "g", argument: "DURATION", help: "time to stop before it is killed (default 5s)") {
        arguments, value throws(ArgumentError) in
        guard let grace = parseDuration(value), grace <= 3_600_000_000_000 else {
          throw ArgumentError("--grace '\(value)' is not a duration of up to an hour: give one such as 5s, or 0")
        }
        arguments.grace = grace / 1_000_000
      },
      socketOption(), jsonOption(),
    ]
  }

  static var removeOptions: [Option<AppletArguments>] {
    [
      Option("force", short: "f", help: "stop it first, if it has not ended") { arguments, _ in
        arguments.isForced = true
      },
      socketOption(),
    ]
  }

  static var listOptions: [Option<AppletArguments>] {
    [
      Option(
        "filter", short: "f", argument: "FILTER", help: "only those with state=STATE or name=PATTERN; may be repeated"
      ) {
        arguments, value throws(ArgumentError) in
        guard let filter = AppletFilter(value) else {
          throw ArgumentError(
            "--filter '\(value)' is invalid: give name= and a pattern such as 'a*', or state= and one of "
              + AppletFilter.states.joined(separator: ", "))
        }
        arguments.filters.append(filter)
      },
      Option("quiet", short: "q", help: "print only names") { arguments, _ in arguments.isQuiet = true },
      socketOption(), jsonOption(),
    ]
  }

  static var logOptions: [Option<AppletArguments>] {
    [
      Option("follow", short: "f", help: "continue until the applet has ended") { arguments, _ in
        arguments.isFollowing = true
      },
      Option("tail", short: "n", argument: "N", help: "begin with the last N lines (default: with all)") {
        arguments, value throws(ArgumentError) in
        guard let lines = parseSize(value), let lines = Int(exactly: lines) else {
          throw ArgumentError("--tail '\(value)' is not a number of lines: give one such as 10")
        }
        arguments.tail = lines
      },
      Option("since", argument: "TIME", help: "only output since a time, or a duration ago") {
        arguments, value throws(ArgumentError) in
        guard let since = parseTime(value, now: linux_clock(CLOCK_REALTIME) / 1_000_000) else {
          throw ArgumentError(
            "--since '\(value)' is not a time: give a duration such as 10m, or a time such as '2026-01-31 12:00'")
        }
        arguments.since = since
      },
      Option("timestamps", short: "t", help: "print the time of each line") { arguments, _ in
        arguments.hasTimes = true
      },
      socketOption(),
    ]
  }

  static var statisticsOptions: [Option<AppletArguments>] {
    [
      Option("no-stream", help: "print the figures of one second, and exit") { arguments, _ in
        arguments.isStreaming = false
      },
      socketOption(), jsonOption(),
    ]
  }
}
