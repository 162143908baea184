import AppletABI

/// AArch32 at EL0 (DDI 0487, G1), which some arm64 CPUs have: applets of 32 bits behind the same shim in EL1. General registers R0 to
/// R14 are X0 to X14, D0 to D31 are the halves of V0 to V15 (D1.8.2, "Mapping of the general-purpose registers"), and all other
/// registers are arm64's.
public enum AArch32 {
  @inline(__always)
  static var facts: Architecture.Facts {
    let arm64 = ARM64.facts
    return Architecture.Facts(
      name: "arm", narrow: nil, elfMachine: 40, auditNumber: arm64.auditNumber,
      defaultAddressBits: 32, appletAddressBits: arm64.appletAddressBits,
      needsVCPUInit: true, usesSMCCC: true, appletCall: .svc, programCall: .hvc, kernelInjectsAborts: true,
      userModeBlocksInWFI: false,
      generalRegister: arm64.generalRegister, generalRegisterStep: arm64.generalRegisterStep,
      programCounter: arm64.programCounter, status: arm64.status, stackPointer: arm64.stackPointer,
      threadPointer: arm64.threadPointer, translationTable: arm64.translationTable, exception: arm64.exception,
      counter: arm64.counter, counterFrequency: nil, counterAccess: arm64.counterAccess,
      counterAccessBit: arm64.counterAccessBit, emulatesCounter: true, debugConsole: nil,
      // PC has the number of a zero register, which there is none.
      generalRegisters: 0..<15, callRegister: 0, registerBits: 32, treeRegister: 2, stackRegister: 13,
      vectorRegister: 0, zeroRegister: 15, mtime: nil,
      statusName: "cpsr", initialStatus: statusUser, systemStatus: arm64.systemStatus, privilegeBits: 0b1111,
      // N, Z, C, V, Q and GE.
      conditionFlags: 0b11111 << 27 | 0b1111 << 16, steadyStatus: .max, systemCallCause: arm64.systemCallCause,
      coreWords: arm64.coreWords,
      floatingPoint: Architecture.FloatingPoint(
        first: arm64.floatingPoint.first, step: arm64.floatingPoint.step, words: 1, prefix: "d",
        control: arm64.floatingPoint.control, controlName: "fpscr (control)", status: arm64.floatingPoint.status,
        statusName: "fpscr (status)", trap: arm64.floatingPoint.trap),
      callLength: 0, waitForInterrupt: arm64.waitForInterrupt,
      shimResume: arm64.shimResume, shimCall: arm64.shimCall, shimReturn: arm64.shimReturn,
      shimRestore: arm64.shimRestore, version1Start: nil, pageTable: arm64.pageTable)
  }

  // MARK: Values

  /// SPSR_EL1: User mode of AArch32 (M, 0b10000), A32, with asynchronous aborts, IRQ and FIQ masked.
  static let statusUser: UInt64 = 0x1d0
  /// SPSR_EL1: T32.
  static let statusT32: UInt64 = 1 << 5
  /// SPSR_EL1.M[4]: AArch32.
  static let statusNarrow: UInt64 = 1 << 4
  /// SCTLR_EL1 as arm64's, and barriers by CP15 (CP15BEN). SETEND and IT blocks of more than one instruction are not disabled (SED,
  /// ITD).
  static let sctlr: UInt64 = ARM64.sctlr | 1 << 5
  /// Byte offset of the vector of synchronous exceptions from EL0 in AArch32 (D1.3.1 "Exception vectors").
  static let shimTrap = 0x600

  /// Whether CPUs with this ID_AA64PFR0_EL1 have AArch32 at EL0 (EL0, bits 3 to 0).
  public static func isSupported(idAA64PFR0 value: UInt64) -> Bool { value & 0xf == 2 }

  static func registerName(_ number: Int) -> String {
    switch number {
    case 13: "sp"
    case 14: "lr"
    default: "r\(number)"
    }
  }

  /// The name of the exception of AArch32 that a fault is, where its description does not say it (G1.12, "Exceptions").
  static func exceptionName(_ fault: Fault) -> StaticString? {
    switch fault {
    case .read, .write, .misaligned, .hardware: "data abort"
    case .execute, .breakpoint: "prefetch abort"
    case .privilegedInstruction: "undefined instruction"
    case .undefinedInstruction, .waitForInterrupt, .other: nil
    }
  }

  // MARK: Instructions that trap

  static func counterRead(syndrome: UInt64) -> Architecture.CounterRead? {
    let first = Int(syndrome >> 5 & 31)
    switch (ARM64.exceptionClass(syndrome), syndrome & 1) {
    case (0x03, 1):
      // MRC p15: Opc2 in 19:17, Opc1 in 16:14, CRn in 13:10, Rt in 9:5, CRm in 4:1.
      return syndrome & 0x000f_fc1e == 14 << 10 ? .frequency(register: first) : nil  // CNTFRQ
    case (0x04, 1):
      // MRRC p15: Opc1 in 19:16, Rt2 in 14:10, Rt in 9:5, CRm in 4:1. CNTPCT is 0, CNTVCT is 1.
      return syndrome & 0x000e_001e == 14 << 1
        ? .countPair(low: first, high: Int(syndrome >> 10 & 31)) : nil
    default: return nil
    }
  }

  /// Whether the condition of an instruction that has trapped holds: some CPUs trap it in any case (ISS: CV in bit 24, COND in 23:20;
  /// without CV the instruction is in T32, and its condition in SPSR's IT bits).
  static func passesCondition(syndrome: UInt64, status: UInt64) -> Bool {
    let block = itState(status)
    let condition = syndrome & 1 << 24 != 0 ? syndrome >> 20 & 15 : block == 0 ? 14 : block >> 4
    func flag(_ bit: UInt64) -> Bool { status & 1 << bit != 0 }
    let (n, z, c, v) = (flag(31), flag(30), flag(29), flag(28))
    let holds =
      switch condition >> 1 {
      case 0: z
      case 1: c
      case 2: n
      case 3: v
      case 4: c && !z
      case 5: n == v
      case 6: n == v && !z
      default: true
      }
    // The lowest bit inverts it, except that of "always".
    return condition & 1 == 1 && condition != 15 ? !holds : holds
  }

  /// The status after an instruction that was carried out in place of the CPU: an IT block advances (G4.3.1, "ITAdvance").
  static func advanced(_ status: UInt64) -> UInt64 {
    let block = itState(status)
    let next = block & 0b111 == 0 ? 0 : block & 0b1110_0000 | block << 1 & 0b1_1111
    return status & ~(0b11 << 25 | 0b11_1111 << 10) | (next & 0b11) << 25 | (next >> 2) << 10
  }

  /// IT[7:2] in bits 15 to 10, IT[1:0] in bits 26 and 25.
  private static func itState(_ status: UInt64) -> UInt64 {
    (status >> 10 & 0b11_1111) << 2 | status >> 25 & 0b11
  }
}
