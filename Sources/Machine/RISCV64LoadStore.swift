/// RISC-V Instruction Set Manual, Volume I: chapters "RV64I", "A", "C" and "Zc".
extension RISCV64 {
  static func loadStore(_ instruction: UInt32, _ register: (Int) -> UInt64) -> LoadStore? {
    let fields = InstructionFields(word: instruction)
    func access(_ isStore: Bool, base: Int, _ offset: UInt64, _ target: Int, size: Int, isUnsigned: Bool = false)
      -> LoadStore
    {
      LoadStore(
        isStore: isStore, address: (base == 0 ? 0 : register(base)) &+ offset, width: 1 << size, register: target,
        fill: isStore || isUnsigned || size == 3 ? .zero : .sign, length: fields(0, 2) == 3 ? 4 : 2)
    }
    guard fields(0, 2) == 3 else { return compressed(fields, access) }
    let (base, function) = (fields(15, 5), fields(12, 3))
    switch fields(0, 7) {
    case 0x03 where function < 7:  // LB, LH, LW, LD, LBU, LHU, LWU
      return access(
        false, base: base, fields.signed(20, 12), fields(7, 5), size: function & 3, isUnsigned: function > 3)
    case 0x23 where function < 4:  // SB, SH, SW, SD
      return access(
        true, base: base, fields.signed(25, 7) << 5 | UInt64(fields(7, 5)), fields(20, 5), size: function)
    case 0x2f where function == 2 || function == 3:
      switch fields(27, 5) {
      case 0b00010 where fields(20, 5) == 0:  // LR
        return access(false, base: base, 0, fields(7, 5), size: function)
      case 0b00001 where fields(7, 5) == 0:  // AMOSWAP
        return access(true, base: base, 0, fields(20, 5), size: function)
      default: return nil
      }
    default: return nil
    }
  }

  private static func compressed(
    _ fields: InstructionFields, _ access: (Bool, Int, UInt64, Int, Int, Bool) -> LoadStore
  ) -> LoadStore? {
    /// A zero-extended offset, of fields by their places in the instruction and in the number.
    func offset(_ parts: (low: Int, count: Int, place: Int)...) -> UInt64 {
      parts.reduce(0) { $0 | UInt64(fields($1.low, $1.count)) << UInt64($1.place) }
    }
    let (base, target) = (fields(7, 3) + 8, fields(2, 3) + 8)
    let word = offset((10, 3, 3), (6, 1, 2), (5, 1, 6))
    let double = offset((10, 3, 3), (5, 2, 6))
    switch (fields(0, 2), fields(13, 3)) {
    case (0, 0b010): return access(false, base, word, target, 2, false)  // C.LW
    case (0, 0b011): return access(false, base, double, target, 3, false)  // C.LD
    case (0, 0b110): return access(true, base, word, target, 2, false)  // C.SW
    case (0, 0b111): return access(true, base, double, target, 3, false)  // C.SD
    case (0, 0b100):
      let byte = offset((6, 1, 0), (5, 1, 1))
      let half = offset((5, 1, 1))
      switch (fields(10, 3), fields(6)) {
      case (0b000, _): return access(false, base, byte, target, 0, true)  // C.LBU
      case (0b001, let isSigned): return access(false, base, half, target, 1, isSigned == 0)  // C.LHU, C.LH
      case (0b010, _): return access(true, base, byte, target, 0, false)  // C.SB
      case (0b011, 0): return access(true, base, half, target, 1, false)  // C.SH
      default: return nil
      }
    case (2, 0b010) where fields(7, 5) != 0:  // C.LWSP
      return access(false, 2, offset((12, 1, 5), (4, 3, 2), (2, 2, 6)), fields(7, 5), 2, false)
    case (2, 0b011) where fields(7, 5) != 0:  // C.LDSP
      return access(false, 2, offset((12, 1, 5), (5, 2, 3), (2, 3, 6)), fields(7, 5), 3, false)
    case (2, 0b110): return access(true, 2, offset((9, 4, 2), (7, 2, 6)), fields(2, 5), 2, false)  // C.SWSP
    case (2, 0b111): return access(true, 2, offset((10, 3, 3), (7, 3, 6)), fields(2, 5), 3, false)  // C.SDSP
    default: return nil
    }
  }
}
