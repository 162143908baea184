import CLinux
import Testing

@testable import Supervisor

@Suite("The daemon's log")
struct LogTests {
  @Test("holds no commands for a terminal, whatever an applet says", arguments: [Log.Format.text, .json])
  func commands(format: Log.Format) throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    let log = Log(format: format, descriptor: pair[1], hasPrefix: false)
    let every = String(String.UnicodeScalarView((0...0xff).compactMap { Unicode.Scalar($0 as UInt32) })) + "é\u{9b}2J"
    for text in [every, "\u{9b}31mred", "plain"] {
      log.write(.info, "log", [("name", "a"), ("text", text)])
      var buffer = [UInt8](repeating: 0, count: 4096)
      let line = String(decoding: buffer[..<linux_read(pair[0], &buffer, buffer.count)], as: UTF8.self)
      #expect(line.unicodeScalars.last == "\n")
      #expect(
        line.unicodeScalars.dropLast().allSatisfy { $0.value >= 0x20 && !(0x7f...0x9f).contains($0.value) })
      #expect(line.contains(text == every ? "é?2J" : text == "plain" ? "plain" : "?31mred"))
    }
  }
}
