import Testing

/// Bare-metal programs in system mode.
struct NonSecureTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { programs($0) + faults($0) + notPrograms($0) })

  @Test(arguments: session.cases)
  func program(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func program(
    _ board: Board, _ words: String, options: String = "", status: Int32 = 0, output: Expected = "",
    errors: Expected = ""
  ) -> Case {
    let parts = words.split(separator: " ", maxSplits: 1)
    let run = "run --non-secure \(options)system-\(parts[0]).elf" + (parts.count > 1 ? " \(parts[1])" : "")
    return Case(board, run, status: status, output: output, errors: errors)
  }

  private static func programs(_ board: Board) -> [Case] {
    let isARM = board == .arm64
    return [
      program(board, "hello one", output: "system-hello: level 1 on \(board.architecture), argument one\n"),
      program(
        board, "hello --status=5", status: 5,
        output: "system-hello: level 1 on \(board.architecture), argument --status=5\n"),
      Case(
        board, "calls", script: "printf abc | swiftlet run --non-secure system-calls.elf one two",
        output: """
          system-calls: abc
          system-calls: 4 regions
          system-calls: 25 bytes of arguments, system-calls.elf
          system-calls: counter runs
          system-calls: written by block
          system-calls: read 3 bytes

          """),
      program(board, "unknown-call", output: "system-unknown-call: not supported\n"),
      program(board, "off", output: "system-off: turning off\n"),
      program(
        board, "reset", status: 133, output: "system-reset: asking for it\n",
        errors: "swiftlet: system-reset.elf: requested a reset\n"),
      program(board, "time", output: "system-time: 20 ms were 20 ms or more\n"),
      Case(
        board, "dbcn", script: "printf abc >/tmp/typed; swiftlet run --non-secure system-dbcn.elf </tmp/typed",
        output: isARM
          ? "system-dbcn: not on arm64\n"
          : """
          system-dbcn: a line at once
          system-dbcn: a byte a call
          system-dbcn: bad addresses refused
          system-dbcn: read 3 bytes: abc

          """),
      program(
        board, "firmware",
        output: .text(
          "system-firmware: \(isARM ? "PSCI 1.0" : "SBI 2.0") or later\n"
            + "system-firmware: what is unknown is not supported\n")),
      program(
        board, "cpu-on 4", options: "--cpus 4 ",
        output: "system-cpu-on: hello from the second\nsystem-cpu-on: 4 processors, sum 6\n"),
    ]
  }

  private static func faults(_ board: Board) -> [Case] {
    func stray(_ how: String, _ message: String) -> Case {
      program(
        board, "stray-access \(how)", status: 121, output: .pattern("system-stray-access: [^\n]+\n"),
        errors: .pattern(
          "swiftlet: system-stray-access\\.elf: \(message)(, in main[^\n]+)?\n(\\s+[a-z0-9]+:[0-9a-f]{16})+\n"))
    }
    func fault(_ what: String) -> String {
      "invalid \(what), address 0x40000000, at pc 0x[0-9a-f]+"
    }
    return [
      stray("read", fault("read")), stray("write", fault("write")), stray("jump", fault("instruction fetch")),
      // With its MMU off, the memory slots decide.
      stray("read off", "load from 0x40000000, where there is no device"),
      stray("write off", "store to 0x40000000, where there is no device"),
      stray("odd-read off", fault("read")), stray("odd-write off", fault("write")),
      stray(
        "misaligned off",
        board == .arm64
          ? "load from 0x40000001, where there is no device"
          : "misaligned access, address 0x40000001, at pc 0x[0-9a-f]+"),
      stray(
        "jump off",
        board == .arm64 ? "memory error reported by the hardware at pc 0x40000000" : fault("instruction fetch")),
      // Its own exceptions cannot be handled.
      program(
        board, "page-tables empty", options: "--timeout 300ms ", status: 124, output: "system-page-tables: empty\n",
        errors: .containing(["timed out, and was stopped at pc 0x80"])),
      program(
        board, "page-tables nowhere", options: "--timeout 300ms ", status: 124, output: "system-page-tables: nowhere\n",
        errors: .containing(["timed out, and was stopped at pc 0x80"])),
      // On riscv64 a jump to an address without memory is not an exception of the guest.
      program(
        board, "page-tables wild", options: "--timeout 300ms ", status: board == .arm64 ? 124 : 121,
        output: "system-page-tables: wild\n",
        errors: .containing([
          board == .arm64 ? "timed out, and was stopped at pc 0x80" : ": invalid instruction fetch, address 0x80000"
        ])),
      Case(
        board, "run --non-secure --timeout 300ms system-loop.elf", status: 124, output: "system-loop: spinning\n",
        errors: .containing(["swiftlet: system-loop.elf: timed out, and was stopped at pc 0x8"])),
      Case(
        board, "run --non-secure --cpus 3 --timeout 300ms system-loop.elf 3", status: 124,
        output: "system-loop: spinning\n", errors: .containing(["timed out"])),
      // The time of the second CPU is limited, too, even if CPU 0, which checks limits, does nothing.
      Case(
        board, "run --non-secure --cpus 2 --cpu-budget 200ms system-second.elf spin", status: 124,
        errors: .containing(["swiftlet: system-second.elf: "])),
      Case(
        board, "a reader that reads nothing",
        script: """
          (swiftlet run --non-secure --cpus 2 --timeout 500ms system-second.elf write; echo $? >/tmp/status) | sleep 5
          cat /tmp/status
          """, output: "124\n", errors: .containing(["timed out"])),
    ]
  }

  /// An applet makes calls of system mode, and vice versa.
  private static func notPrograms(_ board: Board) -> [Case] {
    [
      Case(
        board, "run --non-secure --timeout 2s hello-c.elf", status: 121,
        errors: .containing(["swiftlet: hello-c.elf: ", " at pc 0x8"])),
      Case(
        board, "run system-hello.elf", status: 121,
        errors: .containing([
          "swiftlet: system-hello.elf: undefined instruction at pc 0x80000000",
          ": a program for system mode needs --non-secure\n",
        ])),
    ]
  }
}
