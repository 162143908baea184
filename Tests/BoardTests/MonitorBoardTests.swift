import Testing

/// The monitor's API, as a program that embeds it uses it: `exercise` (Tests/Exercise) tests one behaviour in each
/// case, on both architectures, and on arm64 with both transports.
@Suite(.onlyInCheck)
struct MonitorBoardTests {
  /// The cases that show the behaviour of each name of GoTEE's API. Monitor.docc's table has the same rows.
  static let rows: [(row: String, cases: [String])] = [
    ("Load", ["run", "load", "secure", "made-and-unmade"]),
    (
      "Exec",
      [
        "exec", "exec-resumes-a-fault", "exec-skips-a-fault", "non-secure-exec", "non-secure-registers",
        "non-secure-fault",
      ]
    ),
    (
      "Schedule",
      ["schedule", "schedule-throws-a-fault", "non-secure-schedule", "non-secure-stop", "non-secure-refusals"]
    ),
    ("Run", ["run"]),
    (
      "Stop",
      [
        "stop-spinning", "stop-sleeping", "stop-calling", "stop-waiting-for-input", "stop-blocked-in-output",
        "stop-before-run", "stop-twice", "stop-in-handler", "stop-exec", "stop-schedule", "stop-and-run-on",
        "stop-and-sleep-on", "stop-and-read-on", "stop-in-lockstep", "stop-and-run-on-in-lockstep", "stopped-registers",
        "stopped-amid-calls", "long-thousand-stops",
      ]
    ),
    ("Done", ["done"]),
    ("Handler", ["handler", "handler-throws", "secure-handler"]),
    ("A0, A1, A2, Ret", ["exec", "ret", "ret-shadow"]),
    ("Cause, Mode", ["cause-and-mode"]),
    ("Secure, NonSecure", ["secure"]),
    ("TransferRegion, Read, Write, Recv, Flush, Close", ["transfer"]),
    ("Poke", ["poke"]),
    ("Memory", ["memory"]),
    ("registers as fields", ["exec-skips-a-fault", "stopped-registers", "floating-point"]),
    ("Server, RPC", ["rpc", "rpc-server"]),
    ("Clone", ["clone", "clone-then-grow", "clone-thread-pointer", "counter-of-clone"]),
    ("Equal", ["equal"]),
    (
      "Shadow",
      [
        "lockstep-agrees", "lockstep-memory-of-its-own", "lockstep-general-register", "lockstep-floating-point",
        "lockstep-pc", "lockstep-input", "lockstep-fault", "lockstep-spins", "lockstep-common-fault", "lockstep-ends",
        "counter-in-lockstep", "counter-before-and-after-lockstep", "injected-faults",
      ]
    ),
    ("String", ["description"]),
    (
      "MMU, PMP, Domain",
      [
        "region-add", "region-is-listed", "region-shared", "region-protect", "region-execute", "region-remove",
        "region-remove-while-stopped", "region-remove-during-call", "region-limit-handler", "region-refused",
        "region-in-lockstep", "region-non-secure", "mmio",
      ]
    ),
    // Additions to GoTEE.
    (
      "budgets and deadlines",
      [
        "cpu-budget", "cpu-budget-of-calls", "call-budget", "deadline", "deadline-of-reader", "deadline-of-writer",
        "deadline-of-exec", "limits-set-by-handler", "limits-taken-back", "limit-handler", "limits-in-lockstep",
      ]
    ),
    ("contexts in parallel", ["parallel", "parallel-spinning", "two-hundred", "others-go-on"]),
    (
      "majority voting",
      [
        "vote-repairs-shadow", "vote-repairs-primary", "vote-repairs-spinning", "vote-repairs-stopped",
        "vote-names-each", "vote-no-majority",
      ]
    ),
    ("nanotime without an exit", ["counter"]),
    ("the cost of a call", ["call-cost"]),
    ("faults", ["faults", "faults-in-lockstep", "bad-addresses"]),
  ]

  static let names = rows.flatMap(\.cases).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }

  /// Cases that take seconds have a boot of their own.
  static let lockstep = session(names.filter(isLockstep))
  static let others = session(names.filter { !isLockstep($0) })
  static let list = Session(
    [Board.arm64, .riscv64].map { board in
      Case(board, "exercise --list", script: "../exercise --list", output: .pattern("([a-z-]+\n)+"))
    }, programs: ["exercise"])

  private static func isLockstep(_ name: String) -> Bool {
    ["lockstep", "vote", "counter", "injected"].contains { name.contains($0) }
  }

  private static func session(_ names: [String]) -> Session {
    Session(
      Variant.all.flatMap { host in names.filter { differs($0, on: host) }.map { host.exercise($0) } },
      programs: ["exercise"], timeout: 300)
  }

  /// Whether a case depends on the transport; the others are run with one.
  private static func differs(_ name: String, on host: Variant) -> Bool {
    host.options.isEmpty
      || ![
        "region", "non-secure", "long-", "two-hundred", "parallel", "lockstep-", "vote-", "injected", "deadline",
        "made-", "counter", "stop-and-run-on-in-lockstep",
      ].contains { name.hasPrefix($0) }
  }

  @Test(arguments: others.cases)
  func nameOfTheAPIBehaves(_ entry: Case) async throws { try await check(entry, Self.others) }

  @Test(arguments: lockstep.cases)
  func lockstepBehaviour(_ entry: Case) async throws { try await check(entry, Self.lockstep) }

  @Test(arguments: list.cases)
  func everyCaseHasARow(_ entry: Case) async throws {
    try await entry.check(in: Self.list)
    let names = try await Self.list.outcome(of: entry).output.split(separator: "\n").map(String.init)
    #expect(names.sorted() == Self.names.sorted())
  }

  /// Prints the measurements of a case.
  private func check(_ entry: Case, _ session: Session) async throws {
    try await entry.check(in: session)
    for line in try await session.outcome(of: entry).output.split(separator: "\n") where line.hasPrefix("note ") {
      print("\(entry.testDescription): \(line.dropFirst(5))")
    }
  }
}

extension Variant {
  fileprivate func exercise(_ name: String) -> Case {
    Case(
      board, "exercise \(options)\(name)", script: "timeout 60 ../exercise \(options). \(name)",
      output: .pattern("(note [^\n]+\n)*ok \(name) [0-9]+ ms\n"))
  }
}
