import Testing

/// The boards that differ in interrupt controller, page size and core: what must be the same there.
struct OtherBoardTests {
  static let session = Session([Board.arm64GICv2, .arm64Pages16K, .riscv64AIA].flatMap(cases))

  private static func cases(_ board: Board) -> [Case] {
    let host = Variant(board: board, options: "")
    func hello(_ language: String) -> Expected {
      .pattern("hello from \(language) on \(board.architecture)\narguments:\nrandom: [0-9a-f]{32}\n")
    }
    let page = board == .arm64Pages16K ? 16 : 4
    return [
      host.applet("hello", output: hello("Swift")),
      host.applet("hello-c", output: hello("C")),
      host.applet("hello-pie", output: hello("C")),
      host.applet(
        "read-shim", status: 121, output: .containing(["read-shim: reading 0x81000000"]),
        errors: .containing(["read from memory that it may not read, address 0x81000000"])),
      host.applet("registers", output: "registers: 1000 rounds\nregisters: all kept\n"),
      Case(
        board, "check",
        output: .containing(["\(board.architecture), pages of \(page) KiB", "This host can run applets."])),
    ]
  }

  @Test(arguments: session.cases.filter { $0.board != .riscv64AIA })
  func arm64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(
    .enabled(if: Board.riscv64AIA.isAvailable, "riscv64-aia cannot be had here: boards/list says what it lacks"),
    arguments: session.cases.filter { $0.board == .riscv64AIA })
  func riscv64AIA(_ entry: Case) async throws { try await entry.check(in: Self.session) }
}
