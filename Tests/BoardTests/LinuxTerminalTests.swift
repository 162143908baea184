import Testing

/// A Linux guest on a terminal. Each takes a board of its own, for it types.
struct LinuxTerminalTests {
  /// Runs a script of the board's shell on a terminal, with these keys.
  private func type(_ keys: String, _ board: Board, _ script: String) throws -> Program.Result {
    _ = try Repository.built("\(board.architecture)/swiftlet")
    return try Program.run(
      Repository.path("boards/run"),
      ["--tty", "--linux", "--memory", "1G", "--timeout", "300", board.rawValue, "--", "sh", "-c", script], keys: keys)
  }

  /// The virtio console has the terminal's size, and follows it; afterwards the terminal is as it was.
  @Test func theConsoleFollowsTheTerminal() throws {
    let result = try type(
      "until [ \"$(stty size)\" = '30 100' ]; do sleep 1; done; echo resized: $(tty)\nexit\n", .arm64,
      """
      stty -a >/tmp/before; (sleep 4; stty -F /dev/tty rows 30 cols 100) &
      swiftlet run --linux Image --initrd initrd --append 'quiet console=hvc0'
      status=$?; stty rows 24 cols 80; stty -a | cmp - /tmp/before && echo the same: $status
      """)
    #expect(result.status == 0, "\(result)")
    #expect(result.output.contains("\nresized: /dev/hvc0\r\n"), "\(result)")
    #expect(result.output.contains("\nthe same: 0\r\n"), "\(result)")
  }

  /// Ctrl-A x ends a guest that listens to nothing yet; another key behind Ctrl-A does not.
  @Test func theMonitorsKeyEndsTheRun() throws {
    let result = try type("\u{1}y\u{1}x", .riscv64, "swiftlet run --linux Image --append quiet")
    #expect(result.status == 125, "\(result)")
    #expect(result.output.contains("swiftlet: Image: stopped\r\n"), "\(result)")
  }
}
