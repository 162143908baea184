import Testing

/// Limits of time, copies in lockstep, and the output of --verbose.
struct RunOptionTests {
  static let session = Session(
    [Board.arm64, .riscv64].flatMap { limits($0) + copies($0) + ends($0) + [services($0), verbose($0)] }
  ) {
    board in ["service": compiled("Tests/Service/service.c", for: board)]
  }

  @Test(arguments: session.cases)
  func run(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func limits(_ board: Board) -> [Case] {
    func stopped(_ options: String, _ applet: String, prints: String, _ reason: String) -> Case {
      Case(
        board, "run \(options) \(applet).elf", status: 124, output: .text("\(applet): \(prints)\n"),
        errors: .pattern("swiftlet: \(applet)\\.elf: \(reason), and was stopped at pc 0x8[0-9a-f]+, in [^\n]+\n"))
    }
    let late = "timed out"
    return [
      stopped("--timeout 300ms", "loop", prints: "spinning", late),
      stopped("-t 0.3", "call-loop", prints: "calling", late),
      Case(
        board, "run --timeout 300ms sleep-call.elf", status: 124, output: .pattern("sleep-call: [^\n]+\n"),
        errors: .containing(["swiftlet: sleep-call.elf: \(late), and was stopped at pc 0x8"])),
      Case(board, "run --timeout 1m exit-status.elf 0", output: "exit-status: 0\n"),
      stopped("--cpu-budget 200ms", "loop", prints: "spinning", "exceeded its CPU budget"),
      stopped("--cpu-budget 200ms", "call-loop", prints: "calling", "exceeded its CPU budget"),
      // Sleep uses no CPU time.
      Case(
        board, "run --cpu-budget 400ms sleep.elf 1000", output: "sleep: 1000 ms have passed\n"),
      stopped("--call-budget 200ms", "loop", prints: "spinning", "exceeded the CPU budget of a call"),
      // Many calls, each within the budget, which they exceed together.
      Case(
        board, "run --call-budget 500ms --timeout 1500ms call-loop.elf", status: 124, output: "call-loop: calling\n",
        errors: .containing([late])),
    ]
  }

  private static func copies(_ board: Board) -> [Case] {
    // On emulated riscv64 boards a guest's fcsr is sometimes zero after its thread was preempted, most often with
    // --parallel, and copies that use it differ. So the applet that uses it is only run on arm64.
    let (applet, output): (String, Expected) =
      board == .arm64
      ? ("registers.elf", "registers: 1000 rounds\nregisters: all kept\n") : ("call-loop-n.elf 1000", "")
    return [
      Case(board, "run --lockstep \(applet)", output: output),
      Case(board, "run --lockstep --parallel \(applet)", output: output),
      Case(board, "run --shadows 2 \(applet)", output: output),
      Case(board, "run --shadows 2 --parallel \(applet)", output: output),
      Case(
        board, "run --lockstep hello.elf --status=5", status: 5,
        output: .pattern("hello from Swift on \(board.architecture)\narguments: --status=5\nrandom: [0-9a-f]{32}\n")),
      // A fault in both copies alike is an error of the applet.
      Case(
        board, "run --lockstep null-read.elf", status: 121, output: .containing(["null-read: reading 0"]),
        errors: .containing(["swiftlet: null-read.elf: invalid read, address 0x0"])),
      Case(
        board, "run --shadows 2 --inject-faults 5 call-loop-n.elf 200",
        errors: .containing(["swiftlet: injected: bit ", "swiftlet: lockstep: ", " was repaired "])),
      // Two copies: a divergence is detected, but there is no majority.
      Case(
        // The fault may be injected before the first line is written.
        board, "run --lockstep --inject-faults 30 registers.elf", status: 120, output: .containing([]),
        errors: .containing(["swiftlet: injected: bit ", "swiftlet: registers.elf: lockstep failure: "])),
    ]
  }

  /// RPC services of other programs; methods of run's own come first.
  private static func services(_ board: Board) -> Case {
    Case(
      board, "services of other programs",
      script: """
        chmod +x ../files/service; ../files/service /run/led & led=$!
        until [ -S /run/led ]; do usleep 20000; done
        for copies in '' --lockstep; do
          swiftlet run $copies --rpc RPC=unix:/run/led rpc-call.elf RPC.Echo '"x"' RPC.LED 1 Other.Do 2
        done
        kill $led; { wait $led; } 2>/dev/null
        swiftlet run --rpc RPC=unix:/run/nobody rpc-call.elf RPC.LED 1
        """,
      output: .text(
        String(
          repeating: """
            {"id":1,"result":"x","error":null}
            {"id":1,"result":"RPC.LED of 1","error":null}
            {"id":1,"result":null,"error":"rpc: can't find service Other.Do"}

            """, count: 2)
          + #"{"id":1,"result":null,"error":"RPC: not available at /run/nobody: start the service before the applet"}"#
          + "\n"), errors: .pattern("(Terminated\n)*"))
  }

  /// What tells an applet's status from one of Swiftlet's own, for people and programs.
  private static func ends(_ board: Board) -> [Case] {
    func json(_ name: String, _ words: String, _ expected: String) -> Case {
      Case(
        board, "json-end: \(name)", script: "swiftlet run \(words) 7>/tmp/end.json >/dev/null 2>&1; cat /tmp/end.json",
        output: .pattern(expected + "\n"))
    }
    return [
      Case(
        board, "run exit-status.elf 125", status: 125, output: "exit-status: 125\n",
        errors: "swiftlet: exit-status.elf: exited by itself with status 125\n"),
      json(
        "exited", "--json-end 7 exit-status.elf 121",
        #"\{"code":121,"status":121,"reason":"exited by itself with status 121"\}"#),
      json(
        "fault", "--json-end 7 null-read.elf",
        #"\{"code":121,"reason":"invalid read, address 0x0, at pc 0x[^"]+"\}"#),
      json(
        "limit", "--json-end 7 --no-sandbox --timeout 300ms loop.elf",
        #"\{"code":124,"reason":"timed out, and was stopped at pc 0x[^"]+"\}"#),
      json(
        "powered off", "--json-end 7 --non-secure system-off.elf", #"\{"code":0,"status":0,"reason":"powered off"\}"#),
      json("no file", "--json-end 7 nowhere.elf", #"\{"code":127,"reason":"cannot be read: [^"]+"\}"#),
      Case(
        board, "run --json-end 9 hello-c.elf", status: 122,
        errors: .containing(["swiftlet: --json-end 9: no such descriptor is open"])),
      Case(
        board, "the time of day is the host's",
        script:
          "a=$(date +%s); n=$(swiftlet run nanotime.elf print | sed -n 's/nanotime: \\([0-9]*\\)$/\\1/p'); b=$(date +%s); "
          + "[ $a -le $n ] && [ $n -le $b ] && echo same", output: "same\n"),
    ]
  }

  private static func verbose(_ board: Board) -> Case {
    let calls = board == .arm64 ? "hvc" : "sbi"
    return Case(
      board, "run --verbose hello-c.elf", output: .containing(["hello from C on \(board.architecture)\n"]),
      errors: .pattern(
        """
        swiftlet: hello-c\\.elf: entry 0x80000000
        (swiftlet:   segment 0x8000[0-9a-f]{4} [0-9]+ bytes r[w-][x-]
        )+swiftlet: memory 0x80000000 to 0x810[0-9a-f]{5}, calls by \(calls)
        swiftlet: ready after [0-9]+ us
        swiftlet: exited with status 0 after [0-9]+ us

        """))
  }
}
