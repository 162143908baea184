import Testing

/// Limits of time, copies in lockstep, and what --verbose says.
struct RunOptionTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { limits($0) + copies($0) + [verbose($0)] })

  @Test(arguments: session.cases)
  func run(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func limits(_ board: Board) -> [Case] {
    func stopped(_ options: String, _ applet: String, prints: String, _ reason: String) -> Case {
      Case(
        board, "run \(options) \(applet).elf", status: 124, output: .text("\(applet): \(prints)\n"),
        errors: .pattern("swiftlet: \(applet)\\.elf: \(reason), and was stopped at pc 0x8[0-9a-f]+, in [^\n]+\n"))
    }
    let late = "still running at its time limit"
    return [
      stopped("--timeout 300ms", "loop", prints: "spinning", late),
      stopped("-t 0.3", "call-loop", prints: "calling", late),
      Case(
        board, "run --timeout 300ms sleep-call.elf", status: 124, output: .pattern("sleep-call: [^\n]+\n"),
        errors: .containing(["swiftlet: sleep-call.elf: \(late), and was stopped at pc 0x8"])),
      Case(board, "run --timeout 1m exit-status.elf 0", output: "exit-status: 0\n"),
      stopped("--cpu-budget 200ms", "loop", prints: "spinning", "has used up its processor time"),
      stopped("--cpu-budget 200ms", "call-loop", prints: "calling", "has used up its processor time"),
      // Sleep is no use of the processor.
      Case(
        board, "run --cpu-budget 400ms sleep.elf 1000", output: "sleep: 1000 ms have passed\n"),
      stopped("--call-budget 200ms", "loop", prints: "spinning", "has used up the processor time of one call"),
      // Many calls, each within the budget, and more than it together.
      Case(
        board, "run --call-budget 200ms --timeout 1s call-loop.elf", status: 124, output: "call-loop: calling\n",
        errors: .containing([late])),
    ]
  }

  private static func copies(_ board: Board) -> [Case] {
    // On emulated riscv64 boards a guest's fcsr is now and then zero once its thread has lost the processor, most of all
    // with --parallel, and copies that use it differ. So the applet that uses it is for arm64.
    let (applet, output): (String, Expected) =
      board == .arm64
      ? ("registers.elf", "registers: 1000 rounds\nregisters: all kept\n") : ("call-loop-n.elf 1000", "")
    return [
      Case(board, "run --lockstep \(applet)", output: output),
      Case(board, "run --lockstep --parallel \(applet)", output: output),
      Case(board, "run --shadows 2 \(applet)", output: output),
      Case(board, "run --shadows 2 --parallel \(applet)", output: output),
      Case(
        board, "run --lockstep hello.elf --status=5", status: 5,
        output: .pattern("hello from Swift on \(board.architecture)\narguments: --status=5\nrandom: [0-9a-f]{32}\n")),
      // A fault in both copies alike is the applet's own.
      Case(
        board, "run --lockstep null-read.elf", status: 121, output: .containing(["null-read: reading 0"]),
        errors: .containing(["swiftlet: null-read.elf: read from memory that it may not read, address 0x0"])),
      Case(
        board, "run --shadows 2 --inject-faults 5 call-loop-n.elf 200",
        errors: .containing(["swiftlet: injected: bit ", "swiftlet: lockstep: ", " was repaired "])),
      // Two copies: a difference shows, and nobody can tell which is right.
      Case(
        // The fault may come before the first line is written.
        board, "run --lockstep --inject-faults 30 registers.elf", status: 120, output: .containing([]),
        errors: .containing(["swiftlet: injected: bit ", "swiftlet: registers.elf: lockstep failure: "])),
    ]
  }

  private static func verbose(_ board: Board) -> Case {
    let calls = board == .arm64 ? "hvc" : "sbi"
    return Case(
      board, "run --verbose hello-c.elf", output: .containing(["hello from C on \(board.architecture)\n"]),
      errors: .pattern(
        """
        swiftlet: hello-c\\.elf: entry 0x80000000
        (swiftlet:   segment 0x8000[0-9a-f]{4} [0-9]+ bytes r[w-][x-]
        )+swiftlet: memory 0x80000000 to 0x810[0-9a-f]{5}, calls by \(calls)
        swiftlet: ready after [0-9]+ us
        swiftlet: exited with status 0 after [0-9]+ us

        """))
  }
}
