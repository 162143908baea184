import Testing

/// Applets that are declared by files, and a daemon of a user's own.
struct DaemonDeclaredTests {
  static let session = Session(
    [Board.arm64, .riscv64].flatMap { directory($0) + client($0) + places($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func appletIsAsItsFileSays(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// Functions for all cases: `put NAME TEXT` writes a declaration into $files, `says TEXT` waits for a line of the log.
  private static func functions(_ files: String) -> String {
    """
    files=\(files); rm -rf $files; mkdir -p $files
    put() { printf "$2\\n" >$files/$1.json; }
    says() { until grep -q "$1" $log; do usleep 20000; done; }
    process() { sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$1/process; }
    states() { swiftlet ps | awk 'NR > 1 { print $1, $2 }' | sort; }
    """
  }

  private static func directory(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "the daemon's directory at its start and at a reload",
        before: functions("/etc/swiftlet/applets.d") + """

          put one '{ "image": "/root/guests/loop.elf" }'
          put two '{ "image": "/root/guests/loop.elf", "restart": { "policy": "always" } }'
          put three '{ "image": "/root/guests/hello.elf", "arguments": ["a"] }'
          """,
        """
        for name in one two three; do says "applied name=$name change=started"; done
        swiftlet wait three; states; swiftlet logs three | grep arguments
        one=$(process one); two=$(process two)
        put one '{ "image": 1 }'
        put two '{ "image": "/root/guests/loop.elf", "restart": { "policy": "always" }, "memory": 8388608 }'
        put bad '{\\n  "image": "/root/guests/loop.elf",\\n  "memroy": 1\\n}'
        rm $files/three.json
        kill -HUP $daemon
        says 'applied name=three change=removed'; says 'applied name=two change=changed'
        states
        [ $(process one) = $one ] || echo one was restarted
        [ $(process two) != $two ] || echo two was not restarted
        grep -o 'applets.d/[a-z]*.json:[0-9:]* .*is not known\\|applets.d/[a-z]*.json:[0-9:]* .*must be' $log
        """, after: "rm -rf /etc/swiftlet",
        output: """
          one running
          three exited
          two running
          arguments: a
          one running
          two running
          applets.d/bad.json:3:3: \\"memroy\\" is not known
          applets.d/one.json:1:3: \\"image\\" must be

          """),
      DaemonTests.daemon(
        board, "what the daemon's end has stopped is started again, what a user has stopped is not",
        options: "--applets /tmp/applets.d",
        before: functions("/tmp/applets.d") + """

          for name in one two; do put $name '{ "image": "/root/guests/loop.elf" }'; done
          """,
        """
        says 'name=two change=started'
        swiftlet stop two
        kill $daemon; wait $daemon; : >$log; start_daemon
        says 'name=one change=started'; states
        kill -9 $daemon; { wait $daemon; } 2>/dev/null; start_daemon
        usleep 300000; states; grep -c applied $log
        """,
        output: """
          one running
          two stopped
          one running
          two stopped
          1

          """),
    ]
  }

  private static func client(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "swiftlet apply", before: functions("/tmp/files"),
        """
        sum=$(sha256sum loop.elf | cut -d ' ' -f 1)
        put one '{ "image": "loop.elf" }'; put two '{ "image": "/root/guests/loop.elf", "limits": { "cpu_budget": 60000 } }'
        cp loop.elf $files/loop.elf
        swiftlet apply --dry-run $files; states
        swiftlet apply $files; swiftlet apply $files
        swiftlet inspect one | grep declared
        put one '{ "image": "loop.elf", "digest": "sha256:'$sum'" }'
        swiftlet apply $files
        one=$(process one)
        put one '{ "image": "loop.elf", "digest": "sha256:'$(echo $sum | tr 0-9a-f 1-9a-f0)'" }'
        swiftlet apply $files; echo $?
        put one '{ "image": "loop.elf", }'
        swiftlet apply --prune $files; echo $?
        printf 'not an ELF file' >$files/loop.elf; put one '{ "image": "loop.elf" }'
        swiftlet apply $files; echo $?
        [ $(process one) = $one ] && states
        cp hello.elf $files/loop.elf; swiftlet apply $files; swiftlet wait one; swiftlet logs one | grep -c ^hello
        swiftlet apply $files
        rm $files/two.json; swiftlet apply $files; swiftlet apply --prune --dry-run $files; swiftlet apply --prune $files; states
        swiftlet start -n mine loop.elf; put mine '{ "image": "/root/guests/loop.elf" }'; swiftlet apply $files; echo $?
        """,
        output: """
          started one (dry run)
          started two (dry run)
          started one
          started two
          unchanged one
          unchanged two
          declared  in /tmp/files
          changed one (restarted)
          unchanged two
          unchanged two
          126
          unchanged two
          1
          unchanged two
          126
          one running
          two running
          changed one (restarted)
          unchanged two
          1
          unchanged one
          unchanged two
          unchanged one
          unchanged one (dry run)
          removed two (dry run)
          unchanged one
          removed two
          one exited
          mine
          unchanged one
          1

          """,
        errors: .pattern(
          """
          swiftlet: /tmp/files/one.json: /tmp/files/loop.elf: its digest is sha256:[0-9a-f]{64}, not sha256:[0-9a-f]{64}
          swiftlet: /tmp/files/one.json:1:24: string or '}' expected near '}'
          swiftlet: /tmp/files/one.json: /tmp/files/loop.elf: [^\n]+
          swiftlet: /tmp/files/mine.json: there is an applet mine already that was not declared: remove it with swiftlet rm mine

          """)),
      DaemonTests.daemon(
        board, "a digest of a start, and values of a changed applet", before: functions("/tmp/files"),
        """
        sum=sha256:$(sha256sum hello.elf | cut -d ' ' -f 1)
        swiftlet start -n good --restart on-failure --digest $sum hello.elf; swiftlet wait good; echo $?
        swiftlet start -n bad --digest $sum loop.elf; echo $?
        swiftlet start -n bad --restart always --digest $sum loop.elf 2>/dev/null; echo $?
        put one '{ "image": "/root/guests/rpc-call.elf", "arguments": ["KV.Set", "{\\\\"key\\\\":\\\\"a\\\\",\\\\"value\\\\":\\\\"1\\\\"}"] }'
        swiftlet apply $files; swiftlet wait one
        put one '{ "image": "/root/guests/rpc-call.elf", "arguments": ["KV.Get", "\\\\"a\\\\""] }'
        swiftlet apply $files; swiftlet wait one; swiftlet logs one | grep -o 'result":[^,]*'
        """,
        output: """
          good
          0
          126
          126
          started one
          changed one (restarted)
          result":null
          result":"1"

          """,
        errors: .pattern(
          "swiftlet: [^\n]*/loop.elf: its digest is sha256:[0-9a-f]{64}, not sha256:[0-9a-f]{64}\n")),
    ]
  }

  private static func places(_ board: Board) -> [Case] {
    [
      Case(
        board, "a daemon of a user's own",
        script: """
          rm -rf /tmp/user; mkdir -p /tmp/user/run /tmp/user/.config/swiftlet/applets.d
          echo '{ "image": "/root/guests/loop.elf" }' >/tmp/user/.config/swiftlet/applets.d/one.json
          chown -R nobody /tmp/user; chmod 666 /dev/kvm
          cat >/tmp/own.sh <<'END'
          unset SWIFTLET_SOCKET XDG_STATE_HOME XDG_CONFIG_HOME
          export HOME=/tmp/user XDG_RUNTIME_DIR=/tmp/user/run
          /bin/swiftlet ps 2>&1
          /bin/swiftlet daemon 2>/tmp/user/log & daemon=$!
          until /bin/swiftlet ps 2>/dev/null | grep -q 'one *running'; do usleep 20000; done
          /bin/swiftlet start -n two /root/guests/hello.elf; /bin/swiftlet wait two; echo $?
          ls /tmp/user/run/swiftlet; ls /tmp/user/.local/state/swiftlet/applets
          stat -c %a /tmp/user/run/swiftlet
          kill $daemon; wait $daemon; echo $?
          unset XDG_RUNTIME_DIR; /bin/swiftlet daemon 2>&1; echo $?
          END
          su -s /bin/sh nobody -c 'sh /tmp/own.sh'; chmod 600 /dev/kvm; rm -rf /tmp/user
          """,
        output: .pattern(
          """
          swiftlet: /run/swiftlet/control.sock: No such file or directory: [^\n]+
          two
          0
          control.sock
          one
          two
          700
          0
          swiftlet: XDG_RUNTIME_DIR is not set, which a login through systemd-logind does: give --socket
          123

          """)),
      Case(
        board, "a container with /dev/kvm alone",
        script: """
          root=/tmp/container; mkdir -p $root/bin $root/dev $root/proc $root/etc/swiftlet/applets.d
          cp /bin/swiftlet $root/bin; cp hello.elf loop.elf $root
          mknod $root/dev/kvm c 10 232; mknod $root/dev/null c 1 3; mount -t proc proc $root/proc
          echo '{ "image": "/loop.elf", "restart": { "policy": "always" } }' >$root/etc/swiftlet/applets.d/one.json
          inside() { timeout 20 chroot $root /bin/swiftlet "$@"; }
          inside run /hello.elf | head -1
          chroot $root /bin/swiftlet daemon 2>/tmp/container.log & daemon=$!
          until inside ps 2>/dev/null | grep -q 'one *running'; do usleep 20000; done
          inside start -n two /hello.elf; inside wait two; echo $?
          kill $daemon; wait $daemon; echo $?
          umount $root/proc; rm -rf $root
          """,
        output: "hello from Swift on \(board.architecture)\ntwo\n0\n0\n"),
    ]
  }
}
