import Testing

/// Limits of applets that need control groups.
@Suite(.onlyInCheck)
struct ControlGroupTests {
  static let session = Session(
    [Board.arm64, .riscv64].flatMap { limits($0) + survival($0) + delegation($0) + refusals($0) }, timeout: 300
  ) { board in
    ["delegate": compiled("Tests/Delegate/delegate.c", for: board)]
  }

  @Test(arguments: session.cases)
  func limitIsEnforced(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let group = "/sys/fs/cgroup/box"

  /// A daemon with a control group in which it creates others. `groups` prints them, `process NAME` prints the process
  /// ID of an applet, `limit NAME JSON` changes an applet's limits.
  private static func daemon(
    _ board: Board, _ name: String, controllers: String = "+memory +cpu +pids", _ script: String, output: Expected,
    errors: Expected = ""
  ) -> Case {
    DaemonTests.daemon(
      board, name, options: "--cgroup \(group)",
      before: """
        box=\(group); echo '\(controllers)' >/sys/fs/cgroup/cgroup.subtree_control; mkdir $box
        groups() { for directory in $box/*/; do [ -d $directory ] && echo "group ${directory#$box/}"; done; }
        process() { sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$1/process; }
        limit() {
          printf '{"method":"org.swiftlet.Control.SetLimits","parameters":{"name":"%s","limits":%s}}\\0' "$1" "$2" |
            swiftlet bridge | tr '\\0' '\\n'
        }
        """,
      script, after: "groups; rmdir $box; echo -memory -cpu -pids >/sys/fs/cgroup/cgroup.subtree_control",
      output: output, errors: errors)
  }

  private static let killed = "its process was killed: it exceeded its 8388608 bytes of memory (process_memory)"

  private static func limits(_ board: Board) -> [Case] {
    [
      daemon(
        board, "more memory than its process may have",
        """
        swiftlet start -n one --memory 32M --process-memory 8M touch.elf 4; swiftlet wait one; echo $?
        swiftlet start -n two --memory 32M --process-memory 8M touch.elf 16; swiftlet wait two 2>&1; echo $?
        swiftlet start -n three --memory 32M --process-memory 8M --restart on-failure:1 --restart-delay 50ms touch.elf 16
        /bin/swiftlet wait three 2>&1; swiftlet ps | awk '$1 == "three" { print $2, $6 }'
        swiftlet logs one; swiftlet logs two
        """,
        output: """
          one
          0
          two
          swiftlet: two: \(killed)
          137
          three
          swiftlet: three: \(killed)
          failed 1
          touch: 4 MiB

          """),
      daemon(
        board, "a share of a CPU",
        """
        swiftlet start -n one --cpu-percent 20 loop.elf
        cat $box/applet-one/cpu.max
        [ $(cat $box/applet-one/cgroup.procs) = $(process one) ] && echo its process is in the group
        until grep -q '^nr_throttled [1-9]' $box/applet-one/cpu.stat; do usleep 50000; done
        groups
        swiftlet stop one; groups; swiftlet rm one
        """, output: "one\n20000 100000\nits process is in the group\ngroup applet-one/\n"),
      daemon(
        board, "fewer threads than CPUs",
        """
        swiftlet start -n one --threads 4 --non-secure --cpus 4 system-cpu-on.elf 4; swiftlet wait one; echo $?
        swiftlet start -n two --threads 2 --non-secure --cpus 4 system-cpu-on.elf 4; swiftlet wait two 2>&1; echo $?
        """,
        output: .pattern(
          "one\n0\ntwo\nswiftlet: two: [^\n]*temporarily unavailable: its process may have 2 threads \\(threads\\)\n123\n"
        )),
      daemon(
        board, "limits changed while it runs",
        """
        swiftlet start -n one --cpu-percent 100 --input --memory 32M touch.elf 4
        until swiftlet logs one | grep -q touch; do usleep 20000; done
        limit one '{"cpu_percent":50,"threads":7,"process_memory":8388608}'
        cat $box/applet-one/cpu.max $box/applet-one/pids.max $box/applet-one/memory.max
        limit one '{"process_memory":1}'
        limit one '{"process_memory":4194304}' | sed 's/uses [0-9]*/uses N/'
        swiftlet start -n two loop.elf
        groups
        limit two '{"cpu_percent":30}'
        [ $(cat $box/applet-two/cgroup.procs) = $(process two) ] && cat $box/applet-two/cpu.max
        swiftlet kill two
        echo xyz | swiftlet attach one 2>&1; echo $?
        """,
        output: """
          one
          {"parameters":{}}
          50000 100000
          7
          8388608
          {"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"process_memory"}}
          {"error":"org.swiftlet.Control.HostFailure","parameters":{"reason":"one uses N bytes already: give a higher limit, or stop it first"}}
          two
          group applet-one/
          {"parameters":{}}
          30000 100000
          touch: 4 MiB
          swiftlet: one: \(killed)
          137

          """),
    ]
  }

  private static func survival(_ board: Board) -> [Case] {
    [
      daemon(
        board, "groups outlive a daemon",
        """
        for name in one two three; do
          swiftlet start -n $name --cpu-percent 50 --process-memory 8M --input --memory 32M touch.elf 2
        done
        { kill -9 $daemon; wait $daemon; } 2>/dev/null
        # One has its end while no daemon runs, another while the next one does.
        printf 123456 >$state/one/input
        until grep -q 'oom_kill [1-9]' $box/applet-one/memory.events; do usleep 50000; done
        start_daemon
        swiftlet wait one 2>&1; echo $?
        groups
        limit two '{"cpu_percent":20}'; cat $box/applet-two/cpu.max
        echo 12345 | swiftlet attach two 2>&1 | tail -1
        swiftlet stop three
        """,
        output: """
          one
          two
          three
          swiftlet: one: \(killed)
          137
          group applet-three/
          group applet-two/
          {"parameters":{}}
          20000 100000
          swiftlet: two: \(killed)

          """)
    ]
  }

  private static func delegation(_ board: Board) -> [Case] {
    ["", "/daemon"].map { below in
      DaemonTests.daemon(
        board, "a group that systemd delegates, started in \(below.isEmpty ? "it" : "one below it")",
        before: "echo +memory +cpu +pids >/sys/fs/cgroup/cgroup.subtree_control",
        """
        kill $daemon; wait $daemon
        chmod +x ../files/delegate; unit=/sys/fs/cgroup/unit
        ../files/delegate $unit $unit\(below) /bin/swiftlet daemon --socket $SWIFTLET_SOCKET --state $state 2>>$log &
        daemon=$!
        until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
        # Applets without a limit are not in the group, either.
        swiftlet start -n two loop.elf
        swiftlet start -n one --cpu-percent 20 --process-memory 64M --threads 5 loop.elf
        swiftlet update --cpu-percent 30 two; cat $unit/applet-two/cpu.max
        cd $unit/applet-one; cat cpu.max memory.max memory.oom.group pids.max
        [ $(cat $unit/daemon/cgroup.procs) = $daemon ] && echo the daemon has a group of its own
        kill $daemon; wait $daemon; echo $?
        ls -d $unit/*/
        rmdir $unit/daemon $unit; cd /root/guests; start_daemon
        """,
        output: """
          two
          one
          30000 100000
          20000 100000
          67108864
          1
          5
          the daemon has a group of its own
          0
          /sys/fs/cgroup/unit/daemon/

          """)
    }
  }

  private static func refusals(_ board: Board) -> [Case] {
    [
      daemon(
        board, "a controller that is not there", controllers: "-memory -cpu +pids",
        """
        swiftlet start -n one --process-memory 64M loop.elf; echo $?
        swiftlet start -n one --threads 3 loop.elf && swiftlet stop one
        """, output: "1\none\n",
        errors: .pattern("swiftlet: the daemon has no control group, which process_memory needs: [^\n]*\n")),
      daemon(
        board, "a group with other processes in it",
        """
        sleep 100 & other=$!; echo $other >$box/cgroup.procs
        swiftlet start -n one --threads 3 loop.elf; echo $?
        swiftlet start -n one loop.elf && swiftlet stop one
        kill $other; { wait $other; } 2>/dev/null
        """, output: "123\none\n",
        errors: .pattern(
          "swiftlet: cannot create or change a control group in [^\n]*: [^\n]*busy: other processes than the daemon are in it\n"
        )),
      Case(
        board, "daemon --cgroup /tmp", status: 123,
        errors: "swiftlet: --cgroup /tmp is not a control group (cgroup v2): No such file or directory\n"),
    ]
  }
}
