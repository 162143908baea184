import CLinux

/// An option of a command: what getopt_long(3) needs to find it and what the help says of it.
struct Option {
  let long: StaticString
  /// The letter of the short form; nil for none.
  let short: Character?
  /// Name of its argument in the help; nil where it takes none.
  let argument: StaticString?
  /// One line for the help.
  let help: StaticString

  init(_ long: StaticString, short: Character? = nil, argument: StaticString? = nil, help: StaticString) {
    self.long = long
    self.short = short
    self.argument = argument
    self.help = help
  }
}

/// What a command's words came to: its options in the order given, and the words behind them.
struct ParsedWords {
  /// Index in the command's options, and the argument where the option takes one.
  let options: [(index: Int, value: String)]
  /// Words from the first that is no option on.
  let operands: [String]
}

/// Reads the options of a command.
/// - Parameters:
///   - words: the command's name, then its words.
///   - options: what it knows; `--help` is added.
/// - Throws: `Failure.usage`; for `--help`, `Failure.help`.
func parse(_ words: ArraySlice<UnsafeMutablePointer<CChar>?>, options: [Option], command: Command) throws(Failure)
  -> ParsedWords
{
  let firstCode: Int32 = 1000
  let helpCode: Int32 = 999
  // Room for all at once: an array that grows costs a start some system calls.
  var table: [option] = []
  table.reserveCapacity(options.count + 2)
  // What stands behind an applet's file is the applet's; elsewhere options may stand anywhere ("+": they may not).
  var shorts = command == .run || command == .start ? "+:h" : ":h"
  for (index, entry) in options.enumerated() {
    table.append(cOption(entry.long, takesArgument: entry.argument != nil, code: firstCode + Int32(index)))
    if let short = entry.short {
      shorts.append(short)
      if entry.argument != nil { shorts += ":" }
    }
  }
  table.append(cOption("help", takesArgument: false, code: helpCode))
  table.append(option())

  var arguments = Array(words)
  let count = Int32(arguments.count)
  arguments.append(nil)
  var found: [(index: Int, value: String)] = []
  linux_getopt_begin()
  while true {
    var argument: UnsafePointer<CChar>?
    let code = shorts.withCString { linux_getopt(count, &arguments, &table, $0, &argument) }
    let word = argument.map { String(cString: $0) } ?? ""
    switch code {
    case -1:
      let operands = arguments[Int(linux_getopt_index())..<Int(count)].map { $0.map { String(cString: $0) } ?? "" }
      return ParsedWords(options: found, operands: operands)
    case helpCode, 104: throw .help(command)
    case 58: throw .usage(command, "option '\(word)' needs an argument")
    case 63: throw .usage(command, "unknown option '\(word)'")
    case firstCode...: found.append((Int(code - firstCode), word))
    default:
      let index = options.firstIndex { $0.short?.asciiValue.map { Int32($0) } == code }
      if let index { found.append((index, word)) }
    }
  }
}

private func cOption(_ name: StaticString, takesArgument: Bool, code: Int32) -> option {
  // A static string is UTF-8 with a zero byte behind it, for as long as the process lives.
  let name = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
  return option(name: name, has_arg: takesArgument ? required_argument : no_argument, flag: nil, val: code)
}

/// Bytes from a number with an optional suffix K, M, G or T (powers of 1024).
func parseSize(_ text: String) -> UInt64? {
  var digits = Array(text.utf8)
  var shift: UInt64 = 0
  switch digits.last {
  case 0x4b, 0x6b: shift = 10
  case 0x4d, 0x6d: shift = 20
  case 0x47, 0x67: shift = 30
  case 0x54, 0x74: shift = 40
  default: break
  }
  if shift > 0 { digits.removeLast() }
  guard let number = decimal(digits[...]), number <= UInt64.max >> shift else { return nil }
  return number << shift
}

/// Nanoseconds from a number with an optional fraction and a suffix ns, us, ms, s, m, h or d; seconds where there is none.
func parseDuration(_ text: String) -> Int64? {
  let bytes = Array(text.utf8)
  let end = bytes.firstIndex { !(0x30...0x39).contains($0) && $0 != 0x2e } ?? bytes.count
  let unit: UInt64
  switch String(decoding: bytes[end...], as: UTF8.self) {
  case "ns": unit = 1
  case "us": unit = 1000
  case "ms": unit = 1_000_000
  case "", "s": unit = 1_000_000_000
  case "m": unit = 60_000_000_000
  case "h": unit = 3_600_000_000_000
  case "d": unit = 86_400_000_000_000
  default: return nil
  }
  let point = bytes[..<end].firstIndex(of: 0x2e) ?? end
  guard let whole = decimal(bytes[..<point]) else { return nil }
  let (nanoseconds, overflow) = whole.multipliedReportingOverflow(by: unit)
  guard !overflow else { return nil }
  var fraction: UInt64 = 0
  var place = unit
  if point < end {
    guard point + 1 < end, !bytes[(point + 1)..<end].contains(0x2e) else { return nil }
    for digit in bytes[(point + 1)..<end] {
      place /= 10
      fraction += place * UInt64(digit - 0x30)
    }
  }
  let (sum, sumOverflow) = nanoseconds.addingReportingOverflow(fraction)
  return sumOverflow ? nil : Int64(exactly: sum)
}

private func decimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
  guard !digits.isEmpty else { return nil }
  var number: UInt64 = 0
  for digit in digits {
    guard (0x30...0x39).contains(digit) else { return nil }
    let (tens, first) = number.multipliedReportingOverflow(by: 10)
    let (sum, second) = tens.addingReportingOverflow(UInt64(digit - 0x30))
    if first || second { return nil }
    number = sum
  }
  return number
}
