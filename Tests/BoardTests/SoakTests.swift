import Testing

/// Starts and ends of many applets from several clients at once; tools/soak tells what must be left of them.
struct SoakTests {
  @Test("24 applets from 8 clients leave nothing behind", arguments: [Board.arm64, .riscv64])
  func soak(_ board: Board) throws {
    let result = try Program.run(Repository.path("tools/soak"), [board.rawValue, "24", "8"])
    #expect(result.status == 0, "\(result.output)\(result.errors)")
  }
}
