import Testing

/// Clients of the daemon on its board: malicious ones, which must not affect the daemon or other clients, and the
/// output of commands.
struct DaemonClientTests {
  static let malicious = Session([Board.arm64, .riscv64].flatMap { badClients($0) }, timeout: 300)
  static let session = Session([Board.arm64, .riscv64].flatMap { commands($0) }, timeout: 300)

  @Test(.onlyInCheck, arguments: malicious.cases)
  func aMaliciousClientHarmsNobody(_ entry: Case) async throws { try await entry.check(in: Self.malicious) }

  @Test(arguments: session.cases)
  func clientPrintsAndExits(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let info = #"{"method":"org.varlink.service.GetInfo"}"#

  private static func daemon(
    _ board: Board, _ name: String, options: String = "", before: String = "", _ script: String, output: Expected,
    errors: Expected = ""
  ) -> Case {
    DaemonTests.daemon(
      board, name, options: options,
      before: """
        figure() { swiftlet metrics | awk -v name=$1 '$1 == name { print $2 }'; }
        process() { sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$1/process; }
        \(before)
        """, script, output: output, errors: errors)
  }

  private static func badClients(_ board: Board) -> [Case] {
    [
      daemon(
        board, "messages that are not calls",
        """
        for text in '\\0' 'GET / HTTP/1.1\\r\\n\\r\\n\\0' '[]\\0' '{"method":1}\\0' '{"method":"a","parameters":[]}\\0'; do
          printf "$text"'\(info)\\0' | swiftlet bridge | wc -c
        done
        head -c 4000 /dev/urandom | swiftlet bridge 2>/dev/null | wc -c
        head -c 3000000 /dev/zero | tr '\\0' a | swiftlet bridge 2>/dev/null | wc -c
        figure connections
        """, output: "0\n0\n0\n0\n0\n0\n0\n1\n"),
      daemon(
        board, "half a message, and the rest after others were served",
        """
        { printf '{"method":"org.varl'; sleep 1; printf 'ink.service.GetInfo"}\\0'; } | swiftlet bridge >/tmp/half & half=$!
        usleep 300000; swiftlet ps; wait $half; grep -c '"product":"swiftlet"' /tmp/half
        printf '{"method":"org.varl' | swiftlet bridge | wc -c
        """, output: "NAME  STATE  EXIT  PID  AGE  RESTARTS  IMAGE\n1\n0\n"),
      daemon(
        board, "ten thousand calls without reading the replies",
        """
        yes '\(info)' | head -10000 | tr '\\n' '\\0' | /bin/swiftlet bridge | {
          sleep 1; [ $(figure resident) -lt 8388608 ] || echo it has $(figure resident) bytes; tr -cd '\\0' | wc -c
        }
        """, output: "10000\n"),
      daemon(
        board, "clients that disconnect during a call",
        """
        swiftlet start -n one loop.elf
        before=$(figure descriptors)
        for number in $(seq 20); do
          printf '{"method":"org.swiftlet.Control.Wait","parameters":{"name":"one"}}\\0' | timeout -s KILL 1 /bin/swiftlet bridge &
          gone="$gone $!"
        done
        wait $gone 2>/dev/null
        until [ $(figure connections) = 1 ]; do usleep 50000; done
        echo $(($(figure descriptors) - before)); swiftlet stop one; swiftlet wait one 2>&1
        """, output: "one\n0\nswiftlet: one: stopped\n", errors: .pattern("(Killed\n)*")),
      daemon(
        board, "the same name several times at once",
        """
        for number in 1 2 3 4; do { /bin/swiftlet start -n one loop.elf >/dev/null; echo $? >/tmp/status$number; } & all="$all $!"; done
        wait $all; cat /tmp/status[1-4] | sort; swiftlet ps | grep -c running
        """, output: "0\n1\n1\n1\n1\n",
        errors: .pattern(
          "(swiftlet: an applet one exists already: remove it with swiftlet rm one after it has ended\n){3}")),
      daemon(
        board, "users with and without permission", options: "--group 4711 --worker-user nobody",
        before: "printf 'members:x:4711:\\n' >/etc/group",
        """
        as() { su -s /bin/sh nobody -c "SWIFTLET_SOCKET=$SWIFTLET_SOCKET /bin/swiftlet $*"; }
        as ps 2>&1; echo $?
        chmod 666 $SWIFTLET_SOCKET
        as ps 2>&1; echo $?
        printf 'members:x:4711:nobody\\n' >/etc/group; chmod 660 $SWIFTLET_SOCKET
        as start -n one /root/guests/loop.elf; echo $?
        grep -E '^[UG]id' /proc/$(process one)/status; ls -ld $state $state/one | cut -c1-10
        as stop one; as rm one
        as start -n one /root/guests/rpc-call.elf KV.Set '\\"{}\\"' KV.Keys null >/dev/null; as wait one; echo $?
        grep -c 'refused.*user=65534' $log
        rm /etc/group
        """,
        output: """
          swiftlet: /run/control.sock: Permission denied: add this user to the socket's group
          123
          swiftlet: permission denied by the daemon: add this user to the socket's group
          1
          one
          0
          Uid:\t65534\t65534\t65534\t65534
          Gid:\t65534\t65534\t65534\t65534
          drwx------
          drwx------
          0
          1

          """),
      daemon(
        board, "calls of a daemon that ends, and an applet that does not", options: "--grace 5s",
        """
        swiftlet start -n one loop.elf; swiftlet start -n two loop.elf; swiftlet start -n three loop.elf
        kill -STOP $(process one)
        {
          until grep -q 'stopped name=two' $log; do usleep 20000; done
          printf '{"method":"org.swiftlet.Control.Start","parameters":{"image":"/root/guests/hello.elf"}}\\0'
          until [ -s /tmp/late ]; do usleep 20000; done
        } | /bin/swiftlet bridge >/tmp/late & late=$!
        until [ $(figure connections) = 2 ]; do usleep 20000; done
        kill $daemon; wait $daemon; echo $?; wait $late; tr '\\0' '\\n' </tmp/late
        grep -E '^swiftlet: (ending|stopped|grace over|end)' $log | sed 's/ detail=.*//'
        start_daemon
        """,
        output: """
          one
          two
          three
          0
          {"error":"org.swiftlet.Control.ShuttingDown","parameters":{}}
          swiftlet: ending running=3
          swiftlet: stopped name=three
          swiftlet: stopped name=two
          swiftlet: grace over name=one
          swiftlet: stopped name=one
          swiftlet: end

          """),
      daemon(
        board, "a service that does not answer, and a disk that fills meanwhile",
        """
        mkdir -p /tmp/small; mount -t tmpfs -o size=200k none /tmp/small
        kill $daemon; wait $daemon; state=/tmp/small/state; start_daemon
        # The daemon itself takes what the applet sends for half a message.
        swiftlet start -n other -i read.elf
        swiftlet start -n one --rpc Thing=unix:$SWIFTLET_SOCKET rpc-call.elf KV.Keys null Thing.Do 1 Thing.Do 2 Thing.Do 3 KV.Set '{"key":"a","value":"1"}'
        until swiftlet logs one | grep -q result; do usleep 50000; done
        dd if=/dev/zero of=/tmp/small/fill bs=1k count=400 2>/dev/null
        /bin/swiftlet wait one; echo $?; swiftlet logs one
        # What it writes is lost, and it goes on.
        head -c 20000 /dev/zero | tr '\\0' x | swiftlet attach other | wc -c; swiftlet wait other; echo $?
        rm /tmp/small/fill; swiftlet rm one; swiftlet rm other
        kill $daemon; wait $daemon; umount /tmp/small; state=/run/state; start_daemon
        """,
        output: .pattern(
          """
          other
          one
          0
          \\{"id":1,"result":\\[\\],"error":null\\}
          (\\{"id":1,"result":null,"error":"Thing: no answer within 5 seconds"\\}
          ){3}\\{"id":1,"result":null,"error":"KV: cannot write the values: the disk is full"\\}
          [0-9]+
          0

          """)),
    ]
  }

  private static func commands(_ board: Board) -> [Case] {
    [
      daemon(
        board, "output as it comes, where no inotify watches are left",
        """
        watches=/proc/sys/fs/inotify/max_user_watches; before=$(cat $watches); echo 0 >$watches
        swiftlet start -n one -i read.elf
        swiftlet logs -f one >/tmp/follow & follow=$!
        printf 'one\\n' >$state/one/input
        until grep -q one /tmp/follow; do usleep 50000; done
        cat /proc/$daemon/fdinfo/* | grep -c '^inotify wd'
        swiftlet stop one; wait $follow; echo $?
        echo $before >$watches
        """, output: "one\n0\n0\n"),
      daemon(
        board, "ages and order, when the clock is set",
        """
        swiftlet start -n one loop.elf; now=$(date +%s)
        date -s @$((now + 86400)) >/dev/null; swiftlet ps | awk 'NR == 2 { print $5 }'
        swiftlet start -n two loop.elf; date -s @$((now - 86400)) >/dev/null
        kill -HUP $daemon; usleep 300000; until swiftlet ps >/tmp/ps 2>/dev/null; do usleep 50000; done
        awk 'NR > 1 { print $1, $5 }' /tmp/ps; date -s @$now >/dev/null; swiftlet stop one two
        """, output: .pattern("one\n[0-9]s\ntwo\none [0-9]s\ntwo [0-9]s\n")),
      daemon(
        board, "events, and output as it comes",
        """
        /bin/swiftlet events >/tmp/events & events=$!
        /bin/swiftlet events --json >/tmp/json & json=$!
        until [ $(figure connections) = 3 ]; do usleep 50000; done
        swiftlet start -n one -i read.elf
        swiftlet logs -f one >/tmp/follow & follow=$!
        printf 'one\\n' >$state/one/input
        until grep -q one /tmp/follow; do usleep 50000; done
        printf 'two\\n' | swiftlet attach one >/dev/null
        wait $follow; echo $?; cat /tmp/follow
        swiftlet rm one
        until grep -q removed /tmp/json; do usleep 50000; done
        kill $events $json
        awk '{ print $2, $3 }' /tmp/events; grep -o '"event":"[a-z]*","name":"one"' /tmp/json
        """,
        output: """
          one
          0
          one
          two
          read: 8 bytes
          running one
          exited one
          removed one
          "event":"running","name":"one"
          "event":"exited","name":"one"
          "event":"removed","name":"one"

          """, errors: .pattern("(Terminated\n)*")),
      daemon(
        board, "replies for programs",
        """
        swiftlet start --json -n one loop.elf; swiftlet start --json -n two hello.elf; swiftlet start --json -n three loop.elf
        swiftlet ps --json; swiftlet inspect --json one; swiftlet metrics --json
        swiftlet stop --json one; swiftlet kill --json three; swiftlet wait --json two; swiftlet wait --json one; echo $?
        """,
        output: .pattern(
          """
          \\{"name":"one","pid":[0-9]+\\}
          \\{"name":"two","pid":[0-9]+\\}
          \\{"name":"three","pid":[0-9]+\\}
          \\{"applets":\\[\\{"name":"one","state":"running",[^\n]*\\}
          \\{"applet":\\{"name":"one",[^\n]*"regions":\\[[^\n]*\\]\\}
          \\{"applets":3,"running":[0-9]+,"started":3,[^\n]*\\}
          \\{"end":\\{"code":125,"reason":"stopped"\\}\\}
          \\{"end":\\{"code":137,"signal":9,[^\n]*\\}
          \\{"state":"exited","end":\\{"code":0,"status":0,"reason":"exited with status 0"\\}\\}
          \\{"state":"stopped","end":\\{"code":125,"reason":"stopped"\\}\\}
          125

          """)),
      daemon(
        board, "one that waits for its restart, one with --rm, one at its deadline",
        """
        swiftlet start -n one --restart always --restart-delay 1m hello.elf
        until swiftlet ps | grep -q '^one  *waiting'; do usleep 50000; done
        swiftlet inspect one | grep '^end ' | sed 's/  */ /'; swiftlet stop one; swiftlet ps | awk '$1 == "one" { print $2 }'
        swiftlet start -n two --rm -i read.elf; swiftlet attach two </dev/null; echo $?; swiftlet ps | grep -c two
        swiftlet start -n three --cpu-budget 200ms loop.elf; swiftlet wait three 2>/dev/null; echo $?
        swiftlet start -n four --call-budget 200ms loop.elf; swiftlet wait four 2>/dev/null; echo $?
        # A deadline counts from the start, whenever it was set.
        swiftlet start -n five loop.elf; sleep 3
        { printf '{"method":"org.swiftlet.Control.SetLimits","parameters":{"name":"five","limits":{"deadline":3000}}}\\0'; sleep 1; } |
          swiftlet bridge >/dev/null
        swiftlet ps | awk '$1 == "five" { print $2 }'
        swiftlet start hello.elf; swiftlet start hello.elf
        """,
        output: """
          one
          end status 0: exited with status 0
          stopped
          two
          read: 0 bytes
          0
          0
          three
          124
          four
          124
          five
          failed
          applet-6
          applet-7

          """),
      daemon(
        board, "an exit status, which is not a failure",
        """
        swiftlet start -n one exit-status.elf 7; swiftlet wait one; echo $?; figure failed
        swiftlet start -n two --timeout 200ms loop.elf; swiftlet wait two 2>/dev/null; echo $?; figure failed
        """, output: "one\n7\n0\ntwo\n124\n1\n"),
      daemon(
        board, "the last 256 KiB of a console",
        """
        swiftlet start -n one --restart always:7 --restart-delay 1ms write.elf 60000; /bin/swiftlet wait one; echo $?
        size=$(swiftlet logs one | wc -c); [ $size -ge 262144 ] && [ $size -le 400000 ] || echo $size bytes
        swiftlet logs one | tail -c 5; [ $(du -k $state/one/console | cut -f1) -le 400 ] || du -k $state/one/console
        """, output: "one\n0\n....\n"),
      daemon(
        board, "a log for journald, and in JSON", options: "--log-format json",
        before: ">$log; export JOURNAL_STREAM=$(stat -c %d:%i $log)",
        """
        unset JOURNAL_STREAM
        swiftlet start -n one rpc-call.elf Log.Error '"it says so"' >/dev/null; swiftlet wait one >/dev/null
        swiftlet start -n two loop.elf >/dev/null; kill -9 $(process two); swiftlet wait two 2>/dev/null
        swiftlet start -n three --restart always:1 --restart-delay 1ms exit-status.elf 0 >/dev/null; swiftlet wait three
        sed 's/"time":[0-9]*/"time":0/; s/pid [0-9]*/pid/' $log | sort
        """,
        // Sorted: an applet may log before its worker has reported that it runs. A restart as intended is no warning.
        output: .pattern(
          """
          <3>\\{"time":0,"level":"error","event":"log","name":"one","text":"it says so"\\}
          <4>\\{"time":0,"level":"warning","event":"failed","name":"two","detail":"[^\n]*"\\}
          <6>\\{"time":0,"level":"info","event":"exited","name":"one","detail":"exited with status 0"\\}
          <6>\\{"time":0,"level":"info","event":"exited","name":"three","detail":"exited with status 0"\\}
          <6>\\{"time":0,"level":"info","event":"ready","socket":"/run/control.sock","applets":"0"\\}
          <6>\\{"time":0,"level":"info","event":"running","name":"one","detail":"pid"\\}
          (<6>\\{"time":0,"level":"info","event":"running","name":"three","detail":"pid"\\}
          ){2}<6>\\{"time":0,"level":"info","event":"running","name":"two","detail":"pid"\\}
          <6>\\{"time":0,"level":"info","event":"waiting","name":"three","detail":"exited with status 0; again in 1 ms"\\}

          """)),
    ]
  }
}
