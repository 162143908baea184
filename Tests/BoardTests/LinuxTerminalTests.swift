import Testing

/// A Linux guest on a terminal. Each test boots a board, because it types.
@Suite(.onlyInCheck)
struct LinuxTerminalTests {
  /// Runs a shell script of the board on a terminal, and types these keys.
  private func type(_ keys: String, _ board: Board, _ script: String) throws -> Program.Result {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    return try Program.run(
      Repository.path("boards/run"),
      ["--tty", "--linux", "--memory", "1G", "--timeout", "300", board.rawValue, "--", "sh", "-c", script], keys: keys)
  }

  /// The virtio console has the terminal's size, also after a change. Meanwhile the process is stopped, the terminal's
  /// modes are changed, and the process is continued: it sets raw mode again. Afterwards the terminal has its original
  /// modes.
  @Test(arguments: [Board.arm64, .riscv64]) func theConsoleFollowsTheTerminal(board: Board) throws {
    let result = try type(
      "until [ \"$(stty size)\" = '30 100' ]; do sleep 1; done; echo resized: $(tty)\nexit\n", board,
      """
      stty -a >/tmp/before
      (
        sleep 4; run=$(pidof swiftlet); kill -STOP $run; stty -F /dev/tty sane; kill -CONT $run
        until stty -F /dev/tty -a | grep -q -e -icanon; do sleep 1; done; stty -F /dev/tty rows 30 cols 100
      ) &
      swiftlet run --linux Image --initrd initrd --append 'quiet console=hvc0'
      status=$?; stty rows 24 cols 80; stty -a | cmp - /tmp/before && echo the same: $status
      """)
    #expect(result.status == 0, "\(result)")
    #expect(result.output.contains("\nresized: /dev/hvc0\r\n"), "\(result)")
    #expect(result.output.contains("\nthe same: 0\r\n"), "\(result)")
  }

  /// Ctrl-A x ends a guest that does not read input; Ctrl-A with another key does not.
  @Test func theEscapeSequenceEndsTheRun() throws {
    let result = try type("\u{1}y\u{1}x", .riscv64, "swiftlet run --linux Image --append quiet")
    #expect(result.status == 125, "\(result)")
    #expect(result.output.contains("swiftlet: Image: stopped\r\n"), "\(result)")
  }
}
