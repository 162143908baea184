import Testing

/// Errors around a daemon that must not end it.
@Suite(.onlyInCheck)
struct DaemonBadDayTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { badDays($0) }, timeout: 300)
  static let crowd = Session([Board.arm64, .riscv64].flatMap { crowds($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func daemonSurvives(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(arguments: crowd.cases)
  func daemonServesMany(_ entry: Case) async throws { try await entry.check(in: Self.crowd) }

  private static func badDays(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "workers killed from outside and by their filter",
        """
        for signal in KILL SYS; do
          swiftlet start -n $signal loop.elf
          kill -$signal $(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$signal/process)
          swiftlet wait $signal 2>&1; echo $?
        done
        """,
        output: """
          KILL
          swiftlet: KILL: its process was killed (SIGKILL): by an administrator, or because the host is out of memory
          137
          SYS
          swiftlet: SYS: its process made a system call that the sandbox does not allow (SIGSYS)
          159

          """),
      DaemonTests.daemon(
        board, "a full disk",
        """
        mkdir -p /tmp/small; mount -t tmpfs -o size=200k none /tmp/small
        kill $daemon; wait $daemon; state=/tmp/small/state; start_daemon
        swiftlet start -n one rpc-call.elf KV.Set '{"key":"a","value":"1"}'; swiftlet wait one
        dd if=/dev/zero of=/tmp/small/fill bs=1k count=400 2>/dev/null
        swiftlet start -n two hello.elf 2>&1; echo $?
        swiftlet ps | wc -l
        rm /tmp/small/fill
        swiftlet start -n two hello.elf; swiftlet wait two; echo $?
        """,
        output: .pattern("one\nswiftlet: [^\n]*No space left on device\n123\n2\ntwo\n0\n")),
      DaemonTests.daemon(
        board, "files at their size limit",
        """
        kill $daemon; wait $daemon; ulimit -f 128; start_daemon
        swiftlet start -n one write.elf 65536; swiftlet wait one; echo $?; swiftlet logs one | wc -c
        """, output: "one\n0\n65536\n"),
      DaemonTests.daemon(
        board, "standard streams that are closed",
        """
        kill $daemon; wait $daemon
        /bin/swiftlet daemon --socket $SWIFTLET_SOCKET --state $state <&- >&- 2>&- & daemon=$!
        until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
        for stream in 0 1 2; do readlink /proc/$daemon/fd/$stream; done
        swiftlet start -n one exit-status.elf 7; swiftlet wait one; echo $?; swiftlet logs one
        """, output: "/dev/null\n/dev/null\n/dev/null\none\n7\nexit-status: 7\n"),
      Case(
        board, "a daemon without /proc",
        script: "unshare -m sh -c 'umount -l /proc; exec /bin/swiftlet daemon --socket /tmp/s --state /tmp/t'",
        status: 123,
        errors: "swiftlet: /proc: No such file or directory: mount it first (mount -t proc proc /proc)\n"),
      DaemonTests.daemon(
        board, "no descriptors left",
        """
        kill $daemon; wait $daemon
        before=$(ulimit -n); ulimit -n 36; start_daemon
        number=1; while swiftlet start -n a$number loop.elf >/dev/null 2>/tmp/error && [ $number -lt 30 ]; do number=$((number + 1)); done
        grep -c 'No file descriptors available' /tmp/error
        swiftlet wait a1 & swiftlet kill a1; wait $! 2>/dev/null; echo $?
        swiftlet start -n last hello.elf; swiftlet wait last; echo $?
        """, output: "1\n137\nlast\n0\n", errors: .pattern("swiftlet: a1: [^\n]+\n")),
    ]
  }

  private static func crowds(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "100 applets at once",
        """
        for number in $(seq 100); do /bin/swiftlet start -i -n a$number read.elf >/dev/null & started="$started $!"; done
        for start in $started; do wait $start || echo "a start failed"; done
        swiftlet ps | grep -c running
        swiftlet metrics | awk '$1 == "resident" && $2 > 3145728 { print "the daemon has", $2, "bytes" }'
        """, output: "100\n")
    ]
  }
}
