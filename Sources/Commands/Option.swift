import CLinux
import Platform

/// An option's names, and its line in the help.
struct OptionText {
  let long: StaticString
  /// The letter of the short form; nil for none.
  let short: Character?
  /// Name of its argument in the help; nil if it has none.
  let argument: StaticString?
  /// One line for the help.
  let help: StaticString
}

/// An option of a command and its effect: an entry of the command's table.
struct Option<Arguments> {
  let text: OptionText
  /// Stores the option in the command's arguments. The string is empty if it has no argument.
  let take: (inout Arguments, String) throws(ArgumentError) -> Void

  init(
    _ long: StaticString, short: Character? = nil, argument: StaticString? = nil, help: StaticString,
    take: @escaping (inout Arguments, String) throws(ArgumentError) -> Void
  ) {
    text = OptionText(long: long, short: short, argument: argument, help: help)
    self.take = take
  }
}

/// A table of these tables. Growing an array of this size costs some system calls, at each start with options.
func table<Arguments>(of parts: [Option<Arguments>]...) -> [Option<Arguments>] {
  var all: [Option<Arguments>] = []
  all.reserveCapacity(parts.reduce(0) { $0 + $1.count })
  for part in parts { all.append(contentsOf: part) }
  return all
}

/// The parsed arguments of a command.
protocol CommandArguments {
  /// Stores the operands after all options, and checks the combination.
  mutating func take(operands: [String]) throws(ArgumentError)
}

/// Arguments of a command without any.
struct NoArguments: CommandArguments {
  func take(operands: [String]) throws(ArgumentError) {
    if let value = operands.first { throw ArgumentError("unexpected argument '\(value)'") }
  }
}

/// An error in a command's arguments, and its remedy.
struct ArgumentError: Error {
  let message: String
  init(_ message: String) { self.message = message }
}

/// The result of parsing.
enum Parsed<Arguments> {
  case arguments(Arguments)
  /// `--help` was given.
  case help
}

/// Parses the arguments of a command.
/// - Parameters:
///   - argv: the command's name, followed by its arguments.
///   - makeOptions: returns those of the command; `--help` is added. Not called if no argument looks like an option, as in most starts.
///   - defaults: the result for no arguments.
/// - Throws: `Failure.usage`.
func parse<Arguments: CommandArguments>(
  _ argv: ArraySlice<UnsafeMutablePointer<CChar>?>, _ command: Command,
  _ makeOptions: @autoclosure () -> [Option<Arguments>], _ defaults: Arguments
) throws(Failure) -> Parsed<Arguments> {
  let hasOptions = argv.contains { $0?.pointee == CChar(UInt8(ascii: "-")) }
  let options = hasOptions ? makeOptions() : []
  var table = OptionTable(count: options.count, endsAtOperand: command.endsAtOperand)
  for option in options { table.add(option.text) }
  do throws(ArgumentError) {
    guard let scanned = try table.scan(argv) else { return .help }
    // The daemon gets JSON, which is UTF-8.
    if command != .run, command != .dtb,
      let value = (scanned.options.map { $0.value } + scanned.operands).first(where: { !$0.isCharacters })
    {
      throw ArgumentError("'\(value)' is not UTF-8, which swiftlet \(command.name) requires")
    }
    var arguments = defaults
    for (index, value) in scanned.options { try options[index].take(&arguments, value) }
    try arguments.take(operands: scanned.operands)
    return .arguments(arguments)
  } catch { throw .usage(command, error.message) }
}

/// A command's options for getopt_long(3).
private struct OptionTable {
  private var entries: [option] = []
  private var letters: String
  /// The codes of short options, with the index of their option.
  private var shorts: [(code: Int32, index: Int)] = []

  /// The result of getopt_long(3) for the first long option.
  private static let firstCode: Int32 = 1000
  private static let helpCode: Int32 = 999

  init(count: Int, endsAtOperand: Bool) {
    // Reserved at once: growing an array costs some system calls at each start.
    entries.reserveCapacity(count + 2)
    letters = endsAtOperand ? "+:h" : ":h"
  }

  mutating func add(_ text: OptionText) {
    let index = entries.count
    entries.append(Self.entry(text.long, takesArgument: text.argument != nil, code: Self.firstCode + Int32(index)))
    guard let short = text.short, let code = short.asciiValue else { return }
    letters.append(short)
    if text.argument != nil { letters += ":" }
    shorts.append((Int32(code), index))
  }

  private static func entry(_ name: StaticString, takesArgument: Bool, code: Int32) -> option {
    // A static string is UTF-8, terminated by a zero byte, and never freed.
    let name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
    return option(name: name, has_arg: takesArgument ? required_argument : no_argument, flag: nil, val: code)
  }

  /// Finds options by their indices, in the given order, and operands.
  /// - Returns: nil if help was requested.
  mutating func scan(_ argv: ArraySlice<UnsafeMutablePointer<CChar>?>) throws(ArgumentError)
    -> (options: [(index: Int, value: String)], operands: [String])?
  {
    entries.append(Self.entry("help", takesArgument: false, code: Self.helpCode))
    entries.append(option())
    var arguments = Array(argv)
    let count = Int32(arguments.count)
    arguments.append(nil)
    var found: [(index: Int, value: String)] = []
    linux_getopt_begin()
    while true {
      var argument: UnsafePointer<CChar>?
      let code = letters.withCString { linux_getopt(count, &arguments, &entries, $0, &argument) }
      let value = argument.map { String(osBytes: $0) } ?? ""
      switch code {
      case -1:
        return (found, arguments[Int(linux_getopt_index())..<Int(count)].map { $0.map { String(osBytes: $0) } ?? "" })
      case Self.helpCode, Int32(UInt8(ascii: "h")): return nil
      case Int32(UInt8(ascii: ":")): throw ArgumentError("option '\(value)' needs an argument")
      case Int32(UInt8(ascii: "?")): throw ArgumentError("unknown option '\(value)'")
      case Self.firstCode...: found.append((Int(code - Self.firstCode), value))
      case let letter:
        // getopt_long(3) returns no letters other than these.
        for short in shorts where short.code == letter { found.append((short.index, value)) }
      }
    }
  }
}
