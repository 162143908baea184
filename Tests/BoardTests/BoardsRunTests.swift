import Foundation
import Testing

/// boards/run itself, on which all board tests depend.
@Suite(.onlyInCheck)
struct BoardsRunTests {
  /// Runs a shell command on this machine in the repository, on a thread that is not shared by Swift's tasks.
  private func shell(_ command: String) async throws -> Program.Result {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(
          with: Result {
            try Program.run("/bin/sh", ["-c", "cd \"$0\" && \(command)", Repository.root.path])
          })
      }
    }
  }

  @Test(arguments: [Board.arm64, .riscv64]) func streamsAndStatusAreThoseOfTheCommand(board: Board) async throws {
    let run = try await shell(
      "printf 'a\\000b' | boards/run --timeout 60 \(board.rawValue) -- sh -c 'cat | od -c | head -n 1; echo error >&2; exit 77'"
    )
    #expect(run.status == 77, "\(run.errors)")
    #expect(run.output.split(separator: " ").joined(separator: " ") == "0000000 a \\0 b\n")
    #expect(run.errors == "error\n")
  }

  @Test func addedFilesAreInTheDirectoryOfTheCommand() async throws {
    let run = try await shell(
      "boards/run --timeout 60 --add README.md --add dts arm64 -- sh -c 'ls; ls dts | wc -l; cmp README.md /root/README.md'"
    )
    #expect(run.status == 0, "\(run.errors)")
    #expect(run.output.hasPrefix("README.md\ndts\n"))
  }

  @Test func signalsCauseStatusesFrom128() async throws {
    let run = try await shell("boards/run --timeout 60 riscv64 -- sh -c 'kill -SEGV $$'")
    #expect(run.status == 139, "\(run.errors)")
  }

  @Test func theTimeLimitEndsTheBoard() async throws {
    // Without a time limit the command would not end.
    let run = try await shell("boards/run --timeout 4 arm64 -- sh -c 'echo begun; while :; do sleep 100; done'")
    #expect(run.status == 124)
    #expect(run.errors == "boards/run: timeout: arm64 ended after 4 s\n")
  }

  @Test(arguments: [
    ("no-such-board -- true", "no board \"no-such-board\": there are arm64, .*"),
    ("arm64", "a board, .* are needed .*"),
    ("--smp 0 arm64 -- true", "--timeout is at least 0, --smp at least 1 .*"),
    ("--disk x arm64 -- true", "--disk and --power-cut need --system, .*"),
    ("--add no-such-file arm64 -- true", "--add: there is no no-such-file .*"),
    ("--frobnicate arm64 -- true", "unrecognized arguments: --frobnicate .*"),
    // An error that occurs even for root.
    ("--add /proc/self/mem arm64 -- true", ".*Input/output error.*"),
    ("arm64 -- echo >/dev/full", ".*No space left on device.*"),
    ("arm64 -- echo $(seq 5000)", "the board could not start the command: /board.command: Argument list too long"),
  ])
  func whatTheBoardCannotDoIsStatus125(words: String, message: String) async throws {
    let run = try await shell("boards/run \(words)")
    #expect(run.status == 125)
    // The board's own messages precede it.
    #expect(try run.errors.wholeMatch(of: Regex("(init: .*\n)?boards/run: \(message)\n")) != nil, "\(run.errors)")
  }

  @Test func aBoardThatDoesNotStartCausesStatus125() async throws {
    let run = try await shell("boards/run --memory 16M arm64 -- true")
    #expect(run.status == 125)
    #expect(
      run.errors.contains("too large")
        && run.errors.hasSuffix("boards/run: the board stopped before the command had ended\n"),
      "\(run.errors)")
  }

  @Test func instructionCountsAreReproducible() async throws {
    let command = "boards/run --timeout 120 --icount arm64 -- sh -c 'read up rest </proc/uptime; echo $up'"
    let first = try await shell(command)
    let second = try await shell(command)
    #expect(first.status == 0 && first.output == second.output, "\(first) \(second)")
  }
}
