import Testing

/// Boards with other interrupt controllers, page sizes and cores: tests whose result must be the same there.
@Suite(.onlyInCheck)
struct OtherBoardTests {
  static let session = Session([Board.arm64GICv2, .arm64Pages16K, .riscv64AIA].flatMap(cases) + withoutFilter)

  private static func cases(_ board: Board) -> [Case] {
    let host = Variant(board: board, options: "")
    func hello(_ language: String) -> Expected {
      .pattern("hello from \(language) on \(board.architecture)\narguments:\nrandom: [0-9a-f]{32}\n")
    }
    let page = board == .arm64Pages16K ? 16 : 4
    let mmio = Variant(board: board, options: "--transport mmio ")
    return
      (board.architecture == "arm64"
      ? [
        mmio.applet("hello", output: hello("Swift")), mmio.applet("registers", output: .containing(["all kept"])),
        mmio.applet("null-read", status: 121, output: "null-read: reading 0\n", errors: .containing(["address 0x0"])),
      ] : []) + [
        host.applet("hello", output: hello("Swift")),
        host.applet("hello-c", output: hello("C")),
        host.applet("hello-pie", output: hello("C")),
        host.applet(
          "read-shim", status: 121, output: .containing(["read-shim: reading 0x80050000"]),
          errors: .containing(["invalid read, address 0x80050000"])),
        host.applet("write 9000", output: .containing(["write: a line in two calls\n..."])),
        host.applet("read", input: "text", output: "textread: 4 bytes\n"),
        host.applet(
          "stack-overflow", status: 121, output: .containing(["calling without end"]),
          errors: .containing(["address 0x8000ff"])),
        host.applet(
          "bad-address guard", status: 121, output: .containing(["bad-address: "]), errors: .containing(["0x8000fff8"])),
        host.applet("bad-address last-byte", output: .containing(["allowed, as it should be"])),
        Variant(board: board, options: "--timeout 300ms ").applet(
          "loop", status: 124, output: "loop: spinning\n", errors: .containing(["timed out"])),
        // Sizes that are multiples of 4 KiB, but not of a larger page.
        Variant(board: board, options: "--memory 132K ").applet("hello", output: hello("Swift")),
        host.applet("registers", output: "registers: 1000 rounds\nregisters: all kept\n"),
        Case(
          board, "check",
          output: .containing(["\(board.architecture), pages of \(page) KiB", "This host can run applets."])),
      ]
  }

  /// A kernel that does not forward HVCs.
  private static var withoutFilter: [Case] {
    let host = Variant(board: .arm64Linux61, options: "")
    return [
      Case(
        .arm64Linux61, "check",
        output: .containing(["SMCCC filter      no   calls use MMIO", "This host can run applets."])),
      host.applet("hello one", output: .containing(["hello from Swift on arm64\narguments: one\n"])),
      host.applet("hello-c", output: .containing(["hello from C on arm64\n"])),
      host.applet(
        "null-read", status: 121, output: "null-read: reading 0\n", errors: .containing(["address 0x0"])),
      Variant(board: .arm64Linux61, options: "--transport hvc ").applet(
        "hello", status: 123, output: "", errors: .containing(["this kernel has no SMCCC filter"])),
      Variant(board: .arm64Linux61, options: "--lockstep ").applet(
        "hello-c", output: .containing(["hello from C on arm64\n"])),
      Variant(board: .arm64Linux61, options: "--non-secure --timeout 500ms ").applet(
        "system-hello", status: 124, output: "",
        errors: .containing(["this kernel does not forward the calls of a program in system mode"])),
    ]
  }

  @Test(arguments: session.cases.filter { $0.board != .riscv64AIA })
  func arm64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(
    .enabled(if: Board.riscv64AIA.isAvailable, "riscv64-aia cannot be had here: boards/list says what it lacks"),
    arguments: session.cases.filter { $0.board == .riscv64AIA })
  func riscv64AIA(_ entry: Case) async throws { try await entry.check(in: Self.session) }
}
