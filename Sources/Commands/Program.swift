import CLinux
import Launch
import Supervisor

/// The program `swiftlet`.
public enum Program {
  /// Executes the command in the process's arguments, and exits with its status.
  // Not compiled again in the executable's module, with all that it calls.
  #if compiler(>=6.3)
    @export(interface)
  #endif
  public static func main() -> Never {
    linux_ensure_stack()
    performArguments()
  }

  // A separate frame, which is on the stack only from here on.
  @inline(never) private static func performArguments() -> Never {
    linux_fill_standard_streams()
    let argv = UnsafeBufferPointer(start: linux_arguments(), count: Int(linux_argument_count()))
    exit(status(of: Array(argv)[...]))
  }

  private static func status(of argv: ArraySlice<UnsafeMutablePointer<CChar>?>) -> Int32 {
    do {
      return try perform(argv.dropFirst())
    } catch {
      switch error {
      case .usage(let command, let message):
        let help = command.map { "swiftlet help \($0.name)" } ?? "swiftlet help"
        complain("swiftlet: \(message); see: \(help)")
        return ExitCode.usage.rawValue
      case .failed(let code, let message):
        complain("swiftlet: \(message)")
        return code.rawValue
      }
    }
  }

  private static func perform(_ argv: ArraySlice<UnsafeMutablePointer<CChar>?>) throws(Failure) -> Int32 {
    guard let first = argv.first, let first else { throw .usage(nil, "a command is missing") }
    let name = String(cString: first)
    switch name {
    case "-h", "--help":
      try say(Command.overview)
      return ExitCode.success.rawValue
    case "-V", "--version":
      try say("swiftlet \(version)\n")
      return ExitCode.success.rawValue
    // Used by the daemon to start an applet's process; not for users.
    case Worker.command: return Worker.run()
    // Used by the daemon to apply its directory of declarations.
    case Daemon.declarationCommand:
      return applyDeclarations(argv.dropFirst().compactMap { $0.map { String(cString: $0) } })
    default: return try perform(try command(name), argv)
    }
  }

  private static func command(_ name: String) throws(Failure) -> Command {
    guard let command = Command.allCases.first(where: { $0.name.description == name }) else {
      throw .usage(nil, name.utf8.first == UInt8(ascii: "-") ? "unknown option '\(name)'" : "unknown command '\(name)'")
    }
    return command
  }

  private static func perform(_ command: Command, _ argv: ArraySlice<UnsafeMutablePointer<CChar>?>)
    throws(Failure) -> Int32
  {
    /// Parses the arguments, and executes the command with them.
    func take<Arguments: CommandArguments>(
      _ options: @autoclosure () -> [Option<Arguments>], _ defaults: Arguments,
      _ body: (Arguments) throws(Failure) -> Int32
    ) throws(Failure) -> Int32 {
      switch try parse(argv, command, options(), defaults) {
      case .arguments(let arguments): return try body(arguments)
      case .help:
        try say(command.helpText)
        return ExitCode.success.rawValue
      }
    }
    func takeNames(
      _ count: ClosedRange<Int>, _ options: @autoclosure () -> [Option<AppletArguments>],
      _ body: (AppletArguments) throws(Failure) -> Int32
    ) throws(Failure) -> Int32 { try take(options(), AppletArguments(names: count), body) }

    let one = 1...1, any = 1...1000, none = 0...0
    switch command {
    case .run: return try take(RunArguments.options, RunArguments(), run)
    case .dtb: return try take(RunArguments.dtbOptions, RunArguments(), dtb)
    case .check: return try take(CheckArguments.options, CheckArguments(), check)
    case .bench: return try take(BenchArguments.options, BenchArguments(), bench)
    case .daemon: return try take(DaemonArguments.options, DaemonArguments(), daemon)
    case .apply: return try take(ApplyArguments.options, ApplyArguments(), apply)
    case .start: return try take(StartArguments.options, StartArguments(), start)
    case .restart: return try takeNames(any, AppletArguments.stopOptions, restart)
    case .stop: return try takeNames(any, AppletArguments.stopOptions, stop)
    case .kill: return try takeNames(any, AppletArguments.options, kill)
    case .update: return try take(UpdateArguments.options, UpdateArguments(), update)
    case .rm: return try takeNames(any, AppletArguments.removeOptions, remove)
    case .prune: return try takeNames(none, AppletArguments.options, prune)
    case .wait: return try takeNames(any, AppletArguments.options, wait)
    case .ps: return try takeNames(none, AppletArguments.listOptions, list)
    case .inspect: return try takeNames(any, AppletArguments.options, inspect)
    case .stats: return try takeNames(0...1000, AppletArguments.statisticsOptions, stats)
    // Each has a connection, of which a user has a limited number.
    case .logs: return try takeNames(1...32, AppletArguments.logOptions, logs)
    case .attach: return try takeNames(one, AppletArguments.socketOptions, attach)
    case .events: return try takeNames(none, AppletArguments.options, events)
    case .metrics: return try take(MetricsArguments.options, MetricsArguments(), metrics)
    case .bridge: return try takeNames(none, AppletArguments.socketOptions, bridge)
    case .help: return try take(HelpArguments.options, HelpArguments(), help)
    }
  }
}

/// Arguments of `swiftlet help`.
struct HelpArguments: CommandArguments {
  fileprivate var command: String?
  fileprivate var isAll = false

  mutating func take(operands: [String]) throws(ArgumentError) {
    let unexpected = isAll ? operands.first : operands.dropFirst().first
    if let unexpected { throw ArgumentError("unexpected argument '\(unexpected)'") }
    command = operands.first
  }

  static var options: [Option<HelpArguments>] {
    [Option("all", short: "a", help: "print the help for all commands") { arguments, _ in arguments.isAll = true }]
  }
}

/// `swiftlet help [COMMAND]`.
private func help(_ arguments: HelpArguments) throws(Failure) -> Int32 {
  if arguments.isAll {
    try say(Command.allCases.reduce(Command.overview) { $0 + "\n\n" + $1.helpText })
  } else if let name = arguments.command {
    guard let command = Command.allCases.first(where: { $0.name.description == name }) else {
      throw .usage(nil, "unknown command '\(name)'")
    }
    try say(command.helpText)
  } else {
    try say(Command.overview)
  }
  return ExitCode.success.rawValue
}
