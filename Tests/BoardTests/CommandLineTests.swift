import Testing

/// What the command line says and how it ends, where no applet gets to run.
struct CommandLineTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { information($0) + usage($0) + hosts($0) })

  @Test(arguments: session.cases)
  func command(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func information(_ board: Board) -> [Case] {
    let overview: Expected = .containing(["Usage: swiftlet COMMAND", "  run ", "  check ", "  help "])
    let help: Expected = .containing(
      [
        "Usage: swiftlet run [OPTION]… APPLET.elf [ARGUMENT]…", "--memory SIZE", "--timeout DURATION",
        "--cpu-budget DURATION", "--call-budget DURATION", "--lockstep", "--shadows N", "--parallel",
        "--inject-faults PERCENT", "--transport hvc|mmio", "--verbose", "--help",
      ] + [120, 121, 122, 123, 124, 125, 126, 127].map { "\n  \($0)  " })
    return [
      Case(board, "--version", output: .pattern("swiftlet [0-9]+\\.[0-9]+\\.[0-9]+\n")),
      Case(board, "-V", output: .pattern("swiftlet [0-9]+\\.[0-9]+\\.[0-9]+\n")),
      Case(board, "--help", output: overview),
      Case(board, "help", output: overview),
      Case(board, "help run", output: help),
      Case(board, "run --help", output: help),
      Case(board, "help check", output: .containing(["Usage: swiftlet check", "Exit status: 0 where"])),
      Case(board, "check", output: .pattern(checkLines(board))),
    ]
  }

  /// Every answer yes.
  private static func checkLines(_ board: Board) -> String {
    let own =
      board.architecture == "arm64" ? ("", "SMCCC filter +yes  calls travel by HVC\n") : ("H extension +yes\n", "")
    return """
      architecture +yes  \(board.architecture), pages of 4 KiB
      /dev/kvm +yes  present and permitted
      API version +yes  12
      \(own.0)user memory +yes
      register access +yes *
      immediate exit +yes *
      vCPUs +yes  up to [0-9]+ a machine
      memory slots +yes  up to [0-9]+ a machine
      \(own.1)virtual machine +yes  made one with a vCPU
      This host can run applets\\.

      """
  }

  private static func usage(_ board: Board) -> [Case] {
    func refused(_ words: String, _ message: String, see: String = "swiftlet help run") -> Case {
      Case(board, words, status: 122, errors: .text("swiftlet: \(message); see: \(see)\n"))
    }
    func noSize(_ size: String) -> Case {
      refused(
        "run --memory \(size) hello.elf",
        "--memory '\(size)' is no size: give a number of bytes, or one with K, M or G, such as 16M")
    }
    func noDuration(_ option: String, _ duration: String) -> Case {
      refused(
        "run \(option) \(duration) hello.elf",
        "\(option) '\(duration)' is no duration: give a number of seconds, or one with ms, s, m or h, such as 500ms")
    }
    func outOfRange(_ option: String, _ value: String, _ message: String) -> Case {
      refused("run \(option) \(value) hello.elf", "\(option) '\(value)' \(message)")
    }
    var cases = [
      refused("", "a command is missing", see: "swiftlet help"),
      refused("frobnicate", "unknown command 'frobnicate'", see: "swiftlet help"),
      refused("--frobnicate", "unknown option '--frobnicate'", see: "swiftlet help"),
      refused("help frobnicate", "unknown command 'frobnicate'", see: "swiftlet help"),
      refused("help run check", "unexpected word 'check'", see: "swiftlet help help"),
      refused("check now", "unexpected word 'now'", see: "swiftlet help check"),
      refused("run", "the applet's file is missing"),
      refused("run --verbose", "the applet's file is missing"),
      refused("run --frobnicate hello.elf", "unknown option '--frobnicate'"),
      refused("run -x hello.elf", "unknown option '-x'"),
      refused("run --memory", "option '--memory' needs an argument"),
      noSize("lots"), noSize("-1"), noSize("16MB"), noSize("99999999999999999999"), noSize("18446744073709551615K"),
      outOfRange("--memory", "64K", "is out of range: give 128K to 64G"),
      outOfRange("--memory", "65G", "is out of range: give 128K to 64G"),
      noDuration("--timeout", "soon"), noDuration("--timeout", "0"), noDuration("--timeout", "1w"),
      noDuration("--timeout", "999999999999d"), noDuration("--cpu-budget", "1.2.3s"), noDuration("--call-budget", "ms"),
      outOfRange("--shadows", "0", "is out of range: give 1 to 8"),
      outOfRange("--shadows", "9", "is out of range: give 1 to 8"),
      outOfRange("--inject-faults", "101", "is no percentage: give 0 to 100"),
      refused("run --inject-faults 5 hello.elf", "--inject-faults needs --lockstep or --shadows"),
      refused("run --parallel hello.elf", "--parallel needs --lockstep or --shadows"),
      outOfRange("--transport", "pigeon", "does not exist: give hvc or mmio"),
    ]
    if board.architecture == "riscv64" {
      cases.append(
        refused(
          "run --transport mmio hello.elf", "--transport is for arm64: on riscv64 calls always travel by SBI"))
    }
    return cases
  }

  /// Hosts that cannot run applets.
  private static func hosts(_ board: Board) -> [Case] {
    func without(_ words: String, status: Int32, output: Expected = "", errors: Expected = "") -> Case {
      Case(
        board, "\(words) without /dev/kvm",
        script: "mv /dev/kvm /dev/hidden; swiftlet \(words); status=$?; mv /dev/hidden /dev/kvm; exit $status",
        status: status, output: output, errors: errors)
    }
    func forbidden(_ words: String, status: Int32, output: Expected = "", errors: Expected = "") -> Case {
      Case(
        board, "\(words) as nobody",
        script: "chmod 600 /dev/kvm; su -s /bin/sh nobody -c '/bin/swiftlet \(words)'", status: status, output: output,
        errors: errors)
    }
    func replaced(_ name: String, _ command: String, _ message: String) -> Case {
      Case(
        board, name,
        script: """
          mv /dev/kvm /dev/hidden; \(command) /dev/kvm; swiftlet run hello.elf; status=$?; rm /dev/kvm; mv /dev/hidden /dev/kvm
          exit $status
          """,
        status: 123, errors: .pattern("swiftlet: \(message)\n"))
    }
    return [
      replaced("another device as /dev/kvm", "ln -s /dev/null", "KVM_GET_API_VERSION failed: [^\n]+"),
      replaced(
        "a /dev/kvm without a driver", "mk() { mknod $1 c 240 77; }; mk",
        "/dev/kvm cannot be opened: [^\n]+; swiftlet check says what this host offers"),
      Case(
        board, "run hello.elf as nobody with permission",
        script: """
          chmod 666 /dev/kvm; su -s /bin/sh nobody -c '/bin/swiftlet run hello.elf'; status=$?; chmod 600 /dev/kvm
          exit $status
          """,
        output: .containing(["hello from Swift on \(board.architecture)\n"])),
      without(
        "run hello.elf", status: 123,
        errors: .pattern("swiftlet: /dev/kvm does not exist: load the kvm module, or [^\n]+\n")),
      without(
        "check", status: 1,
        output: .containing([
          "yes  \(board.architecture)", "\n/dev/kvm          no   ", "\nThis host cannot run applets.\n",
        ])),
      Case(
        board, "check where no virtual machine can be made", script: "ulimit -n 4; swiftlet check", status: 1,
        output: .containing([
          "\n/dev/kvm          yes  ", "\nvirtual machine   no   KVM_CREATE_VM failed: ", "dmesg",
          "\nThis host cannot run applets.\n",
        ])),
      forbidden(
        "run hello.elf", status: 123,
        errors: .pattern("swiftlet: /dev/kvm may not be opened by this user: join the group that owns it [^\n]+\n")),
      forbidden(
        "check", status: 1,
        output: .containing([
          "\n/dev/kvm          no   /dev/kvm may not be opened", "\nThis host cannot run applets.\n",
        ])),
    ]
  }
}
