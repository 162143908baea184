import Foundation
import Testing

/// PyPI's varlink client.
private enum VarlinkClient {
  /// Its path; nil if it is not available.
  static let directory: String? = {
    guard let client = try? Program.run(Repository.path("tools/varlink-client"), []), client.status == 0 else {
      return nil
    }
    return client.output.trimmingCharacters(in: .whitespacesAndNewlines)
  }()
}

/// The daemon and PyPI's varlink client for Python, unchanged.
@Suite(
  .onlyInCheck,
  .enabled(
    if: VarlinkClient.directory != nil, "PyPI's varlink client cannot be had here: tools/varlink-client tells why"))
struct VarlinkTests {
  private func python(_ script: String, _ words: [String]) throws {
    let directory = try #require(VarlinkClient.directory)
    let result = try Program.run(
      "/usr/bin/env", ["PYTHONPATH=\(directory)", "python3", Repository.path("Tests/Varlink/\(script)")] + words)
    #expect(result.status == 0, "\(result.output)\(result.errors)")
    // Tests that were not possible.
    if result.status == 0, !result.errors.isEmpty { print(result.errors) }
  }

  @Test("Every method on a board, over swiftlet bridge", arguments: [Board.arm64, .riscv64])
  func board(_ board: Board) throws { try python("board.py", [board.rawValue]) }

  @Test("Valid and malicious clients of a daemon on this machine")
  func host() throws {
    // The program that was built with the tests, in their directory.
    let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("swiftlet")
    try python("host.py", [program.path])
  }
}
