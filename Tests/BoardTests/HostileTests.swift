import Foundation
import Machine
import TestSupport
import Testing

/// Hostile guests (guests/hostile): the monitor survives each of them, and reports the cause.
@Suite(.onlyInCheck)
struct HostileTests {
  private static let rounds = 1

  static let session = Session(
    [Board.arm64, .riscv64].map { board in
      Case(
        board, "hostile guests", script: "sh ../files/hostile.sh \(rounds) 2 5 \(floods.joined(separator: " "))",
        output: .pattern(
          kinds.map { "\($0): \(rounds) runs, [0-9]+ calls, [0-9]+ ended, [0-9]+ stopped, 0 odd\n" }.joined()
            + floods.map {
              "\($0) for 2 s: [0-9]+ KiB, grown by -?[0-9]{1,2} KiB, ended with 124, its neighbour with 0\n"
            }.joined()
            + "a neighbour's calls: [0-9]+ ms alone, [0-9]+ ms beside them\n"
            + daemonFloods.map { "\($0) under the daemon for 5 s: [0-9]+ KiB, grown by -?[0-9]{1,3} KiB\n" }.joined()
            // At most 384 KiB of output and two slots of values are kept; 100 lines of the log, and ten more each
            // second.
            + "files of all: [0-9]{1,3} KiB at most, the daemon's log: [0-9]{1,4} lines\n"
            + "6 of them stopped, the daemon ended with 0, a neighbour with 0\n"
            + "hello from Swift on \(board.architecture)\n"),
        // The causes for which guests were stopped.
        errors: .pattern("[^@]*"))
    }
  ) { board in
    let architecture: Architecture = board.architecture == "arm64" ? .arm64 : .riscv64
    var files = [
      "hostile.sh": (try? [UInt8](Data(contentsOf: URL(filePath: Repository.path("guests/hostile/hostile.sh"))))) ?? []
    ]
    // The same programs each time; `make robustness` runs more of them.
    for number in 1...rounds {
      files["code-\(number)"] = ELFBuilder.random(architecture, seed: UInt64(number)).bytes()
    }
    return files
  }

  private static let kinds = [
    "calls", "calls in lockstep", "writes", "own code", "racing calls", "calls and writes in system mode",
    "random code",
    "random code in system mode", "drivers of Linux guests",
  ]

  /// Guests that keep the monitor busy; its memory grows by less than 100 KiB.
  private static let floods = ["output"]
  private static let daemonFloods = ["output", "rpc", "hoard", "random", "log", "values", "daemon"]

  @Test(arguments: session.cases)
  func guests(_ entry: Case) async throws { try await entry.check(in: Self.session) }
}
