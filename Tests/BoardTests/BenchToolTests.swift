import Foundation
import Testing

/// What is done with figures once they are measured: it takes no board.
struct BenchToolTests {
  private static let hasMatplotlib =
    (try? Program.run("/usr/bin/env", ["python3", "-c", "import matplotlib"]))?.status == 0

  @Test(.enabled(if: hasMatplotlib, "this machine has no matplotlib: apt-get install python3-matplotlib"))
  func filesAreDrawn() throws {
    try withScratchFolder { folder in
      let output = folder.appending(path: "out.svg")
      let run = try Program.run(
        Repository.path("tools/bench-plot"),
        ["arm64", "riscv64"].map { Repository.path("benchmarks/\($0).json") }
          + ["--only", "call,stop", "-o", output.path])
      #expect(run.status == 0, "\(run.errors)")
      let text = try String(contentsOf: output, encoding: .utf8)
      // The comments of matplotlib's SVG are its texts.
      for word in ["<svg", "times its floor", "by that of arm64", "call-mmio", "stop"] { #expect(text.contains(word)) }
    }
  }

  @Test(arguments: [
    (["benchmarks/arm64.json"], "files and -o OUT.svg are needed"),
    (["Package.swift", "-o", "x.svg"], "Package.swift: "),
    (["benchmarks/arm64.json", "--only", "nothing", "-o", "x.svg"], "no such benchmark"),
  ])
  func whatCannotBeDrawnIsSaid(_ words: [String], _ complaint: String) throws {
    let words = words.map { $0.contains(".swift") || $0.contains("/") ? Repository.path($0) : $0 }
    let run = try Program.run(Repository.path("tools/bench-plot"), words)
    #expect(run.status == 1)
    #expect(run.errors.contains(complaint), "\(run.errors)")
  }

  /// The pages say what the reference files say.
  @Test func tablesAreUpToDate() throws {
    let run = try Program.run(Repository.path("tools/bench-table"), ["--check"])
    #expect(run.status == 0, "\(run.errors)")
  }

  private func file(_ rows: [(String, Int)], kernel: String = "6.12") -> Data {
    let lines = rows.map { #"{"name":"\#($0.0)","typical":\#($0.1)}"# }
    return Data(
      ("{\n\"format\": 1,\n\"host\": {\"kernel\":\"\(kernel)\"},\n\"results\": [\n" + lines.joined(separator: ",\n")
        + "\n]\n}\n").utf8)
  }

  private func merge(_ old: Data, _ new: Data) throws -> (Program.Result, Data) {
    try withScratchFolder { folder in
      let paths = ["old.json", "new.json"].map { folder.appending(path: $0) }
      try old.write(to: paths[0])
      try new.write(to: paths[1])
      let run = try Program.run(Repository.path("tools/bench-merge"), paths.map(\.path))
      return (run, try Data(contentsOf: paths[0]))
    }
  }

  /// A reference of a few benchmarks leaves the others alone.
  @Test func aPartReplacesAPart() throws {
    let old = file([("a", 1), ("b", 2), ("c", 3)])
    let (run, merged) = try merge(old, file([("b", 20), ("b-new", 21)]))
    #expect(run.status == 0, "\(run.errors)")
    #expect(merged == file([("a", 1), ("b", 20), ("b-new", 21), ("c", 3)]))
    let (refused, kept) = try merge(old, file([("b", 20)], kernel: "6.13"))
    #expect(refused.status == 1 && refused.errors.contains("kernel differs"), "\(refused.errors)")
    #expect(kept == old)
  }
}
