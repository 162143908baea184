import Testing

/// Many applets are started and ended by several clients at once; tools/soak describes the expected state afterwards.
@Suite(.onlyInCheck)
struct SoakTests {
  @Test("24 applets from 8 clients leak no resources", arguments: [Board.arm64, .riscv64])
  func soak(_ board: Board) throws {
    let result = try Program.run(Repository.path("tools/soak"), [board.rawValue, "24", "8"])
    #expect(result.status == 0, "\(result.output)\(result.errors)")
  }
}
