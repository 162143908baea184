/// Accesses outside of memory that KVM does not emulate.
extension Architecture {
  /// What a load or store accesses. nil for other instructions, and on arm64, where KVM reports it.
  /// - Parameters:
  ///   - instruction: its 32 bits; a compressed one is the low half.
  ///   - register: the values of the general registers, by number.
  public func access(of instruction: UInt32, register: (Int) -> UInt64) -> (address: UInt64, isWrite: Bool)? {
    switch self {
    case .arm64, .aarch32: nil
    case .riscv64: RISCV64.access(of: instruction) { $0 == 0 ? 0 : register($0) }
    }
  }

  /// The physical address of a virtual one, by the guest's own page tables. nil where nothing is mapped, and on arm64, where KVM
  /// reports the address of an access.
  /// - Parameters:
  ///   - table: the value of `Facts.translationTable`.
  ///   - load: 8 bytes of physical memory at an aligned address; nil where there is none.
  public func physicalAddress(of address: UInt64, table: UInt64, load: (UInt64) -> UInt64?) -> UInt64? {
    switch self {
    case .arm64, .aarch32: nil
    case .riscv64: RISCV64.physicalAddress(of: address, satp: table, load: load)
    }
  }
}

extension RISCV64 {
  /// The physical address of a virtual one, by the guest's own page tables (privileged specification, 10.3 to 10.6 "Sv39" to "Sv57").
  /// Permissions are not checked: a CPU has used the page already.
  /// - Parameters:
  ///   - satp: the register.
  ///   - load: 8 bytes of physical memory at an aligned address; nil where there is none.
  /// - Returns: nil if nothing is mapped there, or a table is not in memory.
  static func physicalAddress(of address: UInt64, satp: UInt64, load: (UInt64) -> UInt64?) -> UInt64? {
    let pageNumber: UInt64 = 1 << 44 - 1
    let mode = satp >> 60
    if mode == 0 { return address }
    // Sv39, Sv48 and Sv57 have three to five levels.
    guard (8...10).contains(mode) else { return nil }
    var table = (satp & pageNumber) << 12
    var shift = 12 + 9 * (mode - 6)
    while shift >= 12 {
      guard let entry = load(table | (address >> shift & 0x1ff) << 3), entry & 1 != 0 else { return nil }
      let next = (entry >> 10 & pageNumber) << 12
      // A page that can be read or executed; otherwise a table.
      if entry & 0xa != 0 {
        let offset: UInt64 = 1 << shift - 1
        return next & ~offset | address & offset
      }
      table = next
      shift -= 9
    }
    return nil
  }

  /// The registers of a vCPU that takes a load access fault to its own vector (privileged specification, 10.1.1 "sstatus", 10.1.2
  /// "stvec"). The faulting address, stval, is 0: "not known".
  /// - Parameters:
  ///   - mode: the privilege mode of the access.
  ///   - vector: stvec's BASE.
  public static func accessFault(pc: UInt64, status: UInt64, mode: UInt64, vector: UInt64) -> [RegisterSetting] {
    let (sie, spie): (UInt64, UInt64) = (1 << 1, 1 << 5)
    var after = status & ~(statusSPP | sie | spie)
    if mode == modeVS { after |= statusSPP }
    if status & sie != 0 { after |= spie }
    return [
      RegisterSetting(id: sepc, value: pc),
      RegisterSetting(id: scause, value: 5),
      RegisterSetting(id: stval, value: 0),
      RegisterSetting(id: sstatus, value: after),
      RegisterSetting(id: Self.pc, value: vector),
      RegisterSetting(id: Self.mode, value: modeVS),
    ]
  }

  fileprivate static func access(
    of instruction: UInt32, register: (Int) -> UInt64
  ) -> (address: UInt64, isWrite: Bool)? {
    let fields = InstructionFields(word: instruction)
    func access(as integer: UInt32) -> (address: UInt64, isWrite: Bool)? {
      loadStore(integer, register).map { ($0.address, $0.isStore) }
    }
    guard fields(0, 2) == 3 else {
      // C.FLD, C.FSD, C.FLDSP and C.FSDSP have the form of C.LD and so on; but C.LDSP has no register 0.
      guard fields(13, 2) == 1 else { return access(as: instruction) }
      return access(as: instruction | 1 << 14 | (fields(0, 2) == 2 && fields(15) == 0 ? 1 << 7 : 0))
    }
    let base = register(fields(15, 5))
    let width = fields(12, 3)
    switch fields(0, 7) {
    // These widths are of vectors, without an immediate; the others have the form of LD and SD.
    case 0x07 where width == 0 || width > 4: return (base, false)
    case 0x27 where width == 0 || width > 4: return (base, true)
    case 0x07, 0x27: return access(as: instruction & ~0x7004 | 0x3000)
    // LR alone does not write.
    case 0x2f: return (base, fields(27, 5) != 2)
    // Cache blocks are zeroed or cleaned.
    case 0x0f where width == 2: return (base, true)
    default: return access(as: instruction)
    }
  }
}
