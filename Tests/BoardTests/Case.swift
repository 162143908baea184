import Testing

/// A command on a board, and what it must come to.
struct Case: Sendable, CustomTestStringConvertible {
  let board: Board
  /// Unique among the cases of a board in a session.
  let name: String
  /// Lines for the board's shell, in the folder of the applets. Their outcome is the last command's.
  let script: String
  var status: Int32 = 0
  var output: Expected = ""
  var errors: Expected = ""

  /// `swiftlet` with these words is the whole script, and the name too.
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

  /// Fails the current test where the outcome is another than this.
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

/// What a text must be.
enum Expected: Sendable, ExpressibleByStringInterpolation {
  /// This text, the whole of it.
  case text(String)
  /// A text that this regular expression matches as a whole.
  case pattern(String)
  /// A text with all of these in it.
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
