import Testing

/// The daemon on its board, used with its commands. Each case has a daemon of its own.
struct DaemonTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { lifecycle($0) + systemMode($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func commandPrintsAndExits(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// A script that runs with a daemon, which must exit with status 0 on SIGTERM. $log is the daemon's log.
  /// - Parameters:
  ///   - before: lines before the daemon's start.
  ///   - after: lines after its end.
  static func daemon(
    _ board: Board, _ name: String, options: String = "", before: String = "", _ script: String,
    after: String = "", output: Expected, errors: Expected = ""
  ) -> Case {
    Case(
      board, name,
      script: """
        export SWIFTLET_SOCKET=/run/control.sock state=/run/state log=/tmp/daemon.log
        rm -rf $state
        \(before)
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
        \(after)
        """, output: output, errors: errors)
  }

  private static func systemMode(_ board: Board) -> [Case] {
    let first = board == .arm64 ? "x0" : "ra"
    return [
      daemon(
        board, "programs in system mode",
        """
        swiftlet start --name one --non-secure --cpus 4 system-cpu-on.elf 4; swiftlet wait one; echo $?
        swiftlet logs one
        swiftlet start --name two --non-secure system-off.elf; swiftlet wait two; echo $?
        swiftlet start --name three --non-secure --restart on-failure:1 --restart-delay 50ms system-reset.elf
        swiftlet wait three 2>&1; echo $?; swiftlet logs three
        echo abc >/tmp/line
        swiftlet start --name four --non-secure --input system-calls.elf a b; swiftlet attach four </tmp/line | tail -1
        swiftlet start --cpus 2 hello.elf 2>&1; echo $?
        swiftlet start --non-secure --lockstep hello.elf 2>&1; echo $?
        """,
        output: """
          one
          0
          system-cpu-on: hello from the second
          system-cpu-on: 4 processors, sum 6
          two
          0
          three
          swiftlet: three: requested a reset
          133
          system-reset: asking for it
          system-reset: asking for it
          four
          system-calls: read 4 bytes
          swiftlet: --cpus needs --non-secure: an applet has one CPU; see: swiftlet help start
          122
          swiftlet: --lockstep and --shadows are for applets, not for --non-secure; see: swiftlet help start
          122

          """),
      daemon(
        board, "several CPUs, stopped, at a limit, with a fault",
        """
        process() { sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$1/process; }
        registers() { swiftlet inspect $1 | grep -E '^([0-9]+:)?(\(first)|pc) ' | sed 's/  *0x[0-9a-f]*$//'; }
        swiftlet start --name one --non-secure --cpus 3 --debug system-loop.elf 3
        grep -E '^(Threads|CapEff|NoNewPrivs|Seccomp):' /proc/$(process one)/status
        until swiftlet logs one | grep -q spinning; do usleep 50000; done
        registers one; swiftlet inspect one | grep -o 'main+0x'
        swiftlet stop one; registers one
        swiftlet start --name two --non-secure --cpus 2 --timeout 300ms system-loop.elf 2
        swiftlet wait two 2>/dev/null; echo $?; registers two | grep -c pc
        swiftlet start --name three --non-secure --cpus 2 system-stray-access.elf
        swiftlet wait three 2>&1; echo $?; swiftlet inspect three | grep -o 'main+0x'
        """,
        output: .pattern(
          """
          one
          Threads:\t3
          CapEff:\t0{16}
          NoNewPrivs:\t1
          Seccomp:\t2
          0:\(first)
          0:pc
          main\\+0x
          0:\(first)
          0:pc
          1:\(first)
          1:pc
          2:\(first)
          2:pc
          two
          124
          2
          three
          swiftlet: three: invalid read, address 0x40000000, at pc 0x8[0-9a-f]+, in main\\+0x[0-9a-f]+
          121
          main\\+0x
          main\\+0x

          """)),
    ]
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
          NAME +STATE +EXIT +PID +AGE +RESTARTS +IMAGE
          one +exited +0 +- 0 +[^\n]*/hello.elf
          \\{"applets":\\[\\]\\}

          """)),
      daemon(
        board, "one that does not end, stopped and killed",
        """
        swiftlet start --name one loop.elf
        swiftlet start --name two loop.elf
        swiftlet inspect two | grep -E '^(name|state|region .* (stack|device tree))'
        swiftlet stop one; swiftlet wait one 2>&1; echo $?
        swiftlet kill two; swiftlet wait two 2>&1; echo $?
        """,
        output: .pattern(
          "one\ntwo\nname +two\nstate +running\nregion +0x[0-9a-f]+ r-- [0-9]+ device tree\nregion +0x[0-9a-f]+ rw- [0-9]+ stack\nswiftlet: one: stopped\n125\nswiftlet: two: [^\n]*SIGKILL[^\n]*\n137\n"
        )),
      daemon(
        board, "one with a fault",
        """
        swiftlet start --name one null-read.elf
        swiftlet wait one 2>&1; echo $?
        swiftlet inspect --json one | grep -o '"symbol":"main[^"]*"'
        """,
        output: .pattern(
          "one\nswiftlet: one: invalid read, address 0x0, at pc 0x8[0-9a-f]+, in main\\+0x[0-9a-f]+\n121\n\"symbol\":\"main.*\"\n"
        )),
      daemon(
        board, "input and output",
        """
        swiftlet start --input --name one read.elf
        echo hi | swiftlet attach one; echo $?
        """, output: "one\nhi\nread: 3 bytes\n0\n"),
      daemon(
        board, "starts that are rejected",
        """
        swiftlet start --name one /etc/passwd; echo $?
        swiftlet start --name one nowhere.elf; echo $?
        swiftlet start --name one loop.elf
        swiftlet start --name one loop.elf; echo $?
        swiftlet wait two; echo $?
        swiftlet attach two; echo $?
        swiftlet rm one; echo $?
        swiftlet start --process-memory 64M loop.elf; echo $?
        """, output: "126\n127\none\n1\n123\n123\n1\n1\n",
        errors: .pattern(
          """
          swiftlet: /etc/passwd: [^\n]+
          swiftlet: nowhere.elf: No such file or directory
          swiftlet: an applet one exists already: remove it with swiftlet rm one after it has ended
          swiftlet: there is no applet two: swiftlet ps lists them
          swiftlet: there is no applet two: swiftlet ps lists them
          swiftlet: one is running: stop it first, or use swiftlet rm -f one
          swiftlet: the daemon has no control group, which process_memory needs: start it with --cgroup \\(see swiftlet help daemon\\)

          """)),
    ]
  }
}
