import Foundation
import Testing

/// `swiftlet bench` on boards whose clock counts instructions, beside the project's reference figures.
struct BenchmarkTests {
  /// Some of the benchmarks: all of them take a minute or two.
  private static let selection = "start call copy rpc lockstep"

  @Test(arguments: [Board.arm64, .riscv64])
  func noFigureGrows(_ board: Board) throws {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    let file = Repository.path("benchmarks/\(board.rawValue).json")
    let run = try Self.bench(board, "--compare \(board.rawValue).json \(Self.selection)", add: file)
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
        {"name": "call", "middle": 1000, "tolerancePercent": 3}]}
        """
      try Data(text.utf8).write(to: file)
      let run = try Self.bench(board, "--runs 10 --compare small.json call", add: file.path)
      #expect(run.status == 1, "\(run.output)\(run.errors)")
      #expect(run.output.contains("more than it may"), "\(run.output)")
    }
  }

  private static func bench(_ board: Board, _ words: String, add file: String) throws -> Program.Result {
    try Program.run(
      Repository.path("boards/run"),
      ["--icount", "--timeout", "300", "--add", file, board.rawValue, "--", "swiftlet", "bench", "--instructions"]
        + words.split(separator: " ").map(String.init))
  }
}
