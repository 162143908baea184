/// DDI 0487, C4.1.94 "Loads and Stores".
extension ARM64 {
  static func loadStore(_ instruction: UInt32, pc: UInt64, _ register: (Int) -> UInt64) -> LoadStore? {
    let fields = InstructionFields(word: instruction)
    // SIMD and floating-point registers.
    guard fields(26) == 0 else { return nil }
    let (target, base) = (fields(0, 5), fields(5, 5))
    /// The addressing modes with a base register: 1 post-index, 3 pre-index, others without write-back.
    func place(_ mode: Int, _ offset: UInt64) -> (address: UInt64, writeBack: LoadStore.WriteBack?) {
      let (old, new) = (register(base), register(base) &+ offset)
      let isWritten = mode == 1 || mode == 3
      return (mode == 1 ? old : new, isWritten ? LoadStore.WriteBack(register: base, value: new) : nil)
    }
    /// One register, by the fields size and opc.
    func single(_ address: UInt64, _ opc: Int, writeBack: LoadStore.WriteBack? = nil) -> LoadStore? {
      let size = fields(30, 2)
      // The base cannot be loaded as well; base 31 is SP, and target 31 the zero register.
      if let writeBack, writeBack.register == target, target != 31 { return nil }
      let fill: LoadStore.Extension
      switch opc {
      case 0, 1: fill = .zero
      case 2 where size < 3: fill = .sign
      case 3 where size < 2: fill = .signTo32
      // PRFM, and encodings without a meaning.
      default: return nil
      }
      return LoadStore(
        isStore: opc == 0, address: address, width: 1 << size, register: target, fill: fill, writeBack: writeBack)
    }
    switch (fields(27, 3), fields(24, 2)) {
    case (0b111, 0b01):  // unsigned immediate
      return single(register(base) &+ UInt64(fields(10, 12) << fields(30, 2)), fields(22, 2))
    case (0b111, 0b00):
      guard fields(21) == 1 else {
        // LDUR, post-index, LDTR, pre-index
        let (address, writeBack) = place(fields(10, 2), fields.signed(12, 9))
        return single(address, fields(22, 2), writeBack: writeBack)
      }
      if instruction & 0x3fff_fc00 == 0x38bf_c000 { return single(register(base), 1) }  // LDAPR
      guard fields(10, 2) == 2, let offset = extendedOffset(fields, register) else { return nil }
      return single(register(base) &+ offset, fields(22, 2))
    case (0b101, _):
      return pair(fields, place(fields(23, 2), offset(ofPair: fields)))
    case (0b011, 0b00):  // literal
      return literal(fields, pc)
    case (0b001, 0b00) where instruction & 0x00bf_7c00 == 0x009f_7c00:  // LDAR, LDLAR, STLR, STLLR
      return single(register(base), fields(22))
    case (0b011, 0b01) where fields(21) == 0 && fields(10, 2) == 0:  // LDAPUR, STLUR
      return single(register(base) &+ fields.signed(12, 9), fields(22, 2))
    default: return nil
    }
  }

  /// The offset in a register: extended by `option`, and shifted by the size of the access if S is set.
  private static func extendedOffset(_ fields: InstructionFields, _ register: (Int) -> UInt64) -> UInt64? {
    let number = fields(16, 5)
    let value = number == 31 ? 0 : register(number)
    let shift = UInt64(fields(12) == 1 ? fields(30, 2) : 0)
    switch fields(13, 3) {
    case 0b010: return UInt64(UInt32(truncatingIfNeeded: value)) << shift
    case 0b110: return UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value))) << shift
    case 0b011, 0b111: return value << shift
    default: return nil
    }
  }

  /// Bytes of each register of a pair, by opc: 32 bits, LDPSW, 64 bits.
  private static func width(ofPair fields: InstructionFields) -> Int { fields(30, 2) == 2 ? 8 : 4 }

  private static func offset(ofPair fields: InstructionFields) -> UInt64 {
    fields.signed(15, 7) &* UInt64(width(ofPair: fields))
  }

  private static func pair(
    _ fields: InstructionFields, _ place: (address: UInt64, writeBack: LoadStore.WriteBack?)
  ) -> LoadStore? {
    let (first, second, opc, isLoad) = (fields(0, 5), fields(10, 5), fields(30, 2), fields(22) == 1)
    // opc 1 is LDPSW, which has no form like LDNP, or STGP. Two results in one register, and a base that is loaded as well, are
    // unpredictable.
    guard fields(25) == 0, opc < 3, opc != 1 || isLoad && fields(23, 2) != 0, !(isLoad && first == second) else {
      return nil
    }
    if let base = place.writeBack?.register, base != 31, base == first || base == second { return nil }
    return LoadStore(
      isStore: !isLoad, address: place.address, width: width(ofPair: fields), register: first, second: second,
      fill: opc == 1 ? .sign : .zero, writeBack: place.writeBack)
  }

  private static func literal(_ fields: InstructionFields, _ pc: UInt64) -> LoadStore? {
    let opc = fields(30, 2)
    guard opc < 3 else { return nil }  // PRFM
    return LoadStore(
      isStore: false, address: pc &+ fields.signed(5, 19) << 2, width: opc == 1 ? 8 : 4, register: fields(0, 5),
      fill: opc == 2 ? .sign : .zero)
  }
}
