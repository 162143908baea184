import Testing

/// Messages and exit statuses of the command line when no applet runs.
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
      Case(board, "help check", output: .containing(["Usage: swiftlet check", "Exit status: 0 if"])),
      Case(board, "check", output: .pattern(checkLines(board))),
      Case(
        board, "check --json",
        output: .containing([
          "{\"able\":true,\"features\":[{\"name\":\"architecture\",\"present\":true,\"required\":true,\"detail\":\"\(board.architecture),",
          "{\"name\":\"Landlock\",\"present\":true,\"required\":false,\"detail\":\"\"}",
          "\"name\":\"steady frequency\"",
        ])),
    ]
  }

  /// All answers are yes.
  private static func checkLines(_ board: Board) -> String {
    let own =
      board.architecture == "arm64"
      ? ("", "SMCCC filter +yes  calls use HVC\n", "AArch32 +yes  applets of 32 bits, too\n")
      : ("H extension +yes\n", "", "")
    return """
      architecture +yes  \(board.architecture), pages of 4 KiB
      /dev/kvm +yes  present and permitted
      API version +yes  12
      \(own.0)user memory +yes
      register access +yes *
      immediate exit +yes *
      vCPUs +yes  up to [0-9]+ in a VM
      memory slots +yes  up to [0-9]+ in a VM
      \(own.1)virtual machine +yes  created, with a vCPU
      \(own.2)Landlock +yes *
      control groups +(yes|no) .*
      (memory controller +(yes|no).*
      )?fast clock +yes  [a-z_]+, read without a system call
      steady frequency +yes  the kernel does not scale the CPUs' frequency
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
        "--memory '\(size)' is not a size: give a number of bytes, with an optional suffix as in 16M")
    }
    func noDuration(_ option: String, _ duration: String) -> Case {
      refused(
        "run \(option) \(duration) hello.elf",
        "\(option) '\(duration)' is not a duration: give a number of seconds, with an optional suffix as in 500ms")
    }
    func outOfRange(_ option: String, _ value: String, _ message: String) -> Case {
      refused("run \(option) \(value) hello.elf", "\(option) '\(value)' \(message)")
    }
    var cases = [
      refused("", "a command is missing", see: "swiftlet help"),
      refused("frobnicate", "unknown command 'frobnicate'", see: "swiftlet help"),
      refused("--frobnicate", "unknown option '--frobnicate'", see: "swiftlet help"),
      refused("help frobnicate", "unknown command 'frobnicate'", see: "swiftlet help"),
      refused("help run check", "unexpected argument 'check'", see: "swiftlet help help"),
      refused("check now", "unexpected argument 'now'", see: "swiftlet help check"),
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
      outOfRange("--inject-faults", "101", "is not a percentage: give 0 to 100"),
      refused("run --inject-faults 5 hello.elf", "--inject-faults needs --lockstep or --shadows"),
      refused("run --parallel hello.elf", "--parallel needs --lockstep or --shadows"),
      outOfRange("--transport", "pigeon", "is invalid: give hvc or mmio"),
    ]
    if board.architecture == "riscv64" {
      cases.append(
        refused(
          "run --transport mmio hello.elf", "--transport is for arm64: on riscv64 all calls use SBI"))
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
        "/dev/kvm cannot be opened: [^\n]+; see swiftlet check"),
      Case(
        board, "run hello.elf as nobody with permission",
        script: """
          chmod 666 /dev/kvm; su -s /bin/sh nobody -c '/bin/swiftlet run hello.elf'; status=$?; chmod 600 /dev/kvm
          exit $status
          """,
        output: .containing(["hello from Swift on \(board.architecture)\n"])),
      Case(
        board, "run hello.elf with a stack of 8 KiB",
        script: """
          (ulimit -s 8; /bin/swiftlet run hello.elf | head -1)
          su -s /bin/sh nobody -c 'ulimit -s 8; /bin/swiftlet --version'; echo $?
          """,
        output: .text("hello from Swift on \(board.architecture)\n123\n"),
        errors: "swiftlet: the stack is limited to less than 256 KiB: raise the limit (ulimit -s)\n"),
      without(
        "run hello.elf", status: 123,
        errors: .pattern("swiftlet: /dev/kvm does not exist: load the kvm module, or [^\n]+\n")),
      without(
        "check", status: 1,
        output: .containing([
          "yes  \(board.architecture)", "\n/dev/kvm          no   ", "\nThis host cannot run applets.\n",
        ])),
      Case(
        board, "check if no VM can be created", script: "ulimit -n 4; swiftlet check", status: 1,
        output: .containing([
          "\n/dev/kvm          yes  ", "\nvirtual machine   no   KVM_CREATE_VM failed: ", "dmesg",
          "\nThis host cannot run applets.\n",
        ])),
      forbidden(
        "run hello.elf", status: 123,
        errors: .pattern("swiftlet: permission denied for /dev/kvm: add this user to the group that owns it [^\n]+\n")),
      forbidden(
        "check", status: 1,
        output: .containing([
          "\n/dev/kvm          no   permission denied for /dev/kvm", "\nThis host cannot run applets.\n",
        ])),
    ]
  }
}
