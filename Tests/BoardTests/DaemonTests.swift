import Testing

/// The daemon on its board, through the commands that talk to it. Each case has a daemon of its own.
struct DaemonTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { lifecycle($0) })

  @Test(arguments: session.cases)
  func daemon(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// A script with a daemon around it, which must end well when it is told to. $log holds what the daemon has written.
  static func daemon(
    _ board: Board, _ name: String, options: String = "", _ script: String, output: Expected, errors: Expected = ""
  ) -> Case {
    Case(
      board, name,
      script: """
        export SWIFTLET_SOCKET=/run/control.sock state=/run/state log=/tmp/daemon.log
        rm -rf $state
        start_daemon() {
          /bin/swiftlet daemon --socket $SWIFTLET_SOCKET --state $state \(options) 2>>$log &
          daemon=$!
          until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
        }
        : >$log
        start_daemon
        \(script)
        kill $daemon
        wait $daemon || { echo "the daemon ended with status $?"; cat $log; }
        """, output: output, errors: errors)
  }

  private static func lifecycle(_ board: Board) -> [Case] {
    [
      daemon(
        board, "an applet's life",
        """
        swiftlet start --name one hello.elf a b
        swiftlet wait one; echo $?
        swiftlet logs one
        swiftlet ps | sed 's/  *[0-9]*s  */ /'
        swiftlet rm one; swiftlet ps --json
        """,
        output: .pattern(
          """
          one
          0
          hello from Swift on \(board.architecture)
          arguments: a b
          random: [0-9a-f]{32}
          NAME +STATE +PID +AGE +RESTARTS +IMAGE
          one +exited 0 +- 0 +[^\n]*/hello.elf
          \\{"applets":\\[\\]\\}

          """)),
      daemon(
        board, "one that would not end, stopped and killed",
        """
        swiftlet start --name one loop.elf
        swiftlet start --name two loop.elf
        swiftlet inspect two | grep -E '^(name|state|region .* stack)'
        swiftlet stop one; swiftlet wait one 2>&1; echo $?
        swiftlet kill two; swiftlet wait two 2>&1; echo $?
        """,
        output: .pattern(
          "one\ntwo\nname +two\nstate +running\nregion +0x[0-9a-f]+ rw- [0-9]+ stack\nswiftlet: one: stopped\n125\nswiftlet: two: [^\n]*SIGKILL[^\n]*\n137\n"
        )),
      daemon(
        board, "one that breaks a rule",
        """
        swiftlet start --name one null-read.elf
        swiftlet wait one 2>&1; echo $?
        swiftlet inspect --json one | grep -o '"symbol":"main[^"]*"'
        """,
        output: .pattern(
          "one\nswiftlet: one: read from memory that it may not read, address 0x0, at pc 0x8[0-9a-f]+\n121\n\"symbol\":\"main.*\"\n"
        )),
      daemon(
        board, "input and output",
        """
        swiftlet start --input --name one read.elf
        echo hi | swiftlet attach one; echo $?
        """, output: "one\nhi\nread: 3 bytes\n0\n"),
      daemon(
        board, "starts that are refused",
        """
        swiftlet start --name one /etc/passwd; echo $?
        swiftlet start --name one nowhere.elf; echo $?
        swiftlet start --name one loop.elf
        swiftlet start --name one loop.elf; echo $?
        swiftlet wait two; echo $?
        swiftlet rm one; echo $?
        """, output: "126\n127\none\n1\n123\n1\n",
        errors: .pattern(
          """
          swiftlet: /etc/passwd: [^\n]+
          swiftlet: nowhere.elf: No such file or directory
          swiftlet: an applet one exists already: swiftlet rm one forgets it once it has ended
          swiftlet: there is no applet two: swiftlet ps lists them
          swiftlet: one is running: this cannot be done now

          """)),
    ]
  }
}
