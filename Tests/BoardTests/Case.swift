import Testing

/// A command on a board, and its expected outcome.
struct Case: Sendable, CustomTestStringConvertible {
  let board: Board
  /// Unique among a board's cases in a session.
  let name: String
  /// Lines for the board's shell, in the directory of the applets. The last command determines the outcome.
  let script: String
  var status: Int32 = 0
  var output: Expected = ""
  var errors: Expected = ""

  /// The script and the name are `swiftlet` with these arguments.
  init(_ board: Board, _ words: String, status: Int32 = 0, output: Expected = "", errors: Expected = "") {
    self.init(board, words, script: "swiftlet " + words, status: status, output: output, errors: errors)
  }

  init(
    _ board: Board, _ name: String, script: String, status: Int32 = 0, output: Expected = "", errors: Expected = ""
  ) {
    self.board = board
    self.name = name
    self.script = script
    self.status = status
    self.output = output
    self.errors = errors
  }

  var testDescription: String { "\(board.rawValue): \(name)" }

  /// Records an issue if the outcome differs from this.
  func check(in session: Session, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let outcome = try await session.outcome(of: self)
    #expect(
      outcome.status == status, "\(testDescription)\n\(outcome.output)\(outcome.errors)", sourceLocation: sourceLocation
    )
    #expect(
      try output.describes(outcome.output),
      "\(testDescription): standard output is\n\(outcome.output)and should be \(output)", sourceLocation: sourceLocation
    )
    #expect(
      try errors.describes(outcome.errors),
      "\(testDescription): standard error is\n\(outcome.errors)and should be \(errors)", sourceLocation: sourceLocation)
  }
}

/// An expected text.
enum Expected: Sendable, ExpressibleByStringInterpolation {
  /// Exactly this text.
  case text(String)
  /// A text that this regular expression matches completely.
  case pattern(String)
  /// A text that contains all of these.
  case containing([String])

  init(stringLiteral text: String) { self = .text(text) }

  func describes(_ text: String) throws -> Bool {
    switch self {
    case .text(let expected): text == expected
    case .pattern(let pattern): try text.wholeMatch(of: Regex(pattern)) != nil
    case .containing(let parts): parts.allSatisfy(text.contains)
    }
  }
}
