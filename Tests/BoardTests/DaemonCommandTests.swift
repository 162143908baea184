import Testing

/// Commands of the daemon that people expect from docker and systemctl.
struct DaemonCommandTests {
  static let session = Session(
    [Board.arm64, .riscv64].flatMap { restarts($0) + removal($0) + looks($0) + uploads($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func commandPrintsAndExits(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func daemon(_ board: Board, _ name: String, _ script: String, output: Expected, errors: Expected = "")
    -> Case
  {
    DaemonTests.daemon(
      board, name,
      before: """
        process() { sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$1/process; }
        # lines NAME NUMBER: waits until an applet's output has a number of lines.
        lines() { until [ $(swiftlet logs $1 | wc -l) = $2 ]; do usleep 50000; done; }
        # details NAME PATTERN
        details() { swiftlet inspect $1 | grep -E "^($2) " | sed 's/  */ /'; }
        """, script, output: output, errors: errors)
  }

  private static func restarts(_ board: Board) -> [Case] {
    [
      daemon(
        board, "restart of an applet that runs, and of the same after a stop",
        """
        swiftlet start -n one --restart on-failure:3 --timeout 1h loop.elf a 'b c'; lines one 1
        first=$(process one); swiftlet restart one; echo $?; lines one 2
        [ $(process one) != $first ] && details one 'state|arguments|restarts|restart|timeout'
        swiftlet stop one; details one 'state|restart'; swiftlet wait one; echo $?
        swiftlet restart one; lines one 3; details one 'state|restarts|restart|end'
        swiftlet update --timeout 2h one; swiftlet restart --json one | sed 's/[0-9][0-9]*/0/'; details one timeout
        kill $(process one); until details one state | grep -q waiting; do usleep 50000; done; details one restarts
        """,
        output: """
          one
          0
          state running
          arguments a 'b c'
          restarts 0
          restart on-failure:3, after 1000 ms
          timeout 3600000 ms
          state stopped
          restart on-failure:3, after 1000 ms
          125
          state running
          restarts 0
          restart on-failure:3, after 1000 ms
          {"name":"one","pid":0}
          timeout 7200000 ms
          restarts 0

          """, errors: "swiftlet: one: stopped\n"),
      daemon(
        board, "restart of one that has ended, of one that waits, and of none",
        """
        cp hello.elf /tmp/again.elf
        swiftlet start -n one /tmp/again.elf a; swiftlet wait one; swiftlet restart one; swiftlet wait one; echo $?
        swiftlet logs one | grep -c 'arguments: a'
        cp /etc/passwd /tmp/again.elf; swiftlet restart one 2>&1 | sed 's/elf: .*/elf: …/'; details one 'state|restart'
        rm /tmp/again.elf; swiftlet restart one; echo $?; details one 'state|end'
        swiftlet start -n two --restart always --restart-delay 1m hello.elf
        until details two state | grep -q waiting; do usleep 50000; done
        swiftlet inspect two | grep -c '^next start .*(in [45][0-9]s)'
        swiftlet restart two; until details two state | grep -q waiting; do usleep 50000; done; details two restarts
        swiftlet logs two | grep -c hello
        swiftlet restart three; echo $?
        """,
        output: .pattern(
          """
          one
          0
          2
          swiftlet: /tmp/again.elf: …
          state failed
          restart no
          126
          state failed
          end status 126: [^\n]*
          two
          1
          restarts 0
          2
          1

          """),
        errors: .pattern(
          """
          swiftlet: /tmp/again.elf: No such file or directory
          swiftlet: there is no applet three: swiftlet ps lists them

          """)),
      // The process discards old times in its sandbox.
      daemon(
        board, "more times of output than are kept",
        """
        swiftlet start -n one exit-status.elf 0; swiftlet wait one
        head -c 327664 /dev/zero >$state/one/times
        swiftlet restart one; swiftlet wait one; echo $?
        wc -c <$state/one/times; du -k $state/one/times | cut -f1
        """, output: "one\n0\n327680\n256\n"),
      daemon(
        board, "a restart that must kill, over a reload, without its client",
        """
        swiftlet start -n one loop.elf; first=$(process one); kill -STOP $first
        /bin/swiftlet restart --grace 2s one & again=$!
        until grep -q restart /proc/$again/cmdline; do usleep 20000; done; usleep 300000; kill -HUP $daemon; wait $again; echo $?
        second=$(process one); [ $second != $first ] && details one state
        kill -STOP $second; /bin/swiftlet restart --grace 2s one & again=$!
        usleep 500000; kill $again; wait $again; kill -HUP $daemon
        until [ "$(process one)" != $second ]; do usleep 50000; done; details one state
        """, output: "one\n0\nstate running\nstate running\n", errors: .pattern("(Terminated\n)*")),
      daemon(
        board, "a stop during a restart, and a restart during a stop",
        """
        swiftlet start -n one --restart always loop.elf; kill -STOP $(process one)
        /bin/swiftlet restart --grace 5s one & again=$!
        usleep 500000; swiftlet stop --grace 1s one; wait $again; echo $?; details one state
        swiftlet restart one; kill -STOP $(process one)
        /bin/swiftlet stop --grace 2s one & stop=$!
        usleep 500000; swiftlet restart --grace 2s one; echo $?; wait $stop; echo $?; details one 'state|restart'
        """,
        output: """
          one
          1
          state stopped
          0
          0
          state running
          restart always, after 1000 ms

          """, errors: "swiftlet: one is stopped: it was stopped meanwhile; swiftlet restart one starts it again\n"),
    ]
  }

  private static func removal(_ board: Board) -> [Case] {
    [
      daemon(
        board, "rm -f and prune",
        """
        swiftlet start -n one loop.elf; swiftlet start -n two hello.elf; swiftlet start -n three loop.elf
        swiftlet start -n four exit-status.elf 3; swiftlet start --rm -n five loop.elf; swiftlet wait two four
        swiftlet rm one; echo $?
        swiftlet rm -f one five; echo $?; swiftlet rm -f one; echo $?
        swiftlet prune; swiftlet ps -q
        swiftlet stop three; swiftlet prune --json; swiftlet prune; swiftlet stop three; swiftlet ps -q
        """,
        output: """
          one
          two
          three
          four
          five
          1
          0
          1
          two
          four
          three
          {"removed":["three"]}

          """,
        errors: """
          swiftlet: one is running: stop it first, or use swiftlet rm -f one
          swiftlet: there is no applet one: swiftlet ps lists them
          swiftlet: there is no applet three: swiftlet ps lists them

          """),
      daemon(
        board, "the end of several, and limits that are changed",
        """
        for status in 3 5 0; do swiftlet start -n a$status exit-status.elf $status; done
        swiftlet wait a3 a5 a0; echo $?; swiftlet wait a3 nobody a0; echo $?; swiftlet wait a0 a0; echo $?
        swiftlet start -n one --rm sleep.elf 300; swiftlet start -n two --rm sleep.elf 300; swiftlet wait one two; echo $?
        swiftlet start -n loop loop.elf; swiftlet update --timeout 300ms loop; swiftlet wait loop; echo $?
        swiftlet update --timeout 1h loop; echo $?; swiftlet stop loop; echo $?
        """,
        output: """
          a3
          a5
          a0
          5
          123
          0
          one
          two
          0
          loop
          124
          1
          1

          """,
        errors: .pattern(
          """
          swiftlet: there is no applet nobody: swiftlet ps lists them
          swiftlet: loop: [^\n]*
          swiftlet: loop is failed: this needs a running applet; swiftlet restart loop starts it again
          swiftlet: loop is failed: it has ended already; swiftlet restart loop starts it again

          """)),
    ]
  }

  private static func looks(_ board: Board) -> [Case] {
    [
      daemon(
        board, "lists, details and figures of several",
        """
        swiftlet start -n web-1 loop.elf; swiftlet start -n web-2 exit-status.elf 3; swiftlet start -n db loop.elf
        swiftlet wait web-2
        swiftlet ps | awk 'NR > 1 { print $1, $2, $3 }'
        swiftlet ps -q --filter 'name=web-*'; swiftlet ps -q -f state=running -f 'name=web-*'
        swiftlet ps --filter state=up 2>&1; echo $?
        swiftlet inspect web-2 db | grep -E '^(name|state|started|ended|)( |$)' | sed 's/  */ /; s/ .*ago)/ …/'
        swiftlet inspect --json web-2 db | grep -c '"restart":{"policy":"no"'
        swiftlet stats | awk 'NR == 1 || $1 == "db" { print $1, $2, $3 == "-", $7 }'
        swiftlet stats --no-stream --json web-1 | grep -o '"name":"web-1","state":"running","cpu_percent"'
        swiftlet stats --no-stream web-2 | awk 'NR > 1 { print $2, $3 }'
        """,
        output: .pattern(
          """
          web-1
          web-2
          db
          web-1 running -
          web-2 exited 3
          db running -
          web-1
          web-2
          web-1
          swiftlet: --filter 'state=up' is invalid: [^\n]*; see: swiftlet help ps
          122
          name web-2
          state exited
          started …
          ended …

          name db
          state running
          started …
          2
          NAME STATE 0 RESTARTS
          db running 0 0
          "name":"web-1","state":"running","cpu_percent"
          exited -

          """)),
      daemon(
        board, "output of several, and its last lines",
        """
        swiftlet start -n one -i read.elf; swiftlet start -n three -i read.elf
        swiftlet logs -f one three >/tmp/both & both=$!
        printf 'a\\nb\\n' | swiftlet attach one >/dev/null; until grep -q read /tmp/both; do usleep 50000; done
        swiftlet logs --tail 2 -f three >/tmp/tail & tail=$!; sleep 2
        printf 'c\\nd\\n' >/tmp/input; swiftlet attach three </tmp/input >/dev/null; wait $both $tail; cat /tmp/both /tmp/tail
        swiftlet logs -t --since 1h --tail 1 one | sed 's/^[0-9-]*T[0-9:.]*[+-][0-9:]* /… /'; sleep 1; swiftlet logs --since 1s one
        swiftlet logs --tail 2 one; swiftlet logs -n 1 one nobody three; echo $?
        """,
        output: """
          one
          three
          one   | a
          one   | b
          one   | read: 4 bytes
          three | c
          three | d
          three | read: 4 bytes
          c
          d
          read: 4 bytes
          … read: 4 bytes
          b
          read: 4 bytes
          one    | read: 4 bytes
          three  | read: 4 bytes
          1

          """, errors: "swiftlet: there is no applet nobody: swiftlet ps lists them\n"),
    ]
  }

  private static func uploads(_ board: Board) -> [Case] {
    [
      daemon(
        board, "an image that is sent in pieces",
        """
        call() { printf '{"method":"org.swiftlet.Control.%s","parameters":{%s}}\\0' "$@"; }
        half=$(($(wc -c <hello.elf) / 2))
        {
          call Upload "\\"data\\":\\"$(head -c $half hello.elf | base64 -w 0)\\""
          call Upload "\\"data\\":\\"$(tail -c +$((half + 1)) hello.elf | base64 -w 0)\\""
          call Start '"name":"one","image":"/there/hello.elf","image_uploaded":true,"restart":{"policy":"always","delay":60000}'
          sleep 1
        } | swiftlet bridge | tr '\\0' '\\n' | sed 's/[0-9][0-9]*/0/'
        until swiftlet logs one | grep hello; do usleep 50000; done
        until swiftlet ps -q -f state=waiting | grep -q one; do usleep 50000; done
        swiftlet restart one; until [ $(swiftlet logs one | grep -c hello) = 2 ]; do usleep 50000; done
        swiftlet stop one; swiftlet restart one; echo $?
        """,
        output: """
          {"parameters":{"size":0}}
          {"parameters":{"size":0}}
          {"parameters":{"name":"one","pid":0}}
          hello from Swift on \(board.architecture)
          126

          """,
        errors:
          "swiftlet: /there/hello.elf: it was sent by another machine, and is not kept: start the applet from there\n")
    ]
  }
}
