import Foundation
import Testing

/// The programs in examples/, built as their README says, and run on both architectures.
@Suite(.onlyInCheck)
struct ExampleTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases), files: programs)

  @Test(arguments: session.cases)
  func example(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Sendable private static func cases(_ board: Board) -> [Case] {
    let rooms = [("19.7", "off"), ("20.1", "on"), ("19.9", "off"), ("20.3", "on"), ("20.1", "off")]
    let readings = rooms.map { "embed: \($0) degrees, heater \($1)\n" }.joined()
    return [
      Case(
        board, "an applet in C", script: "printf 'one two\\nthree\\n' | swiftlet run ../files/wordcount.elf",
        output: "2 3 14\n"),
      Case(
        board, "an applet in Swift", script: "swiftlet run ../files/primes.elf 1000",
        output: "168 primes below 1000, the largest is 997\n"),
      Case(
        board, "an embedding", script: "cd ../files; chmod +x embed; ./embed",
        output: .text(readings + "embed: the applet exited with status 0 after 16 calls\n")),
    ]
  }

  /// The output of the examples' Makefiles, and the programs that tools/test has cross-compiled; a failure is recorded.
  @Sendable private static func programs(_ board: Board) -> [String: [UInt8]] {
    do {
      return try withScratchDirectory { directory in
        for example in ["applet-c", "applet-swift"] {
          let source = Repository.path("examples/\(example)"), to = "\(directory.path)/\(example)"
          try InstalledSDK.run(
            "make -s -C '\(source)' ARCH=\(board.architecture) OUT='\(to)' SCRATCH='\(to)/.build'", in: directory)
        }
        let embed = Repository.path("examples/embed/build/\(board.architecture)/embed")
        let paths = ["applet-c/wordcount.elf", "applet-c/thermostat.elf", "applet-swift/primes.elf"]
        let files = try (paths.map { directory.appending(path: $0) } + [URL(filePath: embed)]).map {
          ($0.lastPathComponent, try [UInt8](Data(contentsOf: $0)))
        }
        return Dictionary(uniqueKeysWithValues: files)
      }
    } catch {
      Issue.record("the examples are not built (tools/test does): \(error)")
      return [:]
    }
  }
}
