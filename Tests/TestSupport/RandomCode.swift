import Machine

extension ELFBuilder {
  /// A program of random instructions. Half of the words have any value; the others are mostly instructions that change
  /// the privilege level or access distant memory.
  public static func random(_ architecture: Architecture, seed: UInt64) -> ELFBuilder {
    var random = SeededGenerator(seed: seed)
    var code: [UInt8] = []
    for _ in 0..<1024 {
      let word = UInt32.random(in: 0...UInt32.max, using: &random)
      let instruction =
        Bool.random(using: &random)
        ? word : architecture.hostileInstruction(word, kind: .random(in: 0..<12, using: &random))
      withUnsafeBytes(of: instruction.littleEndian) { code.append(contentsOf: $0) }
    }
    return ELFBuilder(
      architecture, entry: 0x8000_0000,
      segments: [
        Segment(read | execute, at: 0x8000_0000, code),
        Segment(read | write, at: 0x8001_0000, [0], memorySize: 0x4000),
      ])
  }
}

extension Architecture {
  /// - Parameters:
  ///   - word: random bits for the instruction's fields.
  ///   - kind: 0 to 11.
  fileprivate func hostileInstruction(_ word: UInt32, kind: Int) -> UInt32 {
    switch (self, kind) {
    case (.aarch32, _): 0xef00_0000 | word & 0xff_ffff  // svc
    case (.arm64, 0): 0xd400_0001 | (word & 0xffff) << 5  // svc
    case (.arm64, 1): 0xd400_0002  // hvc
    case (.arm64, 2): 0xd400_0003  // smc
    case (.arm64, 3), (.arm64, 4): 0xd510_0000 | word & 0x2f_ffff  // msr, mrs
    case (.arm64, 5): 0xd508_7000 | word & 0x7_0fff  // cache and TLB maintenance
    case (.arm64, 6): 0xd503_207f  // wfi
    case (.arm64, 7): 0xd69f_03e0  // eret
    case (.arm64, 8), (.arm64, 9): 0xd280_0000 | word & 0x7f_ffff  // movz
    case (.arm64, 10): 0xf940_0000 | word & 0x40_03ff  // ldr, str
    case (.arm64, _): 0x1400_0001 | word & 15  // b, forward
    case (.riscv64, 0), (.riscv64, 1): 0x0000_0073  // ecall
    case (.riscv64, 2), (.riscv64, 3): 0x0000_1073 | word & 0xfff0_6f80  // csrrw, csrrs, csrrc…
    case (.riscv64, 4): 0x1020_0073  // sret
    case (.riscv64, 5): 0x3020_0073  // mret
    case (.riscv64, 6): 0x1050_0073  // wfi
    case (.riscv64, 7): 0x1200_0073 | word & 0x01ff_8000  // sfence.vma
    case (.riscv64, 8): 0x0000_100f  // fence.i
    case (.riscv64, 9): 0x0000_0037 | word & 0xffff_ff80  // lui
    case (.riscv64, 10): (word & 0x40 == 0 ? 0x0000_3003 : 0x0000_3023) | word & 0x01ff_8f80  // ld, sd
    case (.riscv64, _): 0x0000_0013 | word & 0xffff_8f80  // addi
    }
  }
}
