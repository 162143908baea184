import Foundation

/// Cases that share one boot of each of their boards. A board is booted when its first case is run.
actor Session {
  struct Outcome: Sendable {
    let status: Int32
    let output: String
    let errors: String
  }

  nonisolated let cases: [Case]
  private let files: @Sendable (Board) -> [String: [UInt8]]
  private let programs: [String]
  private let timeout: Int
  private let options: [String]
  /// The source file without its extension, which is the suite's name.
  private let suite: String
  private var boots: [Board: Task<Boot, any Error>] = [:]

  /// - Parameters:
  ///   - cases: with distinct names on each board.
  ///   - programs: other files in build/ARCH that the board needs, besides the directory of the applets.
  ///   - timeout: seconds for all cases of a board.
  ///   - options: for boards/run.
  ///   - files: additional files in ../files, by name.
  init(
    _ cases: [Case], programs: [String] = [], timeout: Int = 100, options: [String] = [], file: String = #fileID,
    files: @escaping @Sendable (Board) -> [String: [UInt8]] = { _ in [:] }
  ) {
    self.cases = cases
    self.programs = programs
    self.timeout = timeout
    self.options = options
    suite = URL(filePath: file).deletingPathExtension().lastPathComponent
    self.files = files
  }

  /// The outcome of a case.
  /// - Throws: `Repository.Missing` if something is not built, `Incomplete` if the board ended before this case.
  func outcome(of wanted: Case) async throws -> Outcome {
    let board = wanted.board
    let boot =
      boots[board]
      ?? Task { [cases, programs, timeout, options, suite, files] in
        let programs = try programs.map { try Repository.built("\(board.architecture)/\($0)") }
        return try await Boot.run(
          board, cases.filter { $0.board == board }, of: suite, programs: programs,
          options: ["--timeout", String(timeout)] + options, files: files(board))
      }
    boots[board] = boot
    let result = try await boot.value
    guard let outcome = result.outcomes[wanted.name] else {
      throw Incomplete(board: board, name: wanted.name, end: result.end)
    }
    return outcome
  }

  struct Incomplete: Error, CustomStringConvertible {
    let board: Board
    let name: String
    let end: String
    var description: String { "\(board.rawValue) has no outcome of '\(name)': \(end)" }
  }
}

/// One run of a board, with the outcomes of the cases that it completed.
private struct Boot: Sendable {
  var outcomes: [String: Session.Outcome] = [:]
  /// The exit status of boards/run.
  let end: String

  /// One board of an architecture at a time: each keeps a CPU busy, and a kept board (boards/up) serves one run.
  private static let queues = ["arm64", "riscv64"].reduce(into: [String: OperationQueue]()) { queues, architecture in
    let queue = OperationQueue()
    queue.maxConcurrentOperationCount = 1
    queues[architecture] = queue
  }

  /// Boots a board on a thread that is not shared by Swift's tasks, since it blocks.
  static func run(
    _ board: Board, _ cases: [Case], of suite: String, programs: [String], options: [String], files: [String: [UInt8]]
  ) async throws -> Boot {
    try await withCheckedThrowingContinuation { continuation in
      queues[board.architecture]!.addOperation {
        let begin = ContinuousClock.now
        continuation.resume(with: Result { try run(board, cases, programs, options, files) })
        // tools/test adds these up: a suite's own time includes waiting for a board.
        print("board: \(suite) \(board.rawValue) \((ContinuousClock.now - begin) / .seconds(1)) s")
      }
    }
  }

  private static func run(
    _ board: Board, _ cases: [Case], _ programs: [String], _ options: [String], _ files: [String: [UInt8]]
  ) throws -> Boot {
    precondition(Set(cases.map(\.name)).count == cases.count, "two cases of a board have the same name")
    _ = try Repository.built("\(board.architecture)/swiftlet")
    _ = try Repository.built("\(board.architecture)/guests/hello.elf")
    let guests = try Repository.built("\(board.architecture)/guests")
    return try withScratchDirectory { scratch in
      let script = scratch.appending(path: "cases.sh"), directory = scratch.appending(path: "files")
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
      for (name, bytes) in files { try Data(bytes).write(to: directory.appending(path: name)) }
      try Data(text(cases).utf8).write(to: script)
      let added = ([guests, directory.path, script.path] + programs).flatMap { ["--add", $0] }
      let run = try Program.run(
        Repository.path("boards/run"),
        options + added + [board.rawValue, "--", "sh", "cases.sh"],
        // The boards of this run of tools/test.
        boots: ProcessInfo.processInfo.environment["SWIFTLET_KEPT_BOARDS"] == nil)
      return Boot(run, cases)
    }
  }

  /// A script that runs the cases, each in its own shell, and prints for each a line "@@ INDEX STATUS OUTPUT ERRORS",
  /// with the texts in base64.
  private static func text(_ cases: [Case]) -> String {
    // With the limit, an applet that hangs fails only one case.
    var text = "swiftlet() { timeout 20 /bin/swiftlet \"$@\"; }\ncd guests\n"
    for (index, entry) in cases.enumerated() {
      text += """
        (
        \(entry.script)
        ) </dev/null >/tmp/output 2>/tmp/errors
        echo "@@ \(index) $? =$(base64 -w 0 /tmp/output) =$(base64 -w 0 /tmp/errors)"

        """
    }
    return text
  }

  private init(_ run: Program.Result, _ cases: [Case]) {
    end = "boards/run ended with status \(run.status)\n\(run.errors)"
    for line in run.output.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 5, words[0] == "@@", let index = Int(words[1]), cases.indices.contains(index),
        let status = Int32(words[2]), let output = Self.decoded(words[3]), let errors = Self.decoded(words[4])
      else { continue }
      outcomes[cases[index].name] = Session.Outcome(status: status, output: output, errors: errors)
    }
  }

  private static func decoded(_ word: Substring) -> String? {
    Data(base64Encoded: String(word.dropFirst())).map { String(decoding: $0, as: UTF8.self) }
  }
}
