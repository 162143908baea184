import Foundation
import Testing

/// What a process that runs an applet can still do, tried by one that has been taken over (Tests/Escape).
struct SandboxTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { attempts($0) + process($0) }) { board in
    ["escape": escape(board) ?? []]
  }

  @Test(arguments: session.cases)
  func sandbox(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// The program, made of the product's own code of the sandbox and its filters.
  private static func escape(_ board: Board) -> [UInt8]? {
    try? withScratchFolder { folder in
      let program = folder.appending(path: "escape").path
      let sources = ["Tests/Escape/escape.c", "Sources/CLinux/sandbox.c", "Sources/CLinux/seccomp_filters.c"]
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
    return ["one", "several", "linux", "worker", "worker-several"].map { filter in
      // Where a port's socket is removed, which another process does, the answer is no end.
      let removal = "remove a file: " + (filter == "linux" ? "EACCES" : "killed")
      // A worker talks to the daemon, and to services, over sockets that it has.
      let ends = killed.map { "\($0): \(filter.hasPrefix("worker") && $0 == "send a descriptor" ? "done" : "killed")" }
      let lines =
        opened.map { $0 + ": EACCES" } + ["open by openat2: killed", removal] + ends + done.map { $0 + ": done" }
      return Case(
        board, "escape with the filter for \(filter)",
        script: "chmod +x ../files/escape; ../files/escape \(filter)",
        output: .text(lines.map { $0 + "\n" }.joined()))
    }
  }

  /// The real program is in the sandbox while its applet runs: what the kernel says of it, and the descriptors that it has.
  private static func process(_ board: Board) -> [Case] {
    ["", "--shadows 2 "].map { options in
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
    }
  }
}
