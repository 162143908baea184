import CLinux
import Supervisor

@main
struct Main {
  static func main() {
    linux_fill_standard_streams()
    let words = UnsafeBufferPointer(start: linux_arguments(), count: Int(linux_argument_count()))
    exit(status(of: Array(words)[...]))
  }

  private static func status(of words: ArraySlice<UnsafeMutablePointer<CChar>?>) -> Int32 {
    do {
      return try perform(words.dropFirst())
    } catch {
      switch error {
      case .help(let command):
        say(command.helpText)
        return Status.success.rawValue
      case .usage(let command, let message):
        let help = command.map { "swiftlet help \($0.name)" } ?? "swiftlet help"
        complain("swiftlet: \(message); see: \(help)")
        return Status.usage.rawValue
      case .failed(let status, let message):
        complain("swiftlet: \(message)")
        return status.rawValue
      }
    }
  }

  private static func perform(_ words: ArraySlice<UnsafeMutablePointer<CChar>?>) throws(Failure) -> Int32 {
    guard let first = words.first, let first else { throw .usage(nil, "a command is missing") }
    let name = String(cString: first)
    switch name {
    case "-h", "--help":
      say(Command.overview)
      return Status.success.rawValue
    case "-V", "--version":
      say("swiftlet \(version)\n")
      return Status.success.rawValue
    default: break
    }
    // The daemon's own way to start an applet's process: no command for people.
    if name == Worker.command { return Worker.run() }
    guard let command = Command.allCases.first(where: { $0.name.description == name }) else {
      throw .usage(nil, name.utf8.first == 0x2d ? "unknown option '\(name)'" : "unknown command '\(name)'")
    }
    let parsed = try parse(words, options: command.options, command: command)
    switch command {
    case .run: return try run(parsed)
    case .dtb: return try dtb(parsed)
    case .check: return try check(parsed)
    case .bench: return try bench(parsed)
    case .daemon: return try daemon(parsed)
    case .start: return try start(parsed)
    case .stop, .kill, .rm: return try endApplets(parsed, command)
    case .wait: return try wait(parsed)
    case .ps: return try list(parsed)
    case .inspect: return try inspect(parsed)
    case .logs: return try logs(parsed)
    case .attach: return try attach(parsed)
    case .events: return try events(parsed)
    case .metrics: return try metrics(parsed)
    case .bridge: return try bridge(parsed)
    case .help: return try help(parsed)
    }
  }
}

/// `swiftlet help [COMMAND]`.
private func help(_ words: ParsedWords) throws(Failure) -> Int32 {
  if words.operands.count > 1 { throw .usage(.help, "unexpected word '\(words.operands[1])'") }
  guard let name = words.operands.first else {
    say(Command.overview)
    return Status.success.rawValue
  }
  guard let command = Command.allCases.first(where: { $0.name.description == name }) else {
    throw .usage(nil, "unknown command '\(name)'")
  }
  say(command.helpText)
  return Status.success.rawValue
}
