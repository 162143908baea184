import Foundation
import Testing

/// `swiftlet bench` on boards whose clock counts instructions, beside the project's reference figures.
struct BenchmarkTests {
  /// All of the benchmarks but those that take long: memory, parallel (on one processor a call), processor, linux.
  private static let selection = """
    start call-sandboxed daemon open call call-non-secure copy getrandom console rpc rpc-forwarded lockstep clone stop
    """

  @Test(arguments: [Board.arm64, .riscv64])
  func noFigureGrows(_ board: Board) throws {
    let file = Repository.path("benchmarks/\(board.rawValue).json")
    let architecture = board.architecture
    let words = Self.selection + (architecture == "arm64" ? " call-mmio" : "")
    try withScratchFolder { folder in
      let floor = folder.appending(path: "start-floor").path
      let made = try Program.run(Repository.path("tools/start-floor"), [architecture, floor])
      try #require(made.status == 0, "\(made.errors)")
      let applet = try Repository.built("\(architecture)/guests/hello.elf")
      let run = try Self.bench(
        board, words + " --applet hello.elf --beside ./start-floor --json new.json", file: file,
        added: [applet, floor], then: "cat new.json >&2")
      #expect(run.status == 0, "tools/bench \(board.rawValue) tells more\n\(run.output)\(run.errors)")
      for line in ["start-applet ", "daemon-start ", "copy-65536 ", "lockstep-2 ", "rpc-forwarded ", "clone-close "] {
        #expect(run.output.contains("\n" + line), "\(run.output)")
      }
      #expect(!run.output.contains(" new\n"), "\(run.output)")
      #expect(!run.output.contains("not measured"), "\(run.output)")
      try Self.checkGoals(Figures(json: run.errors), board)
    }
  }

  /// What the project promises, whatever the reference says.
  private static func checkGoals(_ figures: Figures, _ board: Board) {
    let isARM = board.architecture == "arm64"
    func expect(
      _ name: String, atMost limit: Double, of other: String? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
      guard let figure = figures[name], let base = other.map({ figures[$0] }) ?? figures[floorOf: name] else {
        Issue.record("\(name) is missing", sourceLocation: location)
        return
      }
      #expect(figure <= limit * base, "\(board.rawValue) \(name): \(figure), \(base)", sourceLocation: location)
    }
    expect("call", atMost: 1.03)
    expect("call-non-secure", atMost: isARM ? 1.9 : 1.1)
    expect("call-non-secure-arguments", atMost: isARM ? 1.9 : 1.1)
    expect("lockstep-1", atMost: 2.2, of: "call")
    expect("start-applet", atMost: 1.15, of: "start-beside")
    expect("start-applet-memory", atMost: 1.5, of: "start-beside-memory")
    expect("daemon-start", atMost: 1.5)
    if isARM { #expect(figures["start-applet"] ?? .infinity <= 2_000_000) }
  }

  /// Figures that stand for samples, by name, of what --json has written.
  private struct Figures {
    private let results: [[String: Any]]

    init(json: String) throws {
      // Among what else was said.
      let begin = json.range(of: "{\n\"format\"")?.lowerBound ?? json.startIndex
      let end = json.range(of: "\n]\n}\n", options: .backwards)?.upperBound ?? json.endIndex
      let text = json[begin..<max(begin, end)]
      let root = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
      results = try #require(root?["results"] as? [[String: Any]])
    }

    private func result(_ name: String) -> [String: Any]? { results.first { $0["name"] as? String == name } }
    subscript(name: String) -> Double? { result(name)?["typical"] as? Double }
    subscript(floorOf name: String) -> Double? { (result(name)?["floor"] as? [String: Any])?["typical"] as? Double }
  }

  /// What was measured is small beside what cannot be; and what was asked for and is not there is said.
  @Test(arguments: [Board.arm64, .riscv64])
  func growthFails(_ board: Board) throws {
    let run = try Self.bench(board, "--runs 10 call", compare: #"{"name": "call", "typical": 1000"#)
    #expect(run.status == 1, "\(run.output)\(run.errors)")
    #expect(run.output.contains("more than it may"), "\(run.output)")
    #expect(!run.output.contains("not measured"), "\(run.output)")
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

  /// Cases that need no clock of their own: what is refused or skipped, and several processors.
  private static let session = Session(
    [
      // What cannot be measured for want of a file is said, and is no failure.
      Case(.riscv64, "bench linux", output: .containing(["median"]), errors: .containing(["bench linux: skipped"])),
      Case(
        .riscv64, "bench call call-mmio", status: 122,
        errors: .containing(["there is no 'call-mmio' on riscv64"])),
      Case(
        .riscv64, "bench --list", script: "swiftlet bench --list | grep -c '^call'", output: "3\n"),
      // Before anything is measured.
      Case(
        .riscv64, "bench call --json /nowhere/x", status: 123,
        errors: .containing(["/nowhere/x cannot be opened: "])),
      Case(
        .riscv64, "bench call --compare nowhere.json", status: 127,
        errors: .containing(["nowhere.json cannot be opened: "])),
      // A file may be compared with and written anew.
      Case(
        .riscv64, "bench twice",
        script: """
          swiftlet bench call --runs 20 --json /tmp/a.json >/dev/null && sed -i 's/"tolerancePercent":3//; s/,}/}/' /tmp/a.json
          swiftlet bench call --runs 20 --json /tmp/a.json --compare /tmp/a.json | grep -c 'call .*->' && head -c 1 /tmp/a.json
          """, output: "1\n{"),
      // In two threads, on two processors.
      parallel(.arm64), parallel(.riscv64),
    ], timeout: 200, options: ["--smp", "2"])

  /// It takes longer than other cases may.
  private static func parallel(_ board: Board) -> Case {
    Case(
      board, "bench parallel", script: "timeout 120 /bin/swiftlet bench parallel --runs 1",
      output: .containing(["\nparallel-1 ", "\nparallel-2 ", "processors    2"]))
  }

  @Test(arguments: session.cases)
  func anyClockDoes(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// - Parameters:
  ///   - result: of one benchmark, as a file has it, up to its tolerance.
  ///   - kernel: that the file is of; nil for a file that does not say.
  private static func bench(_ board: Board, _ words: String, compare result: String, kernel: String? = nil) throws
    -> Program.Result
  {
    try withScratchFolder { folder in
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
  /// - Parameters:
  ///   - added: what else the board is to have.
  ///   - command: that follows, whatever came of it.
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
