import Foundation

/// Cases that share one boot of each of their boards. A board boots when the first of its cases is asked for.
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
  private var boots: [Board: Task<Boot, any Error>] = [:]

  /// - Parameters:
  ///   - cases: by distinct names on each board.
  ///   - programs: what else of build/ARCH the board is to have, beside the folder of the applets.
  ///   - timeout: seconds that a board has for all its cases.
  ///   - options: of boards/run.
  ///   - files: what else the board is to have in ../files, by name.
  init(
    _ cases: [Case], programs: [String] = [], timeout: Int = 100, options: [String] = [],
    files: @escaping @Sendable (Board) -> [String: [UInt8]] = { _ in [:] }
  ) {
    self.cases = cases
    self.programs = programs
    self.timeout = timeout
    self.options = options
    self.files = files
  }

  /// What a case came to.
  /// - Throws: `Repository.Missing` where something is not built, `Incomplete` where the board did not get that far.
  func outcome(of wanted: Case) async throws -> Outcome {
    let board = wanted.board
    let boot =
      boots[board]
      ?? Task { [cases, programs, timeout, options, files] in
        let programs = try programs.map { try Repository.built("\(board.architecture)/\($0)") }
        return try await Boot.run(
          board, cases.filter { $0.board == board }, programs: programs,
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

/// One run of a board, with the outcomes of the cases that it got to.
private struct Boot: Sendable {
  var outcomes: [String: Session.Outcome] = [:]
  /// How boards/run ended.
  let end: String

  /// Boards that run at a time: each keeps a processor busy.
  private static let queue: OperationQueue = {
    let queue = OperationQueue()
    queue.maxConcurrentOperationCount = max(2, ProcessInfo.processInfo.activeProcessorCount / 2)
    return queue
  }()

  /// Boots a board off the threads that Swift's tasks share, for it blocks.
  static func run(
    _ board: Board, _ cases: [Case], programs: [String], options: [String], files: [String: [UInt8]]
  ) async throws -> Boot {
    try await withCheckedThrowingContinuation { continuation in
      queue.addOperation { continuation.resume(with: Result { try run(board, cases, programs, options, files) }) }
    }
  }

  private static func run(
    _ board: Board, _ cases: [Case], _ programs: [String], _ options: [String], _ files: [String: [UInt8]]
  ) throws -> Boot {
    precondition(Set(cases.map(\.name)).count == cases.count, "two cases of a board have the same name")
    _ = try Repository.built("\(board.architecture)/swiftlet")
    _ = try Repository.built("\(board.architecture)/guests/hello.elf")
    let guests = try Repository.built("\(board.architecture)/guests")
    return try withScratchFolder { scratch in
      let script = scratch.appending(path: "cases.sh"), folder = scratch.appending(path: "files")
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      for (name, bytes) in files { try Data(bytes).write(to: folder.appending(path: name)) }
      try Data(text(cases).utf8).write(to: script)
      let added = ([guests, folder.path, script.path] + programs).flatMap { ["--add", $0] }
      let run = try Program.run(
        Repository.path("boards/run"),
        options + added + [board.rawValue, "--", "sh", "cases.sh"])
      return Boot(run, cases)
    }
  }

  /// A script that runs the cases, each in a shell of its own, and prints for each a line of
  /// "@@ INDEX STATUS OUTPUT ERRORS", the texts in base64.
  private static func text(_ cases: [Case]) -> String {
    // The limit turns an applet that hangs into one failed case.
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
