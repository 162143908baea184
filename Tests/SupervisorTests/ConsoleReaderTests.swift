import CLinux
import Foundation
import JSON
import Launch
import Platform
import Testing

@testable import Control
@testable import Supervisor

@Suite("The times of output")
struct ConsoleReaderTests {
  private func file() throws -> Int32 {
    let number = linux_memfd_create("test")
    try #require(number >= 0)
    return Int32(number)
  }

  /// Pieces of output with their times, in order.
  private func pieces(_ output: Int32, _ times: Int32) -> [(text: String, time: Int64?)] {
    func owned(_ number: Int32) -> OwnedFD { OwnedFD(adopting: Int32(linux_dup(number)), kernel: LinuxKernel()) }
    let end = AppletEntry.End(run: RunEnd(exited: 0), at: 0)
    let entry = AppletEntry(
      WorkerConfiguration(name: "a", request: StartRequest()), in: AppletDirectory(state: "/tmp", name: "a"),
      .ended(end, .exited))
    let reader = ConsoleReader(
      entry, file: owned(output), offset: 0, isFollowing: false, times: TimeReader(owned(times)))
    var found: [(text: String, time: Int64?)] = []
    while case let bytes = reader.next().bytes, !bytes.isEmpty {
      found.append((String(decoding: bytes, as: UTF8.self), reader.time))
    }
    return found
  }

  @Test("are those of its pieces")
  func pieces() throws {
    let (output, times) = (try file(), try file())
    defer { _ = (close(output), close(times)) }
    // Output of an earlier run, whose time is not known.
    #expect(write(output, "old\n", 4) == 4)
    let begin = linux_clock(CLOCK_REALTIME) / 1_000_000
    let console = Console(descriptor: output)
    console.history = 256 << 10
    console.times = times
    for line in ["a\n", "b\n", "c\n"] {
      // A closure with typed throws crashes the compiler here (6.3).
      let isWritten = Array(line.utf8).withUnsafeBytes { (try? console.put($0) { false }) != nil }
      #expect(isWritten)
      if line == "a\n" { usleep(150_000) }
    }
    let found = pieces(output, times)
    #expect(found.map(\.text).joined() == "old\na\nb\nc\n")
    #expect(found[0].text == "old\n" && found[0].time == nil && found[1].text == "a\n")
    let known = found.dropFirst().compactMap(\.time)
    #expect(known.count == found.count - 1 && known == known.sorted())
    #expect(known[0] >= begin && known[1] >= known[0] + Console.timeInterval)
  }

  /// A compromised worker can write any number of them: one reply reads some.
  @Test("are read in part for one reply")
  func tooMany() throws {
    let (output, times) = (try file(), try file())
    defer { _ = (close(output), close(times)) }
    #expect(write(output, "text", 4) == 4)
    let count = 4 * Console.maxTimes
    let numbers: [Int64] = (1...Int64(count)).flatMap { [$0, 0] }
    numbers.withUnsafeBytes { #expect(linux_pwrite(times, $0.baseAddress, $0.count, 0) == $0.count) }
    let found = pieces(output, times)
    #expect(found.map(\.text) == ["text"])
    let time = try #require(found.first?.time)
    #expect(1...Int64(count) / 2 ~= time)
  }

  @Test("may be any numbers, and be missing")
  func hostile() throws {
    let (output, times) = (try file(), try file())
    defer { _ = (close(output), close(times)) }
    let text = String(repeating: "0123456789", count: 20_000)
    #expect(write(output, text, text.utf8.count) == text.utf8.count)
    #expect(pieces(output, times).map(\.text).joined() == text)
    var numbers: [Int64] = [5, .max, .min, .min, -1, 7, 3, 100, 2, 50, .max, 70_000, 0, 0, 9, .max, 1, 70_000]
    for index: Int64 in 0..<2000 {
      numbers.append(1000 + index)
      numbers.append(70_000 + 10 * index)
    }
    // An incomplete record.
    numbers.append(1)
    numbers.withUnsafeBytes { #expect(linux_pwrite(times, $0.baseAddress, $0.count, 0) == $0.count) }
    #expect(pieces(output, times).map(\.text).joined() == text)
  }
}
