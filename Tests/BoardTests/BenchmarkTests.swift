import Foundation
import Testing

/// `swiftlet bench` on boards whose clock counts instructions, compared with the project's reference figures.
@Suite(.onlyInCheck)
struct BenchmarkTests {
  /// All benchmarks except those that take long: memory, parallel (with one CPU per call), processor, linux.
  private static let selection = """
    start call-sandboxed daemon open call call-non-secure copy getrandom console rpc rpc-forwarded lockstep clone stop
    """

  @Test(arguments: [Board.arm64, .riscv64])
  func noFigureGrows(_ board: Board) throws {
    let file = Repository.path("benchmarks/\(board.rawValue).json")
    let architecture = board.architecture
    let words = Self.selection + (architecture == "arm64" ? " call-mmio" : "")
    try withScratchDirectory { directory in
      let baseline = directory.appending(path: "start-baseline").path
      let made = try Program.run(Repository.path("tools/start-baseline"), [architecture, baseline])
      try #require(made.status == 0, "\(made.errors)")
      let applet = try Repository.built("\(architecture)/guests/hello.elf")
      let run = try Self.bench(
        board, words + " --applet hello.elf --beside ./start-baseline --json new.json", file: file,
        added: [applet, baseline], then: "cat new.json >&2")
      let messages = run.errors.components(separatedBy: "{\n\"format\"")[0]
      #expect(run.status == 0, "tools/bench \(board.rawValue) gives details\n\(run.output)\(messages)")
      for line in ["start-applet ", "daemon-start ", "copy-65536 ", "lockstep-2 ", "rpc-forwarded ", "clone-close "] {
        #expect(run.output.contains("\n" + line), "\(run.output)")
      }
      #expect(!run.output.contains(" new\n"), "\(run.output)")
      #expect(!run.output.contains("not measured"), "\(run.output)")
      try Self.checkGoals(Figures(json: run.errors), board)
    }
  }

  /// Limits that hold independently of the reference.
  private static func checkGoals(_ figures: Figures, _ board: Board) {
    let isARM = board.architecture == "arm64"
    func expect(
      _ name: String, atMost limit: Double, of other: String? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
      guard let figure = figures[name], let base = other.map({ figures[$0] }) ?? figures[baselineOf: name] else {
        Issue.record("\(name) is missing", sourceLocation: location)
        return
      }
      #expect(figure <= limit * base, "\(board.rawValue) \(name): \(figure), \(base)", sourceLocation: location)
    }
    // The clock of riscv64 advances by 100 instructions.
    expect("call", atMost: isARM ? 1.03 : 1.04)
    expect("call-non-secure", atMost: isARM ? 1.9 : 1.1)
    expect("call-non-secure-arguments", atMost: isARM ? 1.9 : 1.1)
    expect("lockstep-1", atMost: 2.2, of: "call")
    expect("start-applet", atMost: 1.15, of: "start-beside")
    expect("start-applet-memory", atMost: 1.5, of: "start-beside-memory")
    expect("daemon-start", atMost: 1.5)
    if isARM { #expect(figures["start-applet"] ?? .infinity <= 2_000_000) }
  }

  /// The typical values, by name, in the output of --json.
  private struct Figures {
    private let results: [[String: Any]]

    init(json: String) throws {
      // Among other output.
      let begin = json.range(of: "{\n\"format\"")?.lowerBound ?? json.startIndex
      let end = json.range(of: "\n]\n}\n", options: .backwards)?.upperBound ?? json.endIndex
      let text = json[begin..<max(begin, end)]
      let root = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
      results = try #require(root?["results"] as? [[String: Any]])
    }

    private func result(_ name: String) -> [String: Any]? { results.first { $0["name"] as? String == name } }
    subscript(name: String) -> Double? { result(name)?["typical"] as? Double }
    subscript(baselineOf name: String) -> Double? { (result(name)?["floor"] as? [String: Any])?["typical"] as? Double }
  }

  /// Benchmarks that cannot be measured do not affect others, and are reported.
  @Test(arguments: [Board.arm64, .riscv64])
  func growthFails(_ board: Board) throws {
    let run = try Self.bench(board, "--runs 10 call", compare: #"{"name": "call", "typical": 1000"#)
    #expect(run.status == 1, "\(run.output)\(run.errors)")
    #expect(run.output.contains("exceeds the tolerance"), "\(run.output)")
    #expect(!run.output.contains("not measured"), "\(run.output)")
  }

  /// Debian's mirror changes: a call that takes five times as long is not Swiftlet's fault if the baseline does, too.
  @Test(arguments: [("call", 0), ("call-non-secure", 1)])
  func anotherKernelIsComparedByRatios(_ name: String, _ status: Int32) throws {
    let run = try Self.bench(
      .arm64, "--runs 10 \(name)", compare: #"{"name": "\#(name)", "typical": 1000, "floor": {"typical": 995}"#,
      kernel: "6.1.0-other")
    #expect(run.status == status, "\(run.output)\(run.errors)")
    #expect(run.output.contains("from kernel 6.1.0-other"), "\(run.output)")
    #expect(run.output.contains(" 1.005 -> 1."), "\(run.output)")
  }

  /// Cases that need no special clock: errors, skipped benchmarks, and several CPUs.
  private static let session = Session(
    [
      // A benchmark without its file is reported as skipped, and is not a failure.
      Case(.riscv64, "bench linux", output: .containing(["median"]), errors: .containing(["bench linux: skipped"])),
      Case(
        .riscv64, "bench call call-mmio", status: 122,
        errors: .containing(["'call-mmio' is not for riscv64"])),
      Case(
        .riscv64, "bench --list", script: "swiftlet bench --list | grep -c '^call'", output: "3\n"),
      // Before anything is measured.
      Case(
        .riscv64, "bench call --json /nowhere/x", status: 123,
        errors: .containing(["/nowhere/x: cannot be opened: "])),
      Case(
        .riscv64, "bench call --compare nowhere.json", status: 127,
        errors: .containing(["nowhere.json: cannot be opened: "])),
      // A file can be compared with and overwritten.
      Case(
        .riscv64, "bench twice",
        script: """
          swiftlet bench call --runs 20 --json /tmp/a.json >/dev/null && sed -i 's/"tolerancePercent":3//; s/,}/}/' /tmp/a.json
          swiftlet bench call --runs 20 --json /tmp/a.json --compare /tmp/a.json | grep -c 'call .*->' && head -c 1 /tmp/a.json
          """, output: "1\n{"),
      // On two threads, on two CPUs.
      parallel(.arm64), parallel(.riscv64),
    ], timeout: 200, options: ["--smp", "2"])

  /// It takes longer than other cases.
  private static func parallel(_ board: Board) -> Case {
    Case(
      board, "bench parallel", script: "timeout 120 /bin/swiftlet bench parallel --runs 1",
      output: .containing(["\nparallel-1 ", "\nparallel-2 ", "processors    2"]))
  }

  @Test(arguments: session.cases)
  func casesWithoutAnInstructionClock(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// - Parameters:
  ///   - result: of one benchmark, as in a file, up to its tolerance.
  ///   - kernel: that of the file; nil for a file without it.
  private static func bench(_ board: Board, _ words: String, compare result: String, kernel: String? = nil) throws
    -> Program.Result
  {
    try withScratchDirectory { directory in
      let file = directory.appending(path: "earlier.json")
      let release = kernel.map { #", "kernel": "\#($0)""# } ?? ""
      let text = """
        {"format": 1, "host": {"architecture": "\(board.architecture)", "clock": "instructions"\(release)}, "results": [
        \(result), "tolerancePercent": 3}]}
        """
      try Data(text.utf8).write(to: file)
      return try bench(board, words, file: file.path)
    }
  }

  /// The file is passed as standard input, since another file on the board would change the layout of its memory. For
  /// the same reason the board has the kernel of a Linux guest, as in tools/bench.
  /// - Parameters:
  ///   - added: additional files on the board.
  ///   - command: executed afterwards, whatever the outcome.
  private static func bench(
    _ board: Board, _ words: String, file: String, added: [String] = [], then command: String = ":"
  ) throws -> Program.Result {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    let script =
      "cat >earlier.json; swiftlet bench --instructions --compare earlier.json \(words); status=$?; \(command); "
      + "exit $status"
    let added = added.map { "--add '\($0)'" }.joined(separator: " ")
    return try Program.run(
      "/bin/sh",
      [
        "-c",
        "\"$0\" --icount --timeout 400 --linux --memory 1G \(added) \(board.rawValue) -- sh -c '\(script)' <\"$1\"",
        Repository.path("boards/run"), file,
      ])
  }
}
