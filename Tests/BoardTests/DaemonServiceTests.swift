import Testing

/// Services of the daemon's applets, restarts, and the state that survives the daemon.
@Suite(.onlyInCheck)
struct DaemonServiceTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { services($0) + survival($0) }, timeout: 300) { board in
    ["service": compiled("Tests/Service/service.c", for: board)]
  }

  @Test(arguments: session.cases)
  func appletUsesServicesAndIsRestarted(_ entry: Case) async throws { try await entry.check(in: Self.session) }

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
          \\{"id":1,"result":null,"error":"KV.Set needs an object with a key and a value, both strings"\\}
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
        board, "a service that is not available",
        """
        swiftlet start -n one --rpc Thing=unix:/run/thing rpc-call.elf Thing.Do 1
        swiftlet wait one; swiftlet logs one
        """,
        output: """
          one
          {"id":1,"result":null,"error":"Thing: not available at /run/thing: start the service before the applet"}

          """),
      DaemonTests.daemon(
        board, "services that answer, disconnect, or do not answer",
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
          {"id":1,"result":null,"error":"Bad: the connection was closed"}
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
        until swiftlet logs one | grep -q spinning; do usleep 20000; done
        { kill -9 $daemon; wait $daemon; } 2>/dev/null
        two=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/two/process)
        kill -9 $two; while kill -0 $two 2>/dev/null; do usleep 20000; done
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
          swiftlet: two: it ended while no daemon was running; the cause is unknown
          123

          """),
      DaemonTests.daemon(
        board, "a restart after the file is deleted",
        """
        cp hello.elf /tmp/gone.elf
        swiftlet start -n one --restart always:1 --restart-delay 200ms /tmp/gone.elf
        rm /tmp/gone.elf
        swiftlet wait one; swiftlet logs one | grep -c hello
        """, output: "one\n2\n"),
      DaemonTests.daemon(
        board, "applets are restarted after the daemon's end unless a user has stopped them",
        """
        again() { kill $daemon; wait $daemon; start_daemon; until swiftlet ps | grep -q "one *$1"; do usleep 20000; done; }
        cp loop.elf /tmp/gone.elf
        swiftlet start -n one --restart always /tmp/gone.elf
        rm /tmp/gone.elf
        until swiftlet logs one | grep -q spinning; do usleep 20000; done
        again running; swiftlet ps | awk 'NR == 2 { print $2, $6 }'
        swiftlet wait one 2>/dev/null & waiter=$!; swiftlet logs -f one >/tmp/followed & kill -HUP $daemon; usleep 500000
        until [ $(grep -c spinning /tmp/followed) = 2 ]; do usleep 20000; done
        swiftlet stop one; wait $waiter; echo $?; again stopped; swiftlet logs one | grep -c spinning; cat /tmp/followed
        """, output: "one\nrunning 0\n125\n2\nloop: spinning\nloop: spinning\n"),
    ]
  }
}
