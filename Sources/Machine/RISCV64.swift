/// RISC-V: the privileged specification (version 20240411) for registers and encodings, Linux's
/// Documentation/virt/kvm/api.rst 4.68 for KVM's register ids.
public enum RISCV64 {
  // MARK: KVM register ids

  /// Id of a core register: its index in `struct kvm_riscv_core` (KVM_REG_RISCV_CORE).
  static func core(_ index: UInt64) -> UInt64 { 0x8030_0000_0200_0000 | index }

  /// x1 to x31.
  public static func x(_ number: Int) -> UInt64 { core(UInt64(truncatingIfNeeded: number)) }
  /// KVM id of pc.
  public static let pc = core(0)
  /// KVM id of the privilege mode: 1 for VS mode, 0 for VU mode.
  public static let mode = core(32)

  /// Id of a supervisor CSR: its index in `struct kvm_riscv_csr` (KVM_REG_RISCV_CSR).
  static func csr(_ index: UInt64) -> UInt64 { 0x8030_0000_0300_0000 | index }

  /// KVM id of sstatus.
  public static let sstatus = csr(0)
  /// KVM id of stvec.
  public static let stvec = csr(2)
  /// KVM id of sscratch.
  public static let sscratch = csr(3)
  /// KVM id of sepc.
  public static let sepc = csr(4)
  /// KVM id of scause.
  public static let scause = csr(5)
  /// KVM id of stval.
  public static let stval = csr(6)
  /// KVM id of satp.
  public static let satp = csr(8)
  /// KVM id of scounteren.
  public static let scounteren = csr(9)

  /// Id of a configuration register: its index in `struct kvm_riscv_config` (KVM_REG_RISCV_CONFIG).
  static func configuration(_ index: UInt64) -> UInt64 { 0x8030_0000_0100_0000 | index }

  /// KVM id of the bitmap of single-letter extensions.
  public static let isa = configuration(0)
  /// Block sizes of the cbo instructions that clean and zero, in bytes.
  public static let cacheBlockSize = configuration(1)
  /// KVM id of the size of the block that cbo.zero zeroes, in bytes.
  public static let zeroBlockSize = configuration(5)
  /// Frequency of the `time` counter, in Hz (KVM_REG_RISCV_TIMER).
  public static let timebase: UInt64 = 0x8030_0000_0400_0000

  /// The `time` counter itself (KVM_REG_RISCV_TIMER).
  static let time: UInt64 = 0x8030_0000_0400_0001
  /// Whether the guest has SBI's debug console extension (KVM_REG_RISCV_SBI_EXT, KVM_RISCV_SBI_EXT_DBCN).
  public static let sbiDebugConsole: UInt64 = 0x8030_0000_0800_0000 | 9

  /// f0 to f31 with the D extension (KVM_REG_RISCV_FP_D).
  public static func f(_ number: Int) -> UInt64 { 0x8030_0000_0600_0000 | UInt64(truncatingIfNeeded: number) }
  /// 32 bits (KVM_REG_SIZE_U32).
  public static let fcsr: UInt64 = 0x8020_0000_0600_0000 | 32

  // MARK: Facts

  @inline(__always)
  static var facts: Architecture.Facts {
    Architecture.Facts(
      name: "riscv64", narrow: nil, elfMachine: 243, auditNumber: 0xc000_00f3,
      // Sv39x4, the smallest mode that a host can have, translates 41 bits.
      defaultAddressBits: 41, appletAddressBits: 0,
      needsVCPUInit: false, usesSMCCC: false, appletCall: .ecall, programCall: .sbi, kernelInjectsAborts: false,
      userModeBlocksInWFI: true,
      generalRegister: core(0), generalRegisterStep: 1, programCounter: pc, status: sstatus, stackPointer: x(2),
      threadPointer: nil, translationTable: satp,
      exception: Architecture.ExceptionRegisters(cause: scause, pc: sepc, address: stval, saved: sscratch),
      counter: time, counterFrequency: timebase, counterAccess: scounteren, counterAccessBit: 1 << 1,
      emulatesCounter: false, debugConsole: sbiDebugConsole,
      generalRegisters: 1..<32, callRegister: 10, registerBits: 64, treeRegister: 11, stackRegister: 2,
      vectorRegister: 17,
      zeroRegister: 0, mtime: 0x0200_bff8,
      statusName: "sstatus", initialStatus: statusUser, systemStatus: statusSPP, privilegeBits: statusSPP,
      conditionFlags: 0, steadyStatus: ~(1 << 63 | 0b11 << 13),
      // Environment call from VS mode.
      systemCallCause: 10,
      coreWords: 1..<33,
      floatingPoint: Architecture.FloatingPoint(
        first: f(0), step: 1, words: 1, prefix: "f", control: fcsr, controlName: "fcsr", status: nil, statusName: "",
        trap: nil),
      callLength: 4, waitForInterrupt: 0x1050_0073,
      shimResume: shimResume, shimCall: shimCall, shimReturn: shimCall + 4, shimRestore: shimResume..<shimRestored,
      // li t0, 3; beq a2, a3; ld a5, 0(a2); ld a6, 8(a2); ld a7, 16(a2)
      version1Start: (offset: 0x1e, code: (0x621c_00d6_0f63_428d, 0x0106_3883_0086_3803)),
      // Page numbers start at bit 10. A valid entry without access is a pointer to a table (privileged specification, 10.3).
      pageTable: PageTable.Format(
        addressShift: 2, addressMask: ~0x3ff, tableMask: 0b1111, tableBits: 0b0001, pageBits: 0))
  }

  // MARK: Values

  /// sstatus: SRET goes to VS mode.
  static let statusSPP: UInt64 = 1 << 8
  /// sstatus: floating point on and in its initial state (FS); SRET returns to user mode (SPP 0) with interrupts off.
  static let statusUser: UInt64 = 1 << 13
  /// The same with FS dirty: the floating-point registers have changed.
  static let statusUserChanged: UInt64 = 3 << 13
  /// scause: an interrupt.
  static let interrupt: UInt64 = 1 << 63
  /// scause: a supervisor software interrupt.
  static let softwareInterrupt: UInt64 = interrupt | 1
  /// sstatus after an exception in user mode, from its value before: SPP is 0, and SPIE is SIE's value, which is 0.
  static func trappedFromUser(_ status: UInt64) -> UInt64 { status & ~(statusSPP | 1 << 5 | 1 << 1) }
  /// satp's mode field: Sv39.
  static let sv39: UInt64 = 8 << 60
  /// `mode`: VS mode.
  static let modeVS: UInt64 = 1

  static func start<Failure: Error>(
    _ layout: SecureLayout, status: UInt64, _ set: (RegisterSetting) throws(Failure) -> Void
  ) throws(Failure) {
    try set(RegisterSetting(id: pc, value: layout.shim + UInt64(shimResume)))
    try set(RegisterSetting(id: x(4), value: layout.frame))
    try set(RegisterSetting(id: stvec, value: layout.shim))
    try set(RegisterSetting(id: satp, value: sv39 | layout.tables.lowerBound >> 12))
    try set(RegisterSetting(id: sstatus, value: status))
  }

  static func programMMU(_ layout: ProgramLayout) -> [RegisterSetting] {
    [
      RegisterSetting(id: satp, value: sv39 | layout.tables.lowerBound >> 12),
      RegisterSetting(id: stvec, value: layout.vectors),
      RegisterSetting(id: sstatus, value: statusUser),
    ]
  }

  static func bootStart(entry: UInt64, deviceTree: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: x(10), value: 0),
      RegisterSetting(id: x(11), value: deviceTree),
      RegisterSetting(id: pc, value: entry),
    ]
  }

  /// The privilege is not part of PC or sstatus here.
  static func shimRestart(_ layout: SecureLayout) -> [RegisterSetting] {
    RegisterSetting.all { set in
      start(layout, status: statusUserChanged, set)
      set(RegisterSetting(id: mode, value: modeVS))
    }
  }

  static func shimTrap(_ layout: SecureLayout, pc: UInt64, status: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: sepc, value: pc),
      RegisterSetting(id: sstatus, value: trappedFromUser(status)),
      RegisterSetting(id: scause, value: softwareInterrupt),
      RegisterSetting(id: Self.pc, value: layout.shim),
      RegisterSetting(id: mode, value: modeVS),
    ]
  }

  // MARK: Page tables (privileged specification, 10.3 and 10.4 "Sv39")

  static func leaf(_ physical: UInt64, _ mapping: PageTable.Mapping) -> UInt64 {
    var entry = (physical >> 12) << 10 | 1 | 1 << 6  // valid, accessed
    if mapping.access.contains(.read) { entry |= 1 << 1 }
    if mapping.access.contains(.write) { entry |= 1 << 2 | 1 << 1 | 1 << 7 }  // dirty: the hardware may not set it
    if mapping.access.contains(.execute) { entry |= 1 << 3 }
    if mapping.isUser { entry |= 1 << 4 }
    return entry
  }

  // MARK: Exceptions (privileged specification, table "Supervisor cause register values")

  @inline(__always)
  static func trap(cause: UInt64) -> Trap { cause == 8 ? .call : .fault(fault(cause: cause)) }

  private static func fault(cause: UInt64) -> Fault {
    switch cause {
    case 0, 4, 6: .misaligned
    case 1, 12: .execute
    // Includes privileged instructions, which do not exist in user mode: the cause is the same.
    case 2: .undefinedInstruction
    case 3: .breakpoint
    case 5, 13: .read
    case 7, 15: .write
    case 18, 19: .hardware
    // Virtual instruction: one that the hypervisor extension denies to a guest's user mode.
    case 22: .privilegedInstruction
    default: .other(cause)
    }
  }

  static func systemFault(cause: UInt64) -> Fault {
    if case .fault(let fault) = trap(cause: cause) { return fault }
    return .other(cause)
  }

  static func counterRead(_ instruction: UInt32) -> Architecture.CounterRead? {
    // csrrs rd, time, x0
    guard instruction & 0xffff_f07f == 0xc010_2073 else { return nil }
    return .count(register: Int(instruction >> 7 & 31))
  }

  private static let names: [StaticString] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
    "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
  ]

  static func registerName(_ number: Int) -> String {
    names.indices.contains(number) ? names[number].description : "x\(number)"
  }
}
