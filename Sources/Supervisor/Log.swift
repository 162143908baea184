import CLinux
import Control
import JSON
import Platform

/// The daemon's log: a line for each event, on standard error, or with fields in systemd's journal. It never blocks:
/// lines that cannot be written are dropped and counted.
public final class Log {
  /// The format of lines: text, or a JSON object.
  public enum Format: Sendable { case text, json }

  /// The severity: numbers of syslog, which journald reads from the beginning of a line (sd-daemon(3)).
  public enum Level: Int32, Sendable {
    /// LOG_ERR.
    case error = 3
    /// LOG_WARNING.
    case warning = 4
    /// LOG_INFO.
    case info = 6

    var name: String {
      switch self {
      case .error: "error"
      case .warning: "warning"
      case .info: "info"
      }
    }
  }

  private let format: Format
  private let descriptor: Int32
  private let isSocket: Bool
  /// The rest of a line that was written partly.
  private var rest: ArraySlice<UInt8> = []
  /// Number of lines dropped since the last one that was written.
  private var lost = 0
  /// Whether lines on standard error begin with the severity for journald.
  let hasPrefix: Bool
  /// The journal, if standard error is its stream; otherwise lines are written to standard error.
  private let journal: Journal?
  var isJSON: Bool { format == .json }

  /// - Parameters:
  ///   - hasPrefix: nil for whether journald reads the descriptor.
  ///   - journal: where lines go instead of the descriptor; nil for none.
  init(format: Format, descriptor: Int32 = STDERR_FILENO, hasPrefix: Bool? = nil, journal: Journal? = nil) {
    self.format = format
    self.journal = journal
    self.descriptor = descriptor
    isSocket = linux_is_socket(descriptor)
    self.hasPrefix = hasPrefix ?? Journal.reads(from: descriptor)
  }

  /// The daemon's log, for a process that it has started with its own standard error.
  public convenience init(ofDaemon format: Format) {
    self.init(format: format, journal: Journal(of: STDERR_FILENO))
  }

  /// Writes a line: an event and its fields.
  public func write(_ level: Level, _ event: String, _ fields: [(name: String, value: String)] = []) {
    rest = put(rest)
    if rest.isEmpty, lost > 0, send(.warning, "lines lost", [("count", "\(lost)")]) { lost = 0 }
    if !rest.isEmpty || lost > 0 || !send(level, event, fields) { lost += 1 }
  }

  /// - Returns: false if nothing of it can be written.
  private func send(_ level: Level, _ event: String, _ fields: [(name: String, value: String)]) -> Bool {
    guard let journal else {
      let prefix = hasPrefix ? Array("<\(level.rawValue)>".utf8) : []
      return begin((prefix + line(level, event, fields, hasName: !hasPrefix))[...])
    }
    return journal.send(
      message: line(level, event, fields, hasName: false).dropLast(), priority: level.rawValue, event: event,
      applet: fields.first { $0.name == "name" }?.value)
  }

  /// Begins to write a line, whose rest is written before the next one.
  /// - Returns: false if nothing of it can be written.
  private func begin(_ line: ArraySlice<UInt8>) -> Bool {
    let left = put(line)
    if left.count == line.count { return false }
    rest = left
    return true
  }

  /// Writes as much as possible without blocking.
  /// - Returns: the rest.
  private func put(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    var rest = bytes
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_write_now(descriptor, isSocket, $0.baseAddress, $0.count) }
      if result == -Int(EINTR) { continue }
      guard result > 0 else { break }
      rest = rest.dropFirst(result)
    }
    return rest
  }

  /// - Parameter hasName: whether text begins with the program's name, which journald adds itself.
  private func line(_ level: Level, _ event: String, _ fields: [(name: String, value: String)], hasName: Bool)
    -> ArraySlice<UInt8>
  {
    var line: [UInt8] = []
    switch format {
    case .json:
      var members = [
        JSONMember("time", .integer(linux_clock(CLOCK_REALTIME) / 1_000_000)),
        JSONMember("level", .string(level.name)), JSONMember("event", .string(event)),
      ]
      for field in fields { members.append(JSONMember(field.name, .string(field.value))) }
      line += JSONValue.object(members).encoded ?? []
    case .text:
      line += Array((hasName ? "swiftlet: " + event : event).utf8)
      for field in fields {
        line += Array(" \(field.name)=".utf8)
        line += Self.needsQuotes(field.value) ? JSONValue.string(field.value).encoded ?? [] : Array(field.value.utf8)
      }
    }
    // Fields may have text from any source, including applets: JSON does not escape non-ASCII characters, some of which
    // control a terminal.
    if line.contains(where: { $0 >= 0x7f }) { line = Array(String(decoding: line, as: UTF8.self).printable().utf8) }
    line.append(0x0a)
    return line[...]
  }

  private static func needsQuotes(_ text: String) -> Bool {
    text.isEmpty
      || !text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") }
  }
}
