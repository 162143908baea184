import CLinux
import Foundation
import Testing

@testable import Supervisor

@Suite("The daemon's log")
struct LogTests {
  @Test("omits the program's name for journald")
  func name() throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    for (hasPrefix, expected) in [(true, "<6>ready a=b\n"), (false, "swiftlet: ready a=b\n")] {
      Log(format: .text, descriptor: pair[1], hasPrefix: hasPrefix).write(.info, "ready", [("a", "b")])
      var buffer = [UInt8](repeating: 0, count: 4096)
      #expect(String(decoding: buffer[..<linux_read(pair[0], &buffer, buffer.count)], as: UTF8.self) == expected)
    }
  }

  @Test("has no control characters from applets", arguments: [Log.Format.text, .json])
  func commands(format: Log.Format) throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    defer { for descriptor in pair { _ = linux_close(descriptor) } }
    let log = Log(format: format, descriptor: pair[1], hasPrefix: false)
    let every = String(String.UnicodeScalarView((0...0xff).compactMap { Unicode.Scalar($0 as UInt32) })) + "é\u{9b}2J"
    log.write(.info, "log", [("text", "exe\u{202e}gpj.\u{200b}")])
    var buffer = [UInt8](repeating: 0, count: 4096)
    let line = String(decoding: buffer[..<linux_read(pair[0], &buffer, buffer.count)], as: UTF8.self)
    #expect(line.contains("exe?gpj.?"))
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

  /// Runs `body` with a datagram socket, its path, and the stream of a log as $JOURNAL_STREAM names it.
  private func withJournal(_ body: (Int32, String, Int32, String) throws -> Void) throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    let path = FileManager.default.temporaryDirectory.appending(path: "journal-\(UUID().uuidString)").path
    let receiver = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer {
      for descriptor in pair + [receiver] { _ = linux_close(descriptor) }
      unlink(path)
    }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    try #require(path.utf8.count < MemoryLayout.size(ofValue: address.sun_path))
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(receiver, $0, size) }
    }
    try #require(bound == 0)
    var (device, inode): (UInt64, UInt64) = (0, 0)
    try #require(linux_descriptor_identity(pair[1], &device, &inode) == 0)
    try body(receiver, path, pair[1], "\(device):\(inode)")
  }

  private func entry(_ receiver: Int32) -> String? {
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = recv(receiver, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
  }

  @Test("has entries with fields in the journal")
  func journal() throws {
    try withJournal { receiver, path, stream, identity in
      #expect(Journal(of: stream, stream: identity + "0", path: path) == nil)
      #expect(Journal(of: stream, stream: identity, path: path + "0") == nil)
      let journal = try #require(Journal(of: stream, stream: identity, path: path))
      let log = Log(format: .text, descriptor: stream, hasPrefix: true, journal: journal)
      log.write(.info, "ready", [("socket", "/run/a b")])
      log.write(.warning, "failed", [("name", "one"), ("detail", "killed\nPRIORITY=0")])
      #expect(
        entry(receiver)
          == "SYSLOG_IDENTIFIER=swiftlet\nPRIORITY=6\nSWIFTLET_EVENT=ready\nMESSAGE=ready socket=\"/run/a b\"\n")
      #expect(
        entry(receiver) == """
          SYSLOG_IDENTIFIER=swiftlet
          PRIORITY=4
          SWIFTLET_EVENT=failed
          SWIFTLET_APPLET=one
          MESSAGE=failed name=one detail="killed\\nPRIORITY=0"

          """)
    }
  }

  @Test("does not wait for the journal, and counts lost entries")
  func slowJournal() throws {
    try withJournal { receiver, path, stream, identity in
      let journal = try #require(Journal(of: stream, stream: identity, path: path))
      let log = Log(format: .text, descriptor: stream, hasPrefix: true, journal: journal)
      for _ in 0..<2000 { log.write(.info, "event", [("text", String(repeating: "x", count: 1000))]) }
      var count = 0
      while entry(receiver) != nil { count += 1 }
      #expect(count > 0 && count < 2000)
      log.write(.info, "after")
      #expect(try #require(entry(receiver)).hasSuffix("\nMESSAGE=lines lost count=\(2000 - count)\n"))
      #expect(try #require(entry(receiver)).hasSuffix("\nMESSAGE=after\n"))
    }
  }

  @Test("does not block, and counts lost lines", arguments: [true, false])
  func readers(isSocket: Bool) throws {
    var pair: [Int32] = [-1, -1]
    try #require((isSocket ? socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) : pipe(&pair)) == 0)
    let descriptor = Int32(linux_write_only(pair[1]))
    defer { for open in Set(pair + [descriptor]) { _ = linux_close(open) } }
    let log = Log(format: .text, descriptor: descriptor, hasPrefix: false)
    let text = String(repeating: "x", count: 5000)
    for number in 0..<200 { log.write(.info, "event", [("number", "\(number)"), ("text", text)]) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    // The rest of a line, and the next line, is written when there is space.
    for _ in 0..<3 {
      while case var wanted = pollfd(fd: pair[0], events: Int16(POLLIN), revents: 0), poll(&wanted, 1, 0) > 0 {
        bytes += buffer[..<max(linux_read(pair[0], &buffer, buffer.count), 0)]
      }
      log.write(.info, "after")
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    let whole = lines.filter { $0.hasSuffix(text) && $0.hasPrefix("swiftlet: event number=") }.count
    #expect(whole > 0 && whole < 200)
    #expect(lines.contains("swiftlet: lines lost count=\(200 - whole)"))
    #expect(lines.last == "swiftlet: after" && lines.count <= whole + 3)
  }
}
