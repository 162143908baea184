import Foundation
import Testing

/// Tools for figures that have been measured, which need no board.
struct BenchToolTests {
  /// A picture of the two reference files.
  private func draw(_ options: [String]) throws -> String {
    try withScratchDirectory { directory in
      let output = directory.appending(path: "out.svg")
      let files = ["arm64", "riscv64"].map { Repository.path("benchmarks/\($0).json") }
      let run = try Program.run(Repository.path("tools/bench-plot"), files + options + ["-o", output.path])
      try #require(run.status == 0, "\(run.errors)")
      return try String(contentsOf: output, encoding: .utf8)
    }
  }

  @Test(arguments: [
    ([], ["Ratio to the baseline", ">call-mmio<", ">start-memory<", "1×"]),
    (["--only", "call,stop"], [">call-mmio<", ">stop<"]),
    (["--changes"], ["riscv64 compared with arm64", ">copy-65536<", "%<"]),
    (["--distribution", "stop"], [">stop, instructions<", "50 %"]),
  ])
  func filesAreDrawn(_ options: [String], _ texts: [String]) throws {
    let picture = try draw(options)
    for text in ["<svg", "prefers-color-scheme: dark"] + texts { #expect(picture.contains(text)) }
    #expect(picture.contains(">start<") == (options.isEmpty || options == ["--changes"]))
    #expect(try picture == draw(options))
  }

  /// No two texts of a picture overlap, and none extends beyond its edge.
  @Test(arguments: [[], ["--changes"], ["--distribution", "start,call,memory-1,parallel-1"]])
  func textsDoNotOverlap(_ options: [String]) throws {
    struct Text { var left: Double, right: Double, baseline: Double, size: Double }
    let picture = try draw(options)
    let pattern = #/<text x="([0-9.]+)" y="([0-9.]+)"(?: class="([a-z]+)")?(?: text-anchor="([a-z]+)")?>([^<]*)</#
    let texts = picture.matches(of: pattern).map { match in
      let size = match.3 == "title" ? 15.0 : match.3 == "small" ? 11 : 12
      let x = Double(match.1)!, width = Double(match.5.count) * size * (match.3 == "title" ? 0.6 : 0.55)
      let left = match.4 == "end" ? x - width : match.4 == "middle" ? x - width / 2 : x
      return Text(left: left, right: left + width, baseline: Double(match.2)!, size: size)
    }
    #expect(texts.count > 10)
    for (place, one) in texts.enumerated() {
      #expect(one.left >= 0 && one.right <= 860)
      for other in texts[..<place] where one.left < other.right && other.left < one.right {
        #expect(abs(one.baseline - other.baseline) >= min(one.size, other.size))
      }
    }
  }

  @Test(arguments: [
    (["benchmarks/arm64.json"], "files and -o OUT.svg are needed"),
    (["Package.swift", "-o", "x.svg"], "Package.swift: "),
    (["benchmarks/arm64.json", "--only", "nothing", "-o", "x.svg"], "no such benchmark"),
    (["benchmarks/arm64.json", "--only", "linux", "-o", "x.svg"], "have no baseline"),
    (["benchmarks/arm64.json", "--changes", "-o", "x.svg"], "--changes compares two files"),
    (["benchmarks/arm64.json", "--distribution", "nothing", "-o", "x.svg"], "no such benchmark"),
  ])
  func anErrorSaysWhatCannotBeDrawn(_ arguments: [String], _ message: String) throws {
    let arguments = arguments.map { $0.contains(".swift") || $0.contains("/") ? Repository.path($0) : $0 }
    let run = try Program.run(Repository.path("tools/bench-plot"), arguments)
    #expect(run.status == 1)
    #expect(run.errors.contains(message), "\(run.errors)")
  }

  /// The pages and pictures match the reference files.
  @Test func tablesAndPicturesAreUpToDate() throws {
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
    try withScratchDirectory { directory in
      let paths = ["old.json", "new.json"].map { directory.appending(path: $0) }
      try old.write(to: paths[0])
      try new.write(to: paths[1])
      let run = try Program.run(Repository.path("tools/bench-merge"), paths.map(\.path))
      return (run, try Data(contentsOf: paths[0]))
    }
  }

  /// A new reference for some benchmarks does not change the others.
  @Test func aMappingReplacesPartOfAnother() throws {
    let old = file([("a", 1), ("b", 2), ("c", 3)])
    let (run, merged) = try merge(old, file([("b", 20), ("b-new", 21)]))
    #expect(run.status == 0, "\(run.errors)")
    #expect(merged == file([("a", 1), ("b", 20), ("b-new", 21), ("c", 3)]))
    let (refused, kept) = try merge(old, file([("b", 20)], kernel: "6.13"))
    #expect(refused.status == 1 && refused.errors.contains("kernel differs"), "\(refused.errors)")
    #expect(kept == old)
  }
}
