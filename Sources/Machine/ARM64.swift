import AppletABI

/// ARM64: Arm Architecture Reference Manual (DDI 0487) for registers and encodings, Linux's
/// Documentation/virt/kvm/api.rst 4.68 for KVM's register ids.
public enum ARM64 {
  // MARK: KVM register ids

  /// Id of a 64-bit core register: its offset in `struct kvm_regs`, counted in 32-bit words (KVM_REG_ARM_CORE).
  static func core(offset: UInt64) -> UInt64 { 0x6030_0000_0010_0000 | offset / 4 }

  /// x0 to x30, and SP_EL0 as 31.
  public static func x(_ number: Int) -> UInt64 { core(offset: UInt64(truncatingIfNeeded: number) &* 8) }
  /// KVM id of SP_EL0.
  public static let sp = core(offset: 31 * 8)
  /// KVM id of PC.
  public static let pc = core(offset: 32 * 8)
  /// KVM id of PSTATE.
  public static let pstate = core(offset: 33 * 8)
  /// KVM id of SP_EL1.
  public static let spEL1 = core(offset: 34 * 8)
  /// KVM id of ELR_EL1.
  public static let elrEL1 = core(offset: 35 * 8)
  /// KVM id of SPSR_EL1.
  public static let spsrEL1 = core(offset: 36 * 8)

  /// Id of a system register by its encoding (KVM_REG_ARM64_SYSREG).
  static func system(_ op0: UInt64, _ op1: UInt64, _ crn: UInt64, _ crm: UInt64, _ op2: UInt64) -> UInt64 {
    0x6030_0000_0013_0000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
  }

  /// KVM id of SCTLR_EL1.
  public static let sctlrEL1 = system(3, 0, 1, 0, 0)
  /// KVM id of CPACR_EL1.
  public static let cpacrEL1 = system(3, 0, 1, 0, 2)
  /// KVM id of TTBR0_EL1.
  public static let ttbr0EL1 = system(3, 0, 2, 0, 0)
  /// KVM id of TCR_EL1.
  public static let tcrEL1 = system(3, 0, 2, 0, 2)
  /// KVM id of MAIR_EL1.
  public static let mairEL1 = system(3, 0, 10, 2, 0)
  /// KVM id of ESR_EL1.
  public static let esrEL1 = system(3, 0, 5, 2, 0)
  /// KVM id of VBAR_EL1.
  public static let vbarEL1 = system(3, 0, 12, 0, 0)
  /// KVM id of TPIDR_EL0.
  public static let tpidrEL0 = system(3, 3, 13, 0, 2)
  /// KVM id of CNTKCTL_EL1.
  public static let cntkctlEL1 = system(3, 0, 14, 1, 0)
  /// KVM id of ID_AA64MMFR0_EL1.
  public static let idAA64MMFR0 = system(3, 0, 0, 7, 0)

  /// KVM id of ID_AA64PFR0_EL1.
  public static let idAA64PFR0 = system(3, 0, 0, 4, 0)
  /// KVM id of FAR_EL1.
  public static let farEL1 = system(3, 0, 6, 0, 0)
  /// KVM id of TPIDR_EL1.
  public static let tpidrEL1 = system(3, 0, 13, 0, 4)
  /// CNTVCT_EL0. Its id has the encoding of CNTV_CVAL_EL0: KVM's ABI has the two swapped (api.rst 4.68).
  static let cntvct = system(3, 3, 14, 3, 2)

  /// q0 to q31: 128 bits each, at offset 336 of `struct kvm_regs` (KVM_REG_SIZE_U128).
  public static func q(_ number: Int) -> UInt64 {
    0x6040_0000_0010_0000 | (336 &+ UInt64(truncatingIfNeeded: number) &* 16) / 4
  }
  /// 32 bits each (KVM_REG_SIZE_U32).
  public static let fpsr: UInt64 = 0x6020_0000_0010_0000 | 848 / 4
  /// KVM id of FPCR, of 32 bits.
  public static let fpcr: UInt64 = 0x6020_0000_0010_0000 | 852 / 4

  // MARK: Facts

  @inline(__always)
  static var facts: Architecture.Facts {
    Architecture.Facts(
      name: "arm64", narrow: .aarch32, elfMachine: 183, auditNumber: 0xc000_00b7,
      // KVM_CREATE_VM with type 0 means 40 bits, and fails if the host has fewer (api.rst 4.2).
      defaultAddressBits: 40, appletAddressBits: PageTable.addressLimit.trailingZeroBitCount,
      needsVCPUInit: true, usesSMCCC: true, appletCall: .svc, programCall: .hvc, kernelInjectsAborts: true,
      userModeBlocksInWFI: false,
      generalRegister: x(0), generalRegisterStep: x(1) - x(0), programCounter: pc, status: pstate, stackPointer: spEL1,
      threadPointer: tpidrEL0, translationTable: ttbr0EL1,
      exception: Architecture.ExceptionRegisters(cause: esrEL1, pc: elrEL1, address: farEL1, saved: tpidrEL1),
      counter: cntvct, counterFrequency: nil, counterAccess: cntkctlEL1, counterAccessBit: 1 << 1,
      emulatesCounter: false, debugConsole: nil,
      generalRegisters: 0..<32, callRegister: 0, registerBits: 64, treeRegister: 0,
      stackRegister: Int(APPLET_FRAME_STACK_ARM64), vectorRegister: 0, zeroRegister: 31, mtime: nil,
      statusName: "pstate", initialStatus: statusEL0, systemStatus: statusEL1, privilegeBits: 0b1111,
      conditionFlags: 0b1111 << 28, steadyStatus: .max,
      // Exception class 0x16, of an instruction of 32 bits (IL).
      systemCallCause: 0x16 << 26 | 1 << 25,
      coreWords: 0..<34,
      floatingPoint: Architecture.FloatingPoint(
        first: q(0), step: q(1) - q(0), words: 2, prefix: "q", control: fpcr, controlName: "fpcr", status: fpsr,
        statusName: "fpsr", trap: (id: cpacrEL1, on: 0b01 << 20, off: cpacr)),
      callLength: 0, waitForInterrupt: 0xd503_207f,
      shimResume: shimResume, shimCall: shimCall, shimReturn: shimCall + 4, shimRestore: shimResume..<shimRestored,
      // cmp x1, x2; b.eq; ldp x4, x5, [x1], #16; ldr x6, [x1], #8
      version1Start: (offset: 0x20, code: (0x5400_0100_eb02_003f, 0xf840_8426_a8c1_1424)),
      // Bit 1 distinguishes a table from a block, and a page from an invalid entry (DDI 0487, D8.3).
      pageTable: PageTable.Format(
        addressShift: 0, addressMask: 0x0000_ffff_ffff_f000, tableMask: 0b11, tableBits: 0b11, pageBits: 0b10))
  }

  // MARK: Values

  /// PSTATE and SPSR: EL0 with SP_EL0, all interrupts masked.
  static let statusEL0: UInt64 = 0x3c0
  /// PSTATE: EL1 with SP_EL1, all interrupts masked.
  static let statusEL1: UInt64 = 0x3c5
  /// Byte offset of the vector of synchronous exceptions from EL0 (DDI 0487, D1.3.1 "Exception vectors").
  static let shimTrap = 0x400
  /// MAIR_EL1: attribute 0 is normal write-back memory, attribute 1 Device-nGnRE.
  static let mair: UInt64 = 0x04ff
  /// TCR_EL1: 39-bit addresses through TTBR0 (T0SZ, 25), 4 KiB granule, write-back (IRGN0 and ORGN0, bits 8 and 10)
  /// inner-shareable (SH0, 3 << 12) walks, no TTBR1 (EPD1, bit 23), 40-bit physical addresses (IPS, 2 << 32).
  static let tcr: UInt64 = 0x2_0080_3519
  /// SCTLR_EL1: the bits that are one in every version (0x30d0_0800), MMU (bit 0) and both caches (2 and 12) on. EL0's WFI,
  /// WFE and cache maintenance trap.
  static let sctlr: UInt64 = 0x30d0_1805
  /// CPACR_EL1: floating point and SIMD in EL0 and EL1 (FPEN).
  static let cpacr: UInt64 = 3 << 20

  /// The affinity fields that KVM gives vCPU n (arch/arm64/kvm/sys_regs.c, `reset_mpidr`).
  static func mpidr(_ number: Int) -> UInt64 {
    UInt64(number & 0xf | (number >> 4 & 0xff) << 8 | (number >> 12 & 0xff) << 16)
  }

  /// MMU and caches on, exceptions to `vectors`.
  private static func mmu<Failure: Error>(
    tables: UInt64, vectors: UInt64, sctlr: UInt64 = sctlr, _ set: (RegisterSetting) throws(Failure) -> Void
  ) throws(Failure) {
    try set(RegisterSetting(id: mairEL1, value: mair))
    try set(RegisterSetting(id: tcrEL1, value: tcr))
    try set(RegisterSetting(id: ttbr0EL1, value: tables))
    try set(RegisterSetting(id: vbarEL1, value: vectors))
    try set(RegisterSetting(id: cpacrEL1, value: cpacr))
    try set(RegisterSetting(id: sctlrEL1, value: sctlr))
  }

  static func secureStart<Failure: Error>(
    _ layout: SecureLayout, sctlr: UInt64 = sctlr, _ set: (RegisterSetting) throws(Failure) -> Void
  ) throws(Failure) {
    try mmu(tables: layout.tables.lowerBound, vectors: layout.shim, sctlr: sctlr, set)
    try set(RegisterSetting(id: spEL1, value: layout.frame))
    try set(RegisterSetting(id: pc, value: layout.shim + UInt64(shimResume)))
    try set(RegisterSetting(id: pstate, value: statusEL1))
  }

  static func programMMU(_ layout: ProgramLayout) -> [RegisterSetting] {
    RegisterSetting.all { mmu(tables: layout.tables.lowerBound, vectors: layout.vectors, $0) }
  }

  static func bootStart(entry: UInt64, deviceTree: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: x(0), value: deviceTree),
      RegisterSetting(id: pstate, value: statusEL1),
      RegisterSetting(id: pc, value: entry),
    ]
  }

  static func shimTrap(_ layout: SecureLayout, pc: UInt64, status: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: elrEL1, value: pc),
      RegisterSetting(id: spsrEL1, value: status),
      // No exception syndrome.
      RegisterSetting(id: esrEL1, value: 0),
      RegisterSetting(
        id: Self.pc, value: layout.shim + UInt64(status & AArch32.statusNarrow == 0 ? shimTrap : AArch32.shimTrap)),
      RegisterSetting(id: pstate, value: statusEL1),
    ]
  }

  /// Sixteen copies, 0x80 bytes apart.
  static var vectors: [UInt32] {
    (0..<16).flatMap { _ in vector + [UInt32](repeating: 0, count: 32 - vector.count) }
  }

  /// Whether CPUs with this ID_AA64MMFR0_EL1 support pages of this size in bytes (DDI 0487, D24.2 "ID_AA64MMFR0_EL1": TGran4,
  /// TGran64 and TGran16; in the first two 0b1111 means not supported, in the last 0).
  public static func hasPages(of size: UInt64, idAA64MMFR0 value: UInt64) -> Bool {
    switch size {
    case 4096: value >> 28 & 0xf != 0xf
    case 16384: value >> 20 & 0xf != 0
    case 65536: value >> 24 & 0xf != 0xf
    default: false
    }
  }

  // MARK: Page tables (DDI 0487, D8.3 "Translation table descriptor formats")

  static func leaf(_ physical: UInt64, _ mapping: PageTable.Mapping, level: Int) -> UInt64 {
    var entry = physical | (level == 3 ? 0b11 : 0b01) | 1 << 10  // valid page or block, access flag
    let neverUser: UInt64 = 1 << 54
    let neverPrivileged: UInt64 = 1 << 53
    if mapping.isDevice {
      entry |= 1 << 2 | 2 << 8  // MAIR attribute 1
    } else {
      entry |= 3 << 8  // MAIR attribute 0, inner shareable
    }
    if mapping.isUser { entry |= 1 << 6 }
    if !mapping.access.contains(.write) { entry |= 1 << 7 }
    if !(mapping.isUser && mapping.access.contains(.execute)) { entry |= neverUser }
    if mapping.isUser || !mapping.access.contains(.execute) { entry |= neverPrivileged }
    return entry
  }

  // MARK: Exceptions (DDI 0487, D24.2 "ESR_EL1")

  /// The exception class of a syndrome.
  @inline(__always)
  public static func exceptionClass(_ syndrome: UInt64) -> UInt64 { syndrome >> 26 & 0x3f }

  @inline(__always)
  static func trap(syndrome: UInt64) -> Trap {
    // SVC: 0x15, or 0x11 in AArch32.
    exceptionClass(syndrome) & ~0b100 == 0x11 ? .call : .fault(fault(syndrome: syndrome))
  }

  private static func fault(syndrome: UInt64) -> Fault {
    switch exceptionClass(syndrome) {
    case 0x00: return .undefinedInstruction
    case 0x01: return .waitForInterrupt
    // MRS and MSR; in AArch32 accesses to CP15, CP14 and VFP's ID registers.
    case 0x18, 0x03...0x06, 0x08, 0x0c: return .privilegedInstruction
    case 0x20: return syndrome & 0x3f == 0x10 ? .hardware : .execute
    case 0x22, 0x26: return .misaligned
    case 0x24:
      switch syndrome & 0x3f {
      case 0x21: return .misaligned
      case 0x10: return .hardware
      default: return syndrome & 1 << 6 != 0 ? .write : .read
      }
    case 0x2f: return .hardware
    // BRK; BKPT in AArch32.
    case 0x3c, 0x38: return .breakpoint
    case let other: return .other(other)
    }
  }

  static func systemFault(syndrome: UInt64) -> Fault {
    // Aborts without a change of exception level have their own classes, one above those from EL0.
    let isAbort = [0x21, 0x25].contains(exceptionClass(syndrome))
    if case .fault(let fault) = trap(syndrome: isAbort ? syndrome - 1 << 26 : syndrome) { return fault }
    return .other(exceptionClass(syndrome))
  }

  static func counterRead(syndrome: UInt64) -> Architecture.CounterRead? {
    // ISS of a trapped system register access (EC 0x18): direction in bit 0, Rt in 9:5, encoding in the other bits.
    guard exceptionClass(syndrome) == 0x18, syndrome & 1 == 1 else { return nil }
    let register = Int(syndrome >> 5 & 31)
    func iss(_ op0: UInt64, _ op1: UInt64, _ crn: UInt64, _ crm: UInt64, _ op2: UInt64) -> UInt64 {
      op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
    }
    switch syndrome & 0x003f_fc1e {
    case iss(3, 3, 14, 0, 2): return .count(register: register)  // CNTVCT_EL0
    case iss(3, 3, 14, 0, 0): return .frequency(register: register)  // CNTFRQ_EL0
    default: return nil
    }
  }

  static func registerName(_ number: Int) -> String {
    number == Int(APPLET_FRAME_STACK_ARM64) ? "sp" : "x\(number)"
  }
}
