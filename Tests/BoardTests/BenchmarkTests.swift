import Foundation
import Testing

/// `swiftlet bench` on boards whose clock counts instructions, beside the project's reference figures.
struct BenchmarkTests {
  /// Some of the benchmarks: all of them take a minute or two.
  private static let selection = "start call call-non-secure copy getrandom lockstep"

  @Test(arguments: [Board.arm64, .riscv64])
  func noFigureGrows(_ board: Board) throws {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    let file = Repository.path("benchmarks/\(board.rawValue).json")
    let run = try Self.bench(board, Self.selection, file: file)
    #expect(run.status == 0, "tools/bench \(board.rawValue) tells more\n\(run.output)\(run.errors)")
    for line in ["start-sandboxed ", "copy-65536 ", "lockstep-2 "] {
      #expect(run.output.contains("\n" + line), "\(run.output)")
    }
    #expect(!run.output.contains("new\n"), "\(run.output)")
  }

  /// What was measured is small beside what cannot be.
  @Test(arguments: [Board.arm64, .riscv64])
  func growthFails(_ board: Board) throws {
    let run = try Self.bench(board, "--runs 10 call", compare: #"{"name": "call", "typical": 1000"#)
    #expect(run.status == 1, "\(run.output)\(run.errors)")
    #expect(run.output.contains("more than it may"), "\(run.output)")
  }

  /// Debian's mirror moves on: a call that takes five times as long is none of Swiftlet's if the floor does, too.
  @Test(arguments: [("call", 0), ("call-non-secure", 1)])
  func anotherKernelIsComparedByRatios(_ name: String, _ status: Int32) throws {
    let run = try Self.bench(
      .arm64, "--runs 10 \(name)", compare: #"{"name": "\#(name)", "typical": 1000, "floor": {"typical": 995}"#,
      kernel: "6.1.0-other")
    #expect(run.status == status, "\(run.output)\(run.errors)")
    #expect(run.output.contains("of which the kernel is 6.1.0-other"), "\(run.output)")
    #expect(run.output.contains(" 1.005 -> 1."), "\(run.output)")
  }

  /// What cannot be measured for want of a file is said, and is no failure.
  @Test func whatIsNotGivenIsSkippedAloud() throws {
    _ = try Repository.built("riscv64/swiftlet")
    let run = try Program.run(
      Repository.path("boards/run"), ["--timeout", "100", "riscv64", "--", "swiftlet", "bench", "linux"])
    #expect(run.status == 0, "\(run.output)\(run.errors)")
    #expect(run.errors.contains("bench linux: skipped"), "\(run.errors)")
  }

  /// - Parameters:
  ///   - result: of one benchmark, as a file has it, up to its tolerance.
  ///   - kernel: that the file is of; nil for a file that does not say.
  private static func bench(_ board: Board, _ words: String, compare result: String, kernel: String? = nil) throws
    -> Program.Result
  {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    return try withScratchFolder { folder in
      let file = folder.appending(path: "earlier.json")
      let release = kernel.map { #", "kernel": "\#($0)""# } ?? ""
      let text = """
        {"format": 1, "host": {"architecture": "\(board.architecture)", "clock": "instructions"\(release)}, "results": [
        \(result), "tolerancePercent": 3}]}
        """
      try Data(text.utf8).write(to: file)
      return try bench(board, words, file: file.path)
    }
  }

  /// The file comes in as standard input: a board with another file is another board, whose memory lies elsewhere. So it has
  /// the kernel of a Linux guest, as tools/bench has it.
  private static func bench(_ board: Board, _ words: String, file: String) throws -> Program.Result {
    let command = "cat >earlier.json; swiftlet bench --instructions --compare earlier.json \(words)"
    return try Program.run(
      "/bin/sh",
      [
        "-c", "\"$0\" --icount --timeout 400 --linux --memory 1G \(board.rawValue) -- sh -c '\(command)' <\"$1\"",
        Repository.path("boards/run"), file,
      ])
  }
}
