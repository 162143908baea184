import Testing

/// Whatever the CPUs of a program do, a limit, a look at it and a stop are answered within 100 ms of the board's clock, which counts
/// instructions.
@Suite(.onlyInCheck)
struct PromptnessTests {
  static let session = Session(
    [Board.arm64, .riscv64].flatMap { board in calls.map { answers(board, $0) } + [stalled(board)] }, timeout: 1200,
    options: ["--icount", "--boot"]
  ) { board in
    ["service": compiled("Tests/Service/service.c", for: board)]
  }

  @Test(arguments: session.cases)
  func isAnsweredAtOnce(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// What `guests/nonsecure/system-busy.c` does on three CPUs.
  private static let calls = [
    "write", "character", "read", "random", "rpc", "response", "sleep", "yield", "time", "counter", "region",
    "arguments",
    "secure", "unknown", "idle", "spin",
  ]

  /// Milliseconds of the board's clock, and what took more than 100 of them.
  private static let clock = """
    now() { awk '{ printf "%d", $1 * 1000 }' /proc/uptime; }
    within() { [ $2 -le 100 ] || echo "$1 after $2 ms"; }
    """

  private static func answers(_ board: Board, _ call: String) -> Case {
    DaemonTests.daemon(
      board, call, before: clock,
      """
      chmod +x ../files/service; ../files/service /run/silent silent & service=$!
      until [ -S /run/silent ]; do usleep 20000; done
      start() { swiftlet start --non-secure --cpus 3 --memory 64M --input --rpc S=unix:/run/silent "$@" system-busy.elf \(call); }
      start -n limited --timeout 300ms; begin=$(now)
      swiftlet wait limited 2>/dev/null; echo $?
      within "the limit" $(($(now) - begin - 300))
      start -n looked-at; usleep 200000
      begin=$(now); swiftlet inspect looked-at | grep -c '^state *running'; within "a look" $(($(now) - begin))
      begin=$(now); swiftlet stop looked-at; within "a stop" $(($(now) - begin))
      swiftlet wait looked-at 2>/dev/null; echo $?
      kill $service
      """, output: "limited\n124\nlooked-at\n1\n125\n")
  }

  /// No program reads what it writes.
  private static func stalled(_ board: Board) -> Case {
    Case(
      board, "write to a reader that reads nothing",
      script: """
        \(clock)
        (begin=$(now); swiftlet run --non-secure --cpus 3 --timeout 300ms system-busy.elf write 2>/dev/null; echo $? >/tmp/status
          within "the limit" $(($(now) - begin - 300)) >&2) | sleep 2
        cat /tmp/status
        """, output: "124\n")
  }
}
