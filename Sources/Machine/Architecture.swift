import AppletABI

/// The architectures of guests. All are compiled into every build and tested on every host. Their differences are in `facts`,
/// and in the few functions here that switch.
public enum Architecture: Sendable {
  /// AArch64.
  case arm64
  /// RV64.
  case riscv64
  /// 32-bit Arm in user mode of arm64: applets only.
  case aarch32

  /// The architecture of this host; nil if Swiftlet does not support it.
  public static var host: Architecture? {
    #if arch(arm64)
      .arm64
    #elseif arch(riscv64)
      .riscv64
    #else
      nil
    #endif
  }

  // Literals in functions instead of globals: the optimizer reduces a use to one number, in any module.
  /// The constants of the architecture.
  @inline(__always)
  public var facts: Facts {
    switch self {
    case .arm64: ARM64.facts
    case .riscv64: RISCV64.facts
    case .aarch32: AArch32.facts
    }
  }

  /// The 32-bit architecture that applets may also have on such a host, if its CPUs do.
  public var narrow: Architecture? { facts.narrow }

  /// The name in Swiftlet's commands and messages.
  public var name: StaticString { facts.name }

  /// `Facts.callRegister`, which each call needs. Without cross-module optimization (ordinary Swift) `facts` copies all facts.
  @inline(__always)
  public var callRegister: Int { facts.callRegister }

  // MARK: Registers

  /// KVM id of a general register of the trap frame.
  @inline(__always)
  public func generalRegister(_ number: Int) -> UInt64 {
    facts.generalRegister &+ UInt64(truncatingIfNeeded: number) &* facts.generalRegisterStep
  }

  /// The name of a general register of the trap frame, as in assembly.
  public func registerName(_ number: Int) -> String {
    switch self {
    case .arm64: ARM64.registerName(number)
    case .riscv64: RISCV64.registerName(number)
    case .aarch32: AArch32.registerName(number)
    }
  }

  /// A value as a general register can hold it.
  public func registerValue(_ value: UInt64) -> UInt64 { facts.registerBits == 32 ? value & 0xffff_ffff : value }

  /// Index in the trap frame and KVM id of the registers that it holds: general registers, PC, and on arm64 PSTATE, which has the
  /// applet's flags.
  public var coreRegisters: [(word: Int, id: UInt64)] {
    facts.coreWords.map { word in
      (
        word,
        word < APPLET_FRAME_PC ? generalRegister(word) : word == APPLET_FRAME_PC ? facts.programCounter : facts.status
      )
    }
  }

  /// The registers of a program in system mode that have a word in the trap frame, like `coreRegisters`. The stack pointer is
  /// system mode's.
  public var systemRegisters: [(word: Int, id: UInt64)] {
    coreRegisters.map { $0.word == facts.stackRegister ? ($0.word, facts.stackPointer) : $0 }
  }

  /// The number of a vCPU in firmware calls and the device tree: the affinity fields of MPIDR_EL1, the hart ID.
  public func cpuID(_ number: Int) -> UInt64 {
    switch self {
    case .arm64, .aarch32: ARM64.mpidr(number)
    case .riscv64: UInt64(truncatingIfNeeded: number)
    }
  }

  // MARK: Starting

  /// The initial registers of a secure context's vCPU: it starts in the shim, which loads the trap frame.
  /// - Parameter set: called with each. An array of them would cost each start more than the registers do.
  public func secureStart<Failure: Error>(
    _ layout: SecureLayout, _ set: (RegisterSetting) throws(Failure) -> Void
  ) throws(Failure) {
    switch self {
    case .arm64: try ARM64.secureStart(layout, set)
    case .riscv64:
      // Linux since 5.17 may allow it at first.
      try set(counterAccess(isAllowed: false))
      try RISCV64.start(layout, status: RISCV64.statusUser, set)
    case .aarch32: try ARM64.secureStart(layout, sctlr: AArch32.sctlr, set)
    }
  }

  /// The initial registers of the first vCPU by the boot protocol (Linux's Documentation, arch/arm64/booting.rst and
  /// arch/riscv/boot.rst): interrupts masked, and the MMU off, as it is in a new vCPU.
  public func bootStart(entry: UInt64, deviceTree: UInt64) -> [RegisterSetting] {
    switch self {
    case .arm64, .aarch32: ARM64.bootStart(entry: entry, deviceTree: deviceTree)
    case .riscv64: RISCV64.bootStart(entry: entry, deviceTree: deviceTree)
    }
  }

  /// The initial registers of the first vCPU of a program in system mode: MMU and caches on, the monitor's exception vectors, and
  /// the device tree's address in the register of the boot protocol.
  public func programStart(_ layout: ProgramLayout, entry: UInt64) -> [RegisterSetting] {
    let mmu =
      switch self {
      case .arm64, .aarch32: ARM64.programMMU(layout)
      case .riscv64: RISCV64.programMMU(layout)
      }
    return mmu + [RegisterSetting(id: facts.stackPointer, value: layout.stack.upperBound)]
      + bootStart(entry: entry, deviceTree: layout.deviceTree.lowerBound)
  }

  // MARK: The shim

  /// The machine code of the shim: Swiftlet's only code in an applet's VM.
  public var shim: [UInt32] {
    switch self {
    case .arm64, .aarch32: ARM64.shim
    case .riscv64: RISCV64.shim
    }
  }

  /// The machine code of the monitor's exception vectors, which report an exception of a program in system mode to the monitor.
  public var vectors: [UInt32] {
    switch self {
    case .arm64, .aarch32: ARM64.vectors
    case .riscv64: RISCV64.vector
    }
  }

  /// The registers that bring an interrupted vCPU back to where `secureStart` begins. The shim then saves the floating-point
  /// registers at its next exit, as if the applet had changed them.
  public func shimRestart(_ layout: SecureLayout) -> [RegisterSetting] {
    switch self {
    // CPACR_EL1 has its initial value.
    case .arm64, .aarch32: RegisterSetting.all { secureStart(layout, $0) }
    case .riscv64: RISCV64.shimRestart(layout)
    }
  }

  /// The registers that make a vCPU, interrupted within the applet's code, take an exception to the shim, which saves the applet's
  /// registers and leaves the guest (DDI 0487, D1.3 "Exceptions"; RISC-V's privileged specification, 10.1.1 and 10.1.8).
  /// - Parameters:
  ///   - pc: the vCPU's program counter.
  ///   - status: its status register.
  public func shimTrap(_ layout: SecureLayout, pc: UInt64, status: UInt64) -> [RegisterSetting] {
    switch self {
    case .arm64, .aarch32: ARM64.shimTrap(layout, pc: pc, status: status)
    case .riscv64: RISCV64.shimTrap(layout, pc: pc, status: status)
    }
  }

  // MARK: Exceptions

  /// The cause of an exception in a secure applet, from the trap frame's cause word (ESR_EL1, scause).
  @inline(__always)
  public func trap(cause: UInt64) -> Trap {
    switch self {
    case .arm64, .aarch32: ARM64.trap(syndrome: cause)
    case .riscv64: RISCV64.trap(cause: cause)
    }
  }

  /// The same; for a call it also advances PC past the call instruction where necessary.
  /// - Parameter pc: the PC in the trap frame; after a call, the address of the next instruction.
  @inline(__always)
  public func trap(cause: UInt64, pc: inout UInt64) -> Trap {
    let trap = trap(cause: cause)
    if trap == .call { pc &+= facts.callLength }
    return trap
  }

  /// The exception class of a cause word (ESR_EL1.EC), or scause without its highest bit, which is set for interrupts.
  public func exceptionCode(cause: UInt64) -> (code: UInt64, isInterrupt: Bool) {
    switch self {
    case .arm64, .aarch32: (ARM64.exceptionClass(cause), false)
    case .riscv64: (cause & ~RISCV64.interrupt, cause & RISCV64.interrupt != 0)
    }
  }

  /// The fault of an exception in system mode, from its cause (ESR_EL1, scause).
  public func systemFault(cause: UInt64) -> Fault {
    switch self {
    case .arm64, .aarch32: ARM64.systemFault(syndrome: cause)
    case .riscv64: RISCV64.systemFault(cause: cause)
    }
  }

  // MARK: The counter

  /// The register and value that allow or deny user mode the architectural counter, CNTVCT_EL0 or the time CSR.
  public func counterAccess(isAllowed: Bool) -> RegisterSetting {
    RegisterSetting(id: facts.counterAccess, value: isAllowed ? facts.counterAccessBit : 0)
  }

  /// Whether a fault may be due to a read of the counter without permission.
  public func mayBeCounterRead(_ fault: Fault) -> Bool {
    switch self {
    case .arm64, .aarch32: fault == .privilegedInstruction
    // An illegal instruction, or a virtual-instruction exception where the host denies the counter to the whole guest.
    case .riscv64: fault == .undefinedInstruction || fault == .privilegedInstruction
    }
  }

  /// Decodes an instruction that reads the counter; nil for other instructions.
  /// - Parameters:
  ///   - cause: the trap frame's cause word.
  ///   - instruction: the 32 bits at the trap frame's PC.
  public func counterRead(cause: UInt64, instruction: UInt32) -> CounterRead? {
    switch self {
    case .arm64: ARM64.counterRead(syndrome: cause)
    case .riscv64: RISCV64.counterRead(instruction)
    case .aarch32: AArch32.counterRead(syndrome: cause)
    }
  }

  /// A read of the counter.
  public enum CounterRead: Equatable, Sendable {
    /// Reads the count into a general register.
    case count(register: Int)
    /// Reads the count into two general registers.
    case countPair(low: Int, high: Int)
    /// Reads the frequency, in Hz, into a general register.
    case frequency(register: Int)
  }

  // MARK: AArch32

  /// PC and status for an entry point: in AArch32 bit 0 of an address selects T32.
  public func start(at entry: UInt64) -> (pc: UInt64, status: UInt64) {
    guard self == .aarch32 else { return (entry, facts.initialStatus) }
    return (entry & ~1, facts.initialStatus | (entry & 1 == 0 ? 0 : AArch32.statusT32))
  }

  /// Whether CPUs can run applets of this architecture.
  /// - Parameter read: reads a register of a vCPU, by its KVM id.
  public func isSupported<Failure: Error>(by read: (UInt64) throws(Failure) -> UInt64) throws(Failure) -> Bool {
    guard self == .aarch32 else { return true }
    return AArch32.isSupported(idAA64PFR0: try read(ARM64.idAA64PFR0))
  }

  /// The size of the call instruction that was the cause of an exception, in bytes: T32's SVC has two (ESR_EL1.IL).
  public func callSize(cause: UInt64) -> UInt64 { self == .aarch32 && cause & 1 << 25 == 0 ? 2 : 4 }

  /// Whether an instruction that has trapped would have been executed: in AArch32 it may have a condition that does not hold.
  /// - Parameters:
  ///   - cause: the trap frame's cause word.
  ///   - status: the trap frame's status word.
  public func passesCondition(cause: UInt64, status: UInt64) -> Bool {
    self != .aarch32 || AArch32.passesCondition(syndrome: cause, status: status)
  }

  /// The status after an instruction that was carried out in place of the CPU.
  public func statusAfterInstruction(_ status: UInt64) -> UInt64 {
    self == .aarch32 ? AArch32.advanced(status) : status
  }

  /// The architecture's own name for the exception that a fault is, where its description does not say it.
  public func exceptionName(_ fault: Fault) -> StaticString? {
    self == .aarch32 ? AArch32.exceptionName(fault) : nil
  }

  // MARK: Page tables

  /// The page-table entry that maps a page or block.
  func leaf(_ physical: UInt64, _ mapping: PageTable.Mapping, level: Int) -> UInt64 {
    switch self {
    case .arm64, .aarch32: ARM64.leaf(physical, mapping, level: level)
    case .riscv64: RISCV64.leaf(physical, mapping)
    }
  }
}

/// A register's KVM id and its new value (KVM_SET_ONE_REG).
public struct RegisterSetting: Equatable, Sendable {
  /// The register's KVM id.
  public let id: UInt64
  /// The value.
  public let value: UInt64

  /// An array of the settings that `each` passes on.
  package static func all(_ each: ((RegisterSetting) -> Void) -> Void) -> [RegisterSetting] {
    var settings: [RegisterSetting] = []
    each { settings.append($0) }
    return settings
  }
}
