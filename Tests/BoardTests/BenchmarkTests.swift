import Foundation
import Testing

/// `swiftlet bench` on boards whose clock counts instructions, beside the project's reference figures.
struct BenchmarkTests {
  /// Some of the benchmarks: all of them take a minute or two.
  private static let selection = "start call copy getrandom lockstep"

  @Test(arguments: [Board.arm64, .riscv64])
  func noFigureGrows(_ board: Board) throws {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    let file = Repository.path("benchmarks/\(board.rawValue).json")
    let run = try Self.bench(board, Self.selection, compare: file)
    #expect(run.status == 0, "tools/bench \(board.rawValue) tells more\n\(run.output)\(run.errors)")
    for line in ["start-sandboxed ", "copy-65536 ", "lockstep-2 "] {
      #expect(run.output.contains("\n" + line), "\(run.output)")
    }
    #expect(!run.output.contains("new\n"), "\(run.output)")
  }

  /// What was measured is small beside what cannot be.
  @Test(arguments: [Board.arm64, .riscv64])
  func growthFails(_ board: Board) throws {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    try withScratchFolder { folder in
      let file = folder.appending(path: "small.json")
      let text = """
        {"format": 1, "host": {"architecture": "\(board.architecture)", "clock": "instructions"}, "results": [
        {"name": "call", "typical": 1000, "tolerancePercent": 3}]}
        """
      try Data(text.utf8).write(to: file)
      let run = try Self.bench(board, "--runs 10 call", compare: file.path)
      #expect(run.status == 1, "\(run.output)\(run.errors)")
      #expect(run.output.contains("more than it may"), "\(run.output)")
    }
  }

  /// The file comes in as standard input: a board with another file is another board, whose memory lies elsewhere.
  private static func bench(_ board: Board, _ words: String, compare file: String) throws -> Program.Result {
    let command = "cat >earlier.json; swiftlet bench --instructions --compare earlier.json \(words)"
    return try Program.run(
      "/bin/sh",
      [
        "-c", "\"$0\" --icount --timeout 300 \(board.rawValue) -- sh -c '\(command)' <\"$1\"",
        Repository.path("boards/run"), file,
      ])
  }
}
