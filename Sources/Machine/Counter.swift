import AppletABI

/// The architectural counter, which an applet may be allowed to read: CNTVCT_EL0, or the time CSR.
extension Architecture {
  /// The register by which user mode is let at the counter, or kept from it: CNTKCTL_EL1.EL0VCTEN (DDI 0487, D24.10),
  /// scounteren.TM (privileged specification, 10.1.5).
  public func counterAccess(isAllowed: Bool) -> RegisterSetting {
    switch self {
    case .arm64: RegisterSetting(id: ARM64.cntkctlEL1, value: isAllowed ? 1 << 1 : 0)
    case .riscv64: RegisterSetting(id: RISCV64.scounteren, value: isAllowed ? 1 << 1 : 0)
    }
  }

  /// Id of the register that holds the vCPU's count (KVM_REG_ARM_TIMER_CNT; KVM_REG_RISCV_TIMER, time).
  public var counterRegister: UInt64 {
    switch self {
    // CNTVCT_EL0's id is KVM's CNTV_CVAL_EL0: the two were swapped when they were given (api.rst 4.68).
    case .arm64: ARM64.system(3, 3, 14, 3, 2)
    case .riscv64: 0x8030_0000_0400_0001
    }
  }

  /// Whether a fault may be an attempt to read a counter that is kept from the applet.
  public func mayBeCounterRead(_ fault: Fault) -> Bool {
    switch self {
    case .arm64: fault == .privilegedInstruction
    // An illegal instruction, or a virtual one where the host hides the counter from the guest altogether.
    case .riscv64: fault == .undefinedInstruction || fault == .privilegedInstruction
    }
  }

  /// What a read of the counter was.
  public enum CounterRead: Equatable, Sendable {
    /// Its count, to be put into that general register.
    case count(register: Int)
    /// Its frequency in ticks a second, likewise.
    case frequency(register: Int)
  }

  /// The read of the counter that an instruction is; nil for any other instruction.
  /// - Parameters:
  ///   - cause: the trap frame's cause word.
  ///   - instruction: the 32 bits at the trap frame's PC.
  public func counterRead(cause: UInt64, instruction: UInt32) -> CounterRead? {
    switch self {
    case .arm64:
      // ISS of a trapped system register access (EC 0x18): direction in bit 0, Rt in 9:5, the encoding around them.
      guard ARM64.exceptionClass(cause) == 0x18, cause & 1 == 1 else { return nil }
      let register = Int(cause >> 5 & 31)
      func iss(_ op0: UInt64, _ op1: UInt64, _ crn: UInt64, _ crm: UInt64, _ op2: UInt64) -> UInt64 {
        op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
      }
      switch cause & 0x003f_fc1e {
      case iss(3, 3, 14, 0, 2): return .count(register: register)  // CNTVCT_EL0
      case iss(3, 3, 14, 0, 0): return .frequency(register: register)  // CNTFRQ_EL0
      default: return nil
      }
    case .riscv64:
      // csrrs rd, time, x0
      guard instruction & 0xffff_f07f == 0xc010_2073 else { return nil }
      return .count(register: Int(instruction >> 7 & 31))
    }
  }
}
