import Foundation
import Testing

/// What a compromised process that runs an applet can still do (Tests/Escape).
@Suite(.onlyInCheck)
struct SandboxTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { attempts($0) + process($0) + [withoutLandlock($0)] }) {
    board in
    [
      "escape": program(
        board, ["Tests/Escape/escape.c", "Sources/CLinux/sandbox.c", "Sources/CLinux/seccomp_filters.c"])
        ?? [], "ambient": program(board, ["Tests/Escape/ambient.c"]) ?? [],
      "without-landlock": program(board, ["Tests/Escape/without-landlock.c"]) ?? [],
    ]
  }

  @Test(arguments: session.cases)
  func sandbox(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// The programs; the escape is compiled from Swiftlet's own code for the sandbox and its filters.
  private static func program(_ board: Board, _ sources: [String]) -> [UInt8]? {
    try? withScratchDirectory { directory in
      let program = directory.appending(path: "program").path
      let flags = ["-Wall", "-Wextra", "-Werror", "-O1", "-s", "-I" + Repository.path("Sources/CLinux/include")]
      let made = try Program.run(
        Repository.path("tools/cross-cc"),
        [board.architecture, "--"] + flags + ["-o", program] + sources.map { Repository.path($0) })
      guard made.status == 0 else {
        Issue.record("tools/cross-cc: \(made.errors)")
        return nil
      }
      return try [UInt8](Data(contentsOf: URL(filePath: program)))
    }
  }

  private static func attempts(_ board: Board) -> [Case] {
    let opened = ["open a file", "make a file", "open /dev/kvm", "open its own memory"]
    let killed = [
      "make a socket", "connect", "send a descriptor", "fork", "vfork", "execve",
      "ptrace", "read another's memory", "signal another", "signal another's thread", "map executable memory",
      "make memory executable", "make it so by a key", "make a machine", "make a vCPU", "make a device",
      "watch its stores", "send a datagram", "listen", "set a signal's handler", "type into the terminal",
      "become root", "be dumpable again", "load a BPF program", "make an io_uring", "make a userfaultfd",
      "make a user namespace", "load a kernel module", "make a call that does not exist",
    ]
    let done = ["write", "take random numbers", "map memory"]
    return ["one", "several", "linux", "linux-services", "worker", "worker-several"].map { filter in
      // If a port's socket is removed, which another process does, the result is not the end of the process.
      let removal = "remove a file: " + (filter.hasPrefix("linux") ? "EACCES" : "killed")
      // A worker communicates with the daemon, and a peer with services, over sockets that the process has already.
      let hasSockets = filter.hasPrefix("worker") || filter == "linux-services"
      let ends = killed.map { "\($0): \(hasSockets && $0 == "send a descriptor" ? "done" : "killed")" }
      let lines =
        opened.map { $0 + ": EACCES" } + ["open by openat2: killed", removal] + ends + done.map { $0 + ": done" }
      return Case(
        board, "escape with the filter for \(filter)",
        script: "chmod +x ../files/escape; ../files/escape \(filter)",
        output: .text(lines.map { $0 + "\n" }.joined()))
    }
  }

  /// A kernel without Landlock: the guest runs in what there is of the sandbox, unless all of it is required.
  private static func withoutLandlock(_ board: Board) -> Case {
    Case(
      board, "a kernel without Landlock",
      script: """
        run=../files/without-landlock; chmod +x $run
        /bin/swiftlet run --require-sandbox exit-status.elf 7; echo $?
        $run /bin/swiftlet run exit-status.elf 7; echo $?
        $run /bin/swiftlet run --require-sandbox exit-status.elf 7; echo $?
        $run /bin/swiftlet daemon --require-sandbox --socket /tmp/socket --state /tmp/state; echo $?
        $run /bin/swiftlet check | grep -o '^Landlock *no *only the seccomp filter'
        """,
      output: .pattern(
        "exit-status: 7\n7\nexit-status: 7\n7\n123\n123\nLandlock +no +only the seccomp filter\n"),
      errors: .pattern("(swiftlet: --require-sandbox: this kernel has no Landlock: [^\n]+\n){2}"))
  }

  /// The program is in the sandbox while its applet runs: its status in the kernel, and its descriptors.
  private static func process(_ board: Board) -> [Case] {
    let ambient = Case(
      board, "the process of a user who has capabilities",
      script: """
        chmod 666 /dev/kvm; chmod +x ../files/ambient
        ../files/ambient /bin/cat /proc/self/status | grep CapAmb
        ../files/ambient /bin/swiftlet run --timeout 4s loop.elf >/dev/null 2>&1 &
        sleep 1; grep -E '^(Uid|Cap(Inh|Prm|Eff|Amb)):' /proc/$!/status; kill $!; chmod 600 /dev/kvm
        """,
      output: .pattern("CapAmb:\t0*800000\nUid:(\t65534){4}\n(Cap(Inh|Prm|Eff|Amb):\t0{16}\n){4}"))
    return ["", "--shadows 2 "].map { options in
      Case(
        board, "the process of run \(options)loop.elf",
        script: """
          /bin/swiftlet run \(options)--timeout 4s loop.elf 7</etc/passwd >/dev/null 2>&1 &
          sleep 1
          grep -E '^(CapPrm|CapEff|NoNewPrivs|Seccomp):' /proc/$!/status
          for descriptor in /proc/$!/fd/*; do readlink $descriptor; done | grep -vc '^/dev/null$\\|kvm'
          kill $!
          """,
        status: 0,
        output: .pattern("CapPrm:\t0{16}\nCapEff:\t0{16}\nNoNewPrivs:\t1\nSeccomp:\t2\n0\n"), errors: .pattern("[^@]*"))
    } + [ambient]
  }
}
