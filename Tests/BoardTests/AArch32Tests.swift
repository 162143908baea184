import Testing

/// Applets of 32 bits, on a Cortex-A72, which has AArch32 in user mode. `aarch32` does what GoTEE's applets for arm do.
struct AArch32Tests {
  static let session = Session(cases + faults)

  @Test(arguments: session.cases)
  func appletOf32BitsRuns(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let lines = ["floating point", "registers", "heap", "random", "rpc", "time"]
  private static let prints = Expected.text(lines.map { "aarch32: \($0)\n" }.joined())

  private static func run(_ options: String, _ words: String, errors: Expected = "") -> Case {
    Case(.arm64, "run \(options)\(words)", output: prints, errors: errors)
  }

  private static let cases =
    ["", "--transport mmio ", "--lockstep ", "--shadows 2 --parallel "].flatMap { options in
      [run(options, "aarch32.elf"), run(options, "aarch32-thumb.elf")]
    } + [
      run("--shadows 2 --inject-faults 1 ", "aarch32.elf", errors: .containing([])),
      DaemonTests.daemon(
        .arm64, "AArch32 in the daemon", "swiftlet start -n one aarch32.elf; swiftlet wait one; swiftlet logs one",
        output: .text("one\n" + lines.map { "aarch32: \($0)\n" }.joined())),
      // Beside a program in system mode, which asks it.
      Case(
        .arm64, "run --non-secure --with-secure aarch32.elf system-ask.elf exit",
        output: .text(lines.map { "aarch32: \($0)\n" }.joined() + "system-ask: exit: -32, and then -32\n")),
      Case(
        .arm64, "run --non-secure aarch32.elf", status: 126,
        errors: .containing([
          "swiftlet: aarch32.elf: built for 32-bit Arm, which has no system mode here: build it for arm64"
        ])),
      Case(
        .arm64, "run --timeout 300ms aarch32.elf spin", status: 124,
        errors: .pattern(
          "swiftlet: aarch32\\.elf: timed out, and was stopped at pc 0x10[^\n]+, in run\\+0x[^\n]+\n"
        )),
    ]

  /// An applet is stopped with a message in the words of AArch32, and its registers by their names there.
  private static let faults = [
    ("read", "data abort: invalid read, address 0x20000000,"),
    ("write", "data abort: invalid write, address 0x20000000,"),
    ("jump", "prefetch abort: invalid instruction fetch, address 0x20000000,"),
    ("undefined", "undefined instruction"), ("privileged", "undefined instruction"),
    ("breakpoint", "prefetch abort: breakpoint instruction"),
    ("wait", "wait for an interrupt, which an applet never gets"),
    ("unknown", "call 0x7777, which is not defined"),
  ].flatMap { (word, message) in
    [("aarch32", "[0-9a-f]{5}1d0"), ("aarch32-thumb", "[0-9a-f]{5}1[df]0")].map { (applet, status) in
      Case(
        .arm64, "run \(applet).elf \(word)", status: 121,
        errors: .pattern(
          "swiftlet: \(applet)\\.elf: \(message)[^\n]*\n\\s+r0:[0-9a-f]{8}(\\s+r[0-9]+:[0-9a-f]{8}){12}\\s+sp:10fff[0-9a-f]{3}"
            + "\\s+lr:[0-9a-f]{8}\\s+pc:[0-9a-f]{8}\\s+cpsr:\(status)\\s+cause:[0-9a-f]{8}(\\s+address:20000000)?\n"))
    }
  }
}
