import Testing

/// A program in system mode and its secure peer.
struct WorldsTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases))

  @Test(arguments: session.cases)
  func pair(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func cases(_ board: Board) -> [Case] {
    func ask(
      _ words: String, options: String = "", status: Int32 = 0, output: Expected, errors: Expected = ""
    ) -> Case {
      Case(
        board, "run --non-secure \(options)--with-secure trusted.elf system-ask.elf \(words)", status: status,
        output: output, errors: errors)
    }
    return [
      Case(
        board, "run --non-secure system-ask.elf --with-secure trusted.elf",
        output: """
          trusted: ready
          system-ask: 20 and 22 are 42
          system-ask: 42 is sealed, and opens to 42
          system-ask: 15 bytes of shared memory: the two worlds!

          """),
      ask(
        "crash 0", output: "trusted: ready\ntrusted: reading 0x0\nsystem-ask: crash: -32, and then -32, -32\n",
        errors: .pattern(
          "swiftlet: trusted\\.elf: invalid read, address 0x0, at pc 0x8[^\n]+\n"
            + "(\\s+[a-z0-9]+:[0-9a-f]{16})+\n")),
      ask(
        "exit 7", output: "trusted: ready\nsystem-ask: exit: -32, and then -32\n",
        errors: "swiftlet: trusted.elf: exited with status 7\n"),
      ask("exit 0", output: "trusted: ready\nsystem-ask: exit: -32, and then -32\n"),
      ask("sleep 10000000", output: "trusted: ready\nsystem-ask: slept\n"),
      ask(
        "spin", options: "--timeout 400ms ", status: 124, output: "trusted: ready\n",
        errors: .containing(["swiftlet: system-ask.elf: timed out"])),
      ask(
        "sleep 3600000000000", options: "--timeout 400ms ", status: 124, output: "trusted: ready\n",
        errors: .containing(["swiftlet: system-ask.elf: timed out"])),
      ask(
        "both", options: "--cpus 2 --timeout 400ms ", status: 124, output: "trusted: ready\n",
        errors: .containing(["swiftlet: system-ask.elf: timed out"])),
      Case(board, "run --non-secure system-ask.elf alone", output: "system-ask: not supported\n"),
      Case(
        board, "run --with-secure trusted.elf hello-c.elf", status: 122,
        errors: .containing(["--with-secure needs --non-secure"])),
      Case(
        board, "run --non-secure --with-secure nowhere.elf system-ask.elf", status: 127,
        errors: .containing(["swiftlet: nowhere.elf: cannot be read"])),
      // GoTEE's example, both halves.
      Case(
        board, "run --non-secure system-mississippi.elf --with-secure mississippi.elf",
        output: .pattern(
          "system-mississippi: yielding to the monitor\n(.*\n)+applet says 5 mississippi\n"
            + "applet is about to read monitor memory at 0x[0-9a-f]+\n"
            + "system-mississippi: back from many turns of the applet, which has ended \\(-32\\)\n"),
        errors: .containing(["swiftlet: mississippi.elf: invalid read"])),
    ]
  }
}
