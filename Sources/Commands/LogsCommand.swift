import CLinux
import Control
import JSON
import Launch

/// `swiftlet logs`.
func logs(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let names = arguments.names
  if names.count == 1 {
    try OutputReader(of: names[0], prefix: [], arguments).printAll()
    return ExitCode.success.rawValue
  }
  let width = names.reduce(0) { max($0, $1.utf8.count) }
  let isColoured = linux_isatty(STDOUT_FILENO) && (linux_getenv("NO_COLOR").map { $0.pointee == 0 } ?? true)
  var readers: [OutputReader] = []
  var first: Failure?
  // The others are printed nevertheless.
  func note(_ error: Failure) throws(Failure) {
    guard case .failed(_, let message) = error else { throw error }
    complain("swiftlet: \(message)")
    first = first ?? error
  }
  for (index, name) in names.enumerated() {
    let label = padded(name, to: width) + " | "
    // Cyan, yellow, green, magenta, blue, red (ECMA-48, SGR).
    let colour = [36, 33, 32, 35, 34, 31][index % 6]
    let prefix = isColoured ? "\u{1b}[\(colour)m\(label)\u{1b}[0m" : label
    do throws(Failure) {
      let reader = try OutputReader(of: name, prefix: Array(prefix.utf8), arguments)
      if arguments.isFollowing { readers.append(reader) } else { try reader.printAll() }
    } catch { try note(error) }
  }
  try printAsItComes(readers, note)
  if case .failed(let code, _)? = first { return code.rawValue }
  return ExitCode.success.rawValue
}

/// Prints the output of several applets as it comes, until all have ended.
/// - Parameter note: called with the failure of one of them.
private func printAsItComes(_ readers: [OutputReader], _ note: (Failure) throws(Failure) -> Void) throws(Failure) {
  while true {
    for reader in readers {
      do throws(Failure) { try reader.printReceived() } catch {
        reader.isDone = true
        try note(error)
      }
    }
    guard readers.contains(where: { !$0.isDone }) else { return }
    var wanted = readers.map { pollfd(fd: $0.isDone ? -1 : $0.number, events: Int16(POLLIN), revents: 0) }
    _ = linux_ppoll(&wanted, wanted.count, -1)
    for (entry, reader) in zip(wanted, readers) where entry.revents != 0 {
      do throws(Failure) { try reader.receive() } catch {
        reader.isDone = true
        try note(error)
      }
    }
  }
}

/// Prints the output of an applet.
private final class OutputReader {
  private let name: String
  /// Is printed before each line.
  private let prefix: [UInt8]
  private let arguments: AppletArguments
  private let call: LastingCall
  /// The incomplete line at the end of what came, and its time, if lines have something before them.
  private var line: [UInt8] = []
  private var lineTime: Int64?
  /// Whether nothing more is to come.
  var isDone = false

  /// Maximum size of an incomplete line, in bytes.
  private static let maxLine = 64 << 10

  init(of name: String, prefix: [UInt8], _ arguments: AppletArguments) throws(Failure) {
    self.name = name
    self.prefix = prefix
    self.arguments = arguments
    guard let lines = arguments.tail else {
      call = try console(of: name, arguments, toItsEnd: arguments.isFollowing)
      return
    }
    let (pieces, end) = try output(of: name, arguments)
    call = try console(of: name, arguments, toItsEnd: arguments.isFollowing, from: end)
    for piece in lastLines(lines, of: pieces) { try put(piece) }
  }

  /// The descriptor for poll(2).
  var number: Int32 { call.number }

  func receive() throws(Failure) { try call.receive() }

  /// Prints all, until the end of the output or, with `--follow`, of the applet.
  func printAll() throws(Failure) {
    while !isDone { try take(call.next()) }
  }

  /// Prints what has been received.
  func printReceived() throws(Failure) {
    while !isDone, let reply = try call.buffered() { try take(reply) }
  }

  private func take(_ reply: Reply) throws(Failure) {
    let piece = try OutputPiece(reply, call)
    if piece.isSince(arguments.since) { try put(piece) }
    guard !reply.continues else { return }
    isDone = true
    // An incomplete line at the end.
    if !line.isEmpty { try say(bytes: start + line + [0x0a]) }
  }

  private func put(_ piece: OutputPiece) throws(Failure) {
    guard !prefix.isEmpty || arguments.hasTimes else { return try say(bytes: piece.bytes) }
    var text: [UInt8] = []
    for byte in piece.bytes {
      if line.isEmpty { lineTime = piece.time }
      line.append(byte)
      guard byte == 0x0a || line.count == Self.maxLine else { continue }
      text += start + line
      if byte != 0x0a { text.append(0x0a) }
      line = []
    }
    if !text.isEmpty { try say(bytes: text) }
  }

  /// What is before the line.
  private var start: [UInt8] {
    guard arguments.hasTimes else { return prefix }
    // As long as a time.
    let time = lineTime.map { timeText($0, withMilliseconds: true) } ?? "-"
    return prefix + Array((padded(time, to: 29) + " ").utf8)
  }
}

/// A piece of output, and when it was written.
struct OutputPiece {
  var bytes: [UInt8]
  /// Milliseconds since 1970; nil if it is not known.
  let time: Int64?

  init(_ bytes: [UInt8], time: Int64?) {
    self.bytes = bytes
    self.time = time
  }

  /// - Parameter console: the call, which continues after this reply if it has to be repeated to another daemon.
  fileprivate init(_ reply: Reply, _ console: LastingCall) throws(Failure) {
    let parameters = try accepted(reply, of: "Console")
    guard case .string(let text)? = parameters["data"], let bytes = Base64.decode(text) else {
      throw .failed(.host, "the daemon's reply is not base64")
    }
    self.bytes = bytes
    if case .integer(let time)? = parameters["time"] { self.time = time } else { time = nil }
    let next = max(parameters.number("offset"), 0).addingReportingOverflow(Int64(bytes.count)).partialValue
    console.parameters = consoleParameters(console.parameters, from: max(next, 0))
  }

  /// Whether it was written at this time or later.
  fileprivate func isSince(_ since: Int64?) -> Bool {
    guard let since else { return true }
    return time.map { $0 >= since } ?? false
  }
}

/// The last lines of output; an incomplete one at its end counts.
func lastLines(_ count: Int, of pieces: [OutputPiece]) -> [OutputPiece] {
  var left = count
  var found: [OutputPiece] = []
  guard count > 0 else { return [] }
  for piece in pieces.reversed() where !piece.bytes.isEmpty {
    let bytes = piece.bytes
    var start = bytes.count
    // The line feed at the end belongs to the last line.
    if found.isEmpty, bytes.last == 0x0a { start -= 1 }
    while start > 0 {
      if bytes[start - 1] == 0x0a {
        left -= 1
        if left == 0 { break }
      }
      start -= 1
    }
    if start < bytes.count { found.append(OutputPiece(Array(bytes[start...]), time: piece.time)) }
    if left == 0 { break }
  }
  return found.reversed()
}

/// The output of an applet so far, of which the daemon keeps a limited number of bytes, and the offset of what follows.
private func output(of name: String, _ arguments: AppletArguments) throws(Failure)
  -> (pieces: [OutputPiece], end: Int64)
{
  let call = try console(of: name, arguments, toItsEnd: false)
  var pieces: [OutputPiece] = []
  while true {
    let reply = try call.next()
    let piece = try OutputPiece(reply, call)
    if piece.isSince(arguments.since) { pieces.append(piece) }
    if !reply.continues { return (pieces, call.parameters.number("offset")) }
  }
}

/// Calls Console.
func console(of name: String, _ arguments: AppletArguments, toItsEnd: Bool, from offset: Int64 = 0)
  throws(Failure) -> LastingCall
{
  var members = [JSONMember("name", .string(name)), JSONMember("follow", .bool(toItsEnd))]
  if arguments.hasTimes || arguments.since != nil { members.append(JSONMember("times", .bool(true))) }
  return try LastingCall("Console", consoleParameters(.object(members), from: offset), more: true, arguments.connect)
}

/// The parameters of Console with another offset.
private func consoleParameters(_ parameters: JSONValue, from offset: Int64) -> JSONValue {
  guard case .object(let members) = parameters else { return parameters }
  return .object(members.filter { $0.name != "offset" } + [JSONMember("offset", .integer(offset))])
}

/// Prints a part of a console.
func printPart(_ reply: Reply, _ console: LastingCall) throws(Failure) {
  try say(bytes: OutputPiece(reply, console).bytes)
}
