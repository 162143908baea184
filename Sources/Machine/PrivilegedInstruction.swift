import AppletABI

/// Detects a program that was linked for system mode and is run as an applet.
extension Architecture {
  /// Whether a call is one of such a program: of SBI, by the extension ID in a7. False on arm64, where the instruction differs.
  /// - Parameter register: the value of a general register, by its number.
  public func isSystemCall(register: (Int) -> UInt64) -> Bool {
    switch self {
    case .arm64, .aarch32: false
    case .riscv64: RISCV64.isExtension(register(17))
    }
  }

  /// Whether an instruction belongs to system mode (EL1, VS mode): a program linked for it executes one early, and no applet does.
  /// - Parameter instruction: its 32 bits; on riscv64 a compressed one is the low half.
  public func isPrivileged(instruction: UInt32) -> Bool {
    switch self {
    case .arm64: ARM64.isPrivileged(instruction)
    case .riscv64: RISCV64.isPrivileged(instruction)
    // There is no system mode for its programs.
    case .aarch32: false
    }
  }
}

extension ARM64 {
  /// HVC, SMC and ERET; system registers and instructions that EL0 does not have (DDI 0487, C4.1.94 "Branches, Exception
  /// Generating and System instructions").
  fileprivate static func isPrivileged(_ instruction: UInt32) -> Bool {
    if instruction & 0xffe0_001f == 0xd400_0002 || instruction & 0xffe0_001f == 0xd400_0003 { return true }
    if instruction == 0xd69f_03e0 { return true }
    guard instruction & 0xffc0_0000 == 0xd500_0000 else { return false }
    let (op0, op1, crn) = (instruction >> 19 & 3, instruction >> 16 & 7, instruction >> 12 & 15)
    // op1 3 is available in EL0, except MSR (immediate): DAIFSet and DAIFClr.
    return op1 != 3 || op0 == 0 && crn == 4
  }
}

extension RISCV64 {
  /// Whether this is an extension ID of SBI or Swiftlet's own (SBI specification 2.0, chapters 4 to 16). The legacy extensions,
  /// 0 to 8, are left out: any applet may have such a number there.
  fileprivate static func isExtension(_ id: UInt64) -> Bool {
    switch id {
    case UInt64(APPLET_SBI_EXTENSION): true
    // Base, timer, IPI, remote fences, harts, reset, performance counters, debug console, suspend, CPPC, nested acceleration,
    // steal time.
    case 0x10, 0x5449_4d45, 0x73_5049, 0x5246_4e43, 0x48_534d, 0x5352_5354, 0x50_4d55, 0x4442_434e, 0x5355_5350,
      0x4350_5043, 0x4e41_434c, 0x53_5441:
      true
    default: false
    }
  }

  /// SRET, WFI, fences of address translation; CSRs that user mode does not have (privileged specification, 2.1 "CSR Address
  /// Mapping Conventions").
  fileprivate static func isPrivileged(_ instruction: UInt32) -> Bool {
    guard instruction & 0x7f == 0x73 else { return false }
    let isRegister = instruction >> 12 & 3 != 0
    // ECALL and EBREAK are 0 and 1.
    return isRegister ? instruction >> 28 & 3 != 0 : instruction >> 20 > 1
  }
}
