import CLinux
import JSON
import Platform

/// The daemon's log: a line for each event, on standard error.
public final class Log {
  public enum Format: Sendable { case text, json }

  /// How much it matters: syslog's numbers, which journald reads at a line's beginning (sd-daemon(3)).
  public enum Level: Int32, Sendable {
    case error = 3
    case warning = 4
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
  /// Whether lines begin with journald's level.
  let hasPrefix: Bool
  var isJSON: Bool { format == .json }

  /// - Parameter hasPrefix: nil to ask the environment.
  public init(format: Format, descriptor: Int32 = STDERR_FILENO, hasPrefix: Bool? = nil) {
    self.format = format
    self.descriptor = descriptor
    self.hasPrefix = hasPrefix ?? (linux_environment("JOURNAL_STREAM") != nil)
  }

  /// Writes a line: what happened, and what there is to say of it.
  public func write(_ level: Level, _ event: String, _ fields: [(name: String, value: String)] = []) {
    var line: [UInt8] = []
    if hasPrefix { line += Array("<\(level.rawValue)>".utf8) }
    switch format {
    case .json:
      var members = [
        JSONMember("time", .integer(linux_clock(CLOCK_REALTIME) / 1_000_000)),
        JSONMember("level", .string(level.name)), JSONMember("event", .string(event)),
      ]
      for field in fields { members.append(JSONMember(field.name, .string(field.value))) }
      line += JSONValue.object(members).encoded ?? []
    case .text:
      line += Array("swiftlet: ".utf8) + Array(event.utf8)
      for field in fields {
        line += Array(" \(field.name)=".utf8)
        line += Self.needsQuotes(field.value) ? JSONValue.string(field.value).encoded ?? [] : Array(field.value.utf8)
      }
    }
    line = Self.shown(line)
    line.append(0x0a)
    // One write(2) a line, and nobody to complain to where it fails.
    line.withUnsafeBytes { _ = linux_write(descriptor, $0.baseAddress, $0.count) }
  }

  /// A line with texts of anybody's, an applet's among them, for a terminal: DEL and the controls from U+0080 on, which JSON
  /// leaves as they are where it escapes those below a space, become question marks.
  private static func shown(_ line: [UInt8]) -> [UInt8] {
    var shown: [UInt8] = []
    shown.reserveCapacity(line.count + 1)
    for byte in line {
      if byte >= 0x80, byte < 0xa0, shown.last == 0xc2 {
        shown[shown.count - 1] = 0x3f
      } else {
        shown.append(byte == 0x7f ? 0x3f : byte)
      }
    }
    return shown
  }

  private static func needsQuotes(_ text: String) -> Bool {
    text.isEmpty || !text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x3d }
  }
}
