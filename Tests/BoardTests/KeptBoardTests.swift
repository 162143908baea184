import Foundation
import Testing

/// A kept board (boards/up), and its use by boards/run.
@Suite(.onlyInCheck)
struct KeptBoardTests {
  /// A board that is up, with a runtime directory of the test's own, and is taken down after the body.
  private struct Kept: Sendable {
    let board: Board
    let directory: URL

    /// Runs a shell command on this machine in the repository.
    @discardableResult func shell(_ command: String) throws -> Program.Result {
      let settings = "cd '\(Repository.root.path)'; export XDG_RUNTIME_DIR='\(directory.path)' SWIFTLET_BOARD_BOOT=no; "
      // Not sh, which may be dash: if SIGCHLD is blocked, as on this thread, its "wait" does not return.
      return try Program.run("/bin/bash", ["-c", settings + command])
    }

    /// Runs a script on the board.
    func run(_ script: String, options: String = "", input: String = "/dev/null") throws -> Program.Result {
      try shell("boards/run --timeout 60 \(options) \(board.rawValue) -- sh -c '\(script)' <\(input)")
    }

    /// The process ID of the keeper, or of QEMU, its child.
    func process(_ pattern: String = "") throws -> String {
      let script =
        "import sys; sys.path.insert(0, 'boards'); import keeper; print(keeper.Kept('\(board.rawValue)').keeper)"
      return try shell("set -- $(python3 -c \"\(script)\"); \(pattern) echo $1").output.trimmed
    }

    func qemu() throws -> String { try process("set -- $(cat /proc/$1/task/$1/children);") }
  }

  /// On a thread that is not shared by Swift's tasks, since the body blocks.
  private func withKept(_ board: Board, _ body: @escaping @Sendable (Kept) throws -> Void) async throws {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global().async {
        continuation.resume(
          with: Result {
            try withScratchDirectory { directory in
              let kept = Kept(board: board, directory: directory)
              let up = try kept.shell("boards/up \(board.rawValue)")
              defer { _ = try? kept.shell("boards/down") }
              #expect(up.status == 0, "\(up)")
              try body(kept)
            }
          })
      }
    } as Void
  }

  /// Everything that a command can see of the board, except times and numbers that differ for each boot.
  private static let view = """
    env; pwd; id; hostname; umask; ulimit -n; ulimit -c; ulimit -s; ls -a / /root /tmp /run; stat -c "%A %F %t %T %n" /dev/[!tv]*; cat /proc/cmdline; \
    cut -d " " -f 2 /proc/mounts; cat /proc/self/cgroup; find /sys/fs/cgroup -type d; nproc; ls /sys/class/net; \
    cat /sys/class/net/lo/flags; ls /proc/self/fd | wc -l; \
    cat /root/README.md | md5sum; grep . /proc/sys/kernel/core_pattern /proc/sys/vm/overcommit_memory
    """

  /// Changes of a run that a later one must not see.
  private static let traces = """
    (setsid sleep 1000 >/dev/null 2>&1 &); (trap "" TERM; sleep 1001 & wait) & \
    touch /tmp/x /root/x /run/x /dev/shm/x /bin/x; hostname other; rm /dev/kvm /bin/ls; chmod 777 /dev/null; \
    mkdir -p /sys/fs/cgroup/a/b; echo +pids >/sys/fs/cgroup/cgroup.subtree_control; mount -t tmpfs none /var; \
    echo /x >/proc/sys/kernel/core_pattern; ip link set lo down; date -s 2001-01-01; cd /tmp; umask 077; exit 7
    """

  /// One boot for all, except for the tests that end the board.
  @Test(arguments: [Board.arm64, .riscv64]) func keptBoard(board: Board) async throws {
    try await withKept(board) { kept in
      try runsBeginAsAfterABoot(kept)
      guard board == .arm64 else { return }
      try statusAndStreamsAreTheCommands(kept)
      try aRunThatIsEndedEndsWithAllItsProcesses(kept)
      try aBoardThatStopsIsBootedAnew(kept)
    }
  }

  private func runsBeginAsAfterABoot(_ kept: Kept) throws {
    let booted = try kept.run(Self.view, options: "--boot --add README.md")
    #expect(booted.status == 0, "\(booted)")
    #expect(try kept.run(Self.traces).status == 7)
    let run = try kept.run(Self.view, options: "--add README.md")
    let difference = run.output.split(separator: "\n").difference(from: booted.output.split(separator: "\n"))
    #expect(run.status == 0 && difference.isEmpty, "\(Array(difference)) \(run.errors)")
    #expect(try kept.run("ps").output.matches(of: /sleep/).isEmpty)
    #expect(abs(Double(try kept.run("date +%s").output.trimmed)! - Date().timeIntervalSince1970) < 60)
  }

  private func statusAndStreamsAreTheCommands(_ kept: Kept) throws {
    let streams = try kept.shell(
      "printf 'a\\000b' | boards/run arm64 -- sh -c 'cat | od -c | head -n 1; echo error >&2; exit 77'")
    #expect(streams.status == 77 && streams.errors == "error\n", "\(streams)")
    #expect(streams.output.split(separator: " ").joined(separator: " ") == "0000000 a \\0 b\n")
    #expect(try kept.run("kill -SEGV $$").status == 139)
    #expect(try kept.shell("boards/run arm64 -- no-such-program").status == 127)
    let long = try kept.shell("boards/run arm64 -- echo $(seq 5000)")
    #expect(long.status == 125 && long.errors.contains("Argument list too long"), "\(long)")
    // More than any buffer in between can hold, in both directions; and input that is not read.
    let directory = kept.directory.path
    let much = try kept.shell(
      "head -c 3000000 /dev/urandom >\(directory)/much; boards/run arm64 -- cat <\(directory)/much | cmp - \(directory)/much"
    )
    #expect(much.status == 0, "\(much)")
    #expect(try kept.run("exit 3", input: "\(directory)/much").status == 3)
    // A directory, and a file.
    let files = try kept.shell(
      "boards/run --add dts --add boards/guest-init arm64 -- sh -c 'ls; ls dts | wc -l'; ls dts | wc -l")
    let lines = files.output.split(separator: "\n")
    #expect(lines.prefix(2) == ["dts", "guest-init"] && lines[2] == lines[3], "\(files)")
    let terminal = try kept.shell("TERM=ansi boards/run --tty arm64 -- sh -c 'tty; echo $TERM'")
    #expect(terminal.output == "/dev/pts/0\r\nansi\r\n", "\(terminal)")
    // Simultaneous runs are executed one after the other.
    let both = try kept.shell("for i in 1 2 3; do boards/run arm64 -- sh -c \"sleep 0.3; echo $i\" & done; wait")
    #expect(both.output.split(separator: "\n").sorted() == ["1", "2", "3"], "\(both)")
    // Another machine is, or would be, booted.
    let other = try kept.run("true", options: "--memory 16M")
    #expect(other.status == 125 && other.errors.contains("too large"), "\(other)")
  }

  private func aRunThatIsEndedEndsWithAllItsProcesses(_ kept: Kept) throws {
    let stubborn = "trap \"\" INT TERM HUP; setsid sleep 1000 & echo begun; sleep 1001"
    let left = "ps | grep -c [s]leep; ls /tmp"
    let run = "boards/run arm64 -- sh -c '\(stubborn)'"
    // Ended by a signal that it handles, and by one that it cannot handle, during input and output.
    #expect(try kept.shell("timeout --foreground -s INT 3 \(run)").status == 124)
    #expect(try kept.run(left).output == "0\n")
    for input in ["/dev/zero", "/dev/null"] {
      #expect(try kept.shell("timeout --foreground -s KILL 3 \(run) <\(input)").status == 137)
      #expect(try kept.run(left).output == "0\n")
    }
    try kept.shell("timeout --foreground -s KILL 3 boards/run arm64 -- yes | sleep 4")
    #expect(try kept.run(left).output == "0\n")
    // During the transfer of files.
    try kept.shell("head -c 40000000 /dev/zero >\(kept.directory.path)/zeros")
    try kept.shell("timeout -s KILL 0.5 boards/run --add \(kept.directory.path)/zeros arm64 -- true")
    #expect(try kept.run("ls").output == "")
    let late = try kept.shell("boards/run --timeout 2 arm64 -- sh -c '\(stubborn)'")
    #expect(late.status == 124 && late.errors == "boards/run: timeout: arm64 ended after 2 s\n", "\(late)")
    #expect(try kept.run(left).output == "0\n")
  }

  private func aBoardThatStopsIsBootedAnew(_ kept: Kept) throws {
    let off = try kept.run("poweroff -f")
    #expect(off.status == 125 && off.errors.contains("arm64 stopped: it is being started anew"), "\(off)")
    #expect(try kept.run("echo again").output == "again\n")
    let qemu = try kept.qemu()
    try kept.shell("kill -9 \(qemu)")
    #expect(try kept.run("echo again").output == "again\n")
    #expect(try kept.qemu() != qemu)
    #expect(try kept.shell("boards/list").output.contains(" with 1 CPU and 512M, "))
    // When the keeper is killed, QEMU ends, too, and the board is not up any more.
    try kept.shell(
      "set -- \(try kept.process()) \(try kept.qemu()); kill -9 $1; while kill -0 $2; do sleep 0.1; done")
    #expect(try !kept.shell("boards/list").output.contains("up since"))
    #expect(try kept.shell("boards/down arm64").errors == "boards/down: arm64 is not up\n")
    // Two at the same time start one board; `down` ends a run on it.
    let two = try kept.shell("boards/up arm64 & boards/up arm64; wait")
    #expect(two.errors.contains("arm64 is up") && two.status == 0, "\(two)")
    #expect(try kept.shell("boards/up arm64").errors == "boards/up: arm64 is up already\n")
    let down = try kept.shell("(sleep 2; boards/down arm64) & boards/run arm64 -- sleep 100")
    #expect(down.status == 125 && down.errors.contains("arm64 was taken down"), "\(down)")
  }
}

extension String {
  fileprivate var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
