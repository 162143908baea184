import Testing

/// Services of the daemon's applets, restarts, and what outlives a daemon.
struct DaemonServiceTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { services($0) + survival($0) }, timeout: 300) { board in
    ["service": compiled("Tests/Service/service.c", for: board)]
  }

  @Test(arguments: session.cases)
  func daemon(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func services(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "values, information, a line in the log",
        """
        swiftlet start -n one rpc-call.elf KV.Set '{"key":"a","value":"1"}' KV.Get '"a"' KV.Keys null KV.Get '"b"' \
          Log.Info '"it says so"' KV.Set 3 Info.Get null
        swiftlet wait one; swiftlet logs one
        grep 'says so' $log
        """,
        output: .pattern(
          """
          one
          \\{"id":1,"result":null,"error":null\\}
          \\{"id":1,"result":"1","error":null\\}
          \\{"id":1,"result":\\["a"\\],"error":null\\}
          \\{"id":1,"result":null,"error":null\\}
          \\{"id":1,"result":null,"error":null\\}
          \\{"id":1,"result":null,"error":"KV.Set takes an object with a key and a value, both strings"\\}
          \\{"id":1,"result":\\{"name":"one","restarts":0,"started":[0-9]+,"deadline":null\\},"error":null\\}
          swiftlet: log name=one text="it says so"

          """)),
      DaemonTests.daemon(
        board, "values outlive the process",
        """
        swiftlet start -n one --restart always:1 --restart-delay 50ms rpc-call.elf KV.Get '"n"' KV.Set '{"key":"n","value":"2"}'
        swiftlet wait one; swiftlet logs one | grep -o 'result":[^,]*'
        """, output: "one\nresult\":null\nresult\":null\nresult\":\"2\"\nresult\":null\n"),
      DaemonTests.daemon(
        board, "a service that nobody serves",
        """
        swiftlet start -n one --rpc Thing=unix:/run/thing rpc-call.elf Thing.Do 1
        swiftlet wait one; swiftlet logs one
        """,
        output: """
          one
          {"id":1,"result":null,"error":"Thing: nobody serves it at /run/thing: start the service before the applet"}

          """),
      DaemonTests.daemon(
        board, "services that answer, that go away, that let an applet wait",
        """
        chmod +x ../files/service
        ../files/service /run/good & good=$!; ../files/service /run/bad leave & bad=$!
        until [ -S /run/good ] && [ -S /run/bad ]; do usleep 20000; done
        swiftlet start -n one --rpc Good=unix:/run/good --rpc Bad=unix:/run/bad rpc-call.elf Good.Do 1 Bad.Do 2 Good.More 3
        swiftlet wait one; swiftlet logs one
        # The daemon itself takes what the applet sends for half a message; the wait ends with the applet.
        swiftlet start -n two --rpc Slow=unix:$SWIFTLET_SOCKET rpc-call.elf KV.Keys null Slow.Do 1
        until swiftlet logs two | grep -q result; do usleep 20000; done
        swiftlet stop --json two
        kill $good $bad; { wait $good $bad; } 2>/dev/null
        """,
        output: """
          one
          {"id":1,"result":"Good.Do of 1","error":null}
          {"id":1,"result":null,"error":"Bad: it has ended"}
          {"id":1,"result":"Good.More of 3","error":null}
          two
          {"end":{"code":125,"reason":"stopped"}}

          """, errors: .pattern("(Terminated\n)*")),
    ]
  }

  private static func survival(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "applets outlive a daemon that is killed, and one that reloads",
        """
        swiftlet start -n one loop.elf; swiftlet start -n two loop.elf
        { kill -9 $daemon; wait $daemon; } 2>/dev/null
        kill -9 $(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/two/process)
        start_daemon
        swiftlet ps | awk '{ print $1, $2 }'
        swiftlet logs one
        kill -HUP $daemon; sleep 0.2
        until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
        swiftlet inspect one | grep -c region
        swiftlet stop one; swiftlet wait one 2>&1; echo $?
        swiftlet wait two 2>&1; echo $?
        """,
        output: """
          one
          two
          NAME STATE
          one running
          two lost
          loop: spinning
          5
          swiftlet: one: stopped
          125
          swiftlet: two: it ended while no daemon ran, and nobody knows how
          123

          """),
      DaemonTests.daemon(
        board, "a restart has its image though the file is gone",
        """
        cp hello.elf /tmp/gone.elf
        swiftlet start -n one --restart always:1 --restart-delay 200ms /tmp/gone.elf
        rm /tmp/gone.elf
        swiftlet wait one; swiftlet logs one | grep -c hello
        """, output: "one\n2\n"),
    ]
  }
}

/// What goes wrong around a daemon, and must not take it down.
struct DaemonBadDayTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { badDays($0) }, timeout: 300)
  static let crowd = Session([Board.arm64, .riscv64].flatMap { crowds($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func daemon(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(arguments: crowd.cases)
  func many(_ entry: Case) async throws { try await entry.check(in: Self.crowd) }

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
          swiftlet: KILL: its process was killed (SIGKILL): by an administrator, or for want of memory
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
        board, "no descriptors left",
        """
        kill $daemon; wait $daemon
        before=$(ulimit -n); ulimit -n 27; start_daemon
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
