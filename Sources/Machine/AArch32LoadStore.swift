/// DDI 0487, F4.1.6 "Load/Store Word, Unsigned Byte (immediate, literal)" and the following, and F4.1.3 "Extra load/store": A32.
extension AArch32 {
  static func loadStore(_ instruction: UInt32, pc: UInt64, status: UInt64, _ register: (Int) -> UInt64) -> LoadStore? {
    let fields = InstructionFields(word: instruction)
    // Instructions without a condition are others, and so are those of T32.
    guard status & statusT32 == 0, fields(28, 4) != 15 else { return nil }
    let isLoad = fields(20) == 1
    let (base, target) = (fields(16, 4), fields(12, 4))
    /// - Parameters:
    ///   - offset: nil for an operand that is not supported.
    ///   - second: the second register of LDRD and STRD.
    func access(
      _ isStore: Bool, _ offset: UInt64?, width: Int, _ fill: LoadStore.Extension = .zero, second: Int? = nil
    ) -> LoadStore? {
      let isPreIndexed = fields(24) == 1
      let isWrittenBack = !isPreIndexed || fields(21) == 1
      // PC is no target, and a base only without write-back. A base that is a target as well is unpredictable.
      guard let offset, target != 15, second != 15,
        !isWrittenBack || base != 15 && base != target && base != second
      else { return nil }
      let start = base == 15 ? (pc &+ 8) & ~3 : register(base)
      let moved = (fields(23) == 1 ? start &+ offset : start &- offset) & 0xffff_ffff
      return LoadStore(
        isStore: isStore, address: isPreIndexed ? moved : start, width: width, register: target, second: second,
        fill: fill, writeBack: isWrittenBack ? LoadStore.WriteBack(register: base, value: moved) : nil)
    }
    switch fields(25, 3) {
    case 0b010:  // LDR, LDRB, STR, STRB, with an immediate offset
      return access(!isLoad, UInt64(fields(0, 12)), width: fields(22) == 1 ? 1 : 4)
    case 0b011 where fields(4) == 0:  // with a register
      return access(!isLoad, shiftedOffset(fields, register), width: fields(22) == 1 ? 1 : 4)
    case 0b000 where fields(7) == 1 && fields(4) == 1:
      // Bit 22: an immediate offset of 8 bits.
      let offset = fields(22) == 1 ? UInt64(fields(8, 4) << 4 | fields(0, 4)) : plainOffset(fields, register)
      // With P 0 and W 1 these are LDRHT and the like, of which there are none for two registers.
      let isUnprivileged = fields(24) == 0 && fields(21) == 1
      switch (fields(5, 2), isLoad) {
      case (1, _): return access(!isLoad, offset, width: 2)  // LDRH, STRH
      case (2, true): return access(false, offset, width: 1, .signTo32)  // LDRSB
      case (3, true): return access(false, offset, width: 2, .signTo32)  // LDRSH
      case (2, false) where !isUnprivileged && target % 2 == 0:  // LDRD
        return access(false, offset, width: 4, second: target + 1)
      case (3, false) where !isUnprivileged && target % 2 == 0:  // STRD
        return access(true, offset, width: 4, second: target + 1)
      default: return nil
      }
    default: return nil
    }
  }

  private static func plainOffset(_ fields: InstructionFields, _ register: (Int) -> UInt64) -> UInt64? {
    fields(8, 4) == 0 && fields(0, 4) != 15 ? register(fields(0, 4)) : nil
  }

  /// A register, shifted by a constant; nil for PC, and for RRX, which takes the carry flag.
  private static func shiftedOffset(_ fields: InstructionFields, _ register: (Int) -> UInt64) -> UInt64? {
    guard fields(0, 4) != 15 else { return nil }
    let value = UInt32(truncatingIfNeeded: register(fields(0, 4)))
    let amount = UInt32(fields(7, 5))
    switch fields(5, 2) {
    case 0: return UInt64(value << amount)  // LSL
    case 1: return UInt64(amount == 0 ? 0 : value >> amount)  // LSR; 0 means 32
    case 2: return UInt64(UInt32(bitPattern: Int32(bitPattern: value) >> Int32(amount == 0 ? 31 : amount)))  // ASR
    default: return amount == 0 ? nil : UInt64(value >> amount | value << (32 - amount))  // ROR
    }
  }
}
