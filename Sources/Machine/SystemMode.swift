/// How a program in system mode, EL1 or VS mode, starts, and what its exceptions say.
extension Architecture {
  /// The registers of the first vCPU that a program starts with: MMU and caches on, exceptions to the monitor's vectors,
  /// the device tree's address where the boot protocol wants it.
  public func programStart(_ layout: ProgramLayout, entry: UInt64) -> [RegisterSetting] {
    switch self {
    case .arm64:
      [
        RegisterSetting(id: ARM64.mairEL1, value: ARM64.mair),
        RegisterSetting(id: ARM64.tcrEL1, value: ARM64.tcr),
        RegisterSetting(id: ARM64.ttbr0EL1, value: layout.tables.lowerBound),
        RegisterSetting(id: ARM64.vbarEL1, value: layout.vectors),
        RegisterSetting(id: ARM64.cpacrEL1, value: ARM64.cpacr),
        RegisterSetting(id: ARM64.sctlrEL1, value: ARM64.sctlr),
        RegisterSetting(id: ARM64.spEL1, value: layout.stack.upperBound),
      ] + bootStart(entry: entry, deviceTree: layout.deviceTree.lowerBound)
    case .riscv64:
      [
        RegisterSetting(id: RISCV64.satp, value: RISCV64.sv39 | layout.tables.lowerBound >> 12),
        RegisterSetting(id: RISCV64.stvec, value: layout.vectors),
        RegisterSetting(id: RISCV64.sstatus, value: RISCV64.statusUser),
        RegisterSetting(id: RISCV64.x(2), value: layout.stack.upperBound),
      ] + bootStart(entry: entry, deviceTree: layout.deviceTree.lowerBound)
    }
  }

  /// The registers of the first vCPU that the boot protocol asks for (arch/arm64/booting.rst and arch/riscv/boot.rst of
  /// Linux's Documentation): interrupts masked, MMU off as a vCPU has it from the start.
  public func bootStart(entry: UInt64, deviceTree: UInt64) -> [RegisterSetting] {
    switch self {
    case .arm64:
      [
        RegisterSetting(id: ARM64.x(0), value: deviceTree),
        RegisterSetting(id: ARM64.pstate, value: ARM64.statusEL1),
        RegisterSetting(id: ARM64.pc, value: entry),
      ]
    case .riscv64:
      [
        RegisterSetting(id: RISCV64.x(10), value: 0),
        RegisterSetting(id: RISCV64.x(11), value: deviceTree),
        RegisterSetting(id: RISCV64.pc, value: entry),
      ]
    }
  }

  /// Ids of the registers that say what an exception in system mode was: cause, PC, address, and where the monitor's vectors
  /// have put the register that they use.
  public var exceptionRegisters: (cause: UInt64, pc: UInt64, address: UInt64, saved: UInt64) {
    switch self {
    case .arm64: (ARM64.esrEL1, ARM64.elrEL1, ARM64.farEL1, ARM64.tpidrEL1)
    case .riscv64: (RISCV64.scause, RISCV64.sepc, RISCV64.stval, RISCV64.sscratch)
    }
  }

  /// Number of the general register that the monitor's vectors use.
  public var vectorRegister: Int { self == .arm64 ? 0 : 17 }

  /// The registers of a program in system mode that have a word of the trap frame, as `coreRegisters`: its stack pointer is
  /// system mode's.
  public var systemRegisters: [(word: Int, id: UInt64)] {
    coreRegisters.map { $0.word == stackRegister ? ($0.word, self == .arm64 ? ARM64.spEL1 : RISCV64.x(2)) : $0 }
  }

  /// What the trap frame's cause word holds where such a program calls: ESR_EL2 of an HVC, scause of an ECALL from VS mode.
  public var systemCallCause: UInt64 { self == .arm64 ? 0x16 << 26 | 1 << 25 : 10 }

  /// The status word of such a program: EL1, or VS mode in sstatus.SPP.
  public var systemStatus: UInt64 { self == .arm64 ? ARM64.statusEL1 : 1 << 8 }

  /// What an exception in system mode was, from its cause (ESR_EL1, scause).
  public func systemFault(cause: UInt64) -> Fault {
    switch self {
    case .arm64:
      // Aborts without a change of exception level have classes of their own, one above those from EL0.
      let isAbort = [0x21, 0x25].contains(ARM64.exceptionClass(cause))
      let trap = ARM64.trap(syndrome: isAbort ? cause - 1 << 26 : cause)
      if case .fault(let fault) = trap { return fault }
      return .other(ARM64.exceptionClass(cause))
    case .riscv64:
      if case .fault(let fault) = RISCV64.trap(cause: cause) { return fault }
      return .other(cause)
    }
  }

  /// The machine code of the monitor's vectors: they tell the monitor that there was an exception, and which is in the
  /// registers.
  public var vectors: [UInt32] {
    // Each in a constant of its own: tools/cross-build tells why.
    self == .arm64
      ? (0..<16).flatMap { _ in ARM64.vector + [UInt32](repeating: 0, count: 28) } : RISCV64.vector
  }
}

extension ARM64 {
  /// One of sixteen, which are 0x80 bytes apart.
  fileprivate static let vector: [UInt32] = [
    0xd518_d080,  // msr tpidr_el1, x0
    0xd282_0000,  // mov x0, #APPLET_CALL_EXCEPTION
    0xd400_0002,  // hvc #0
    0x1400_0000,  // b .
  ]
}

extension RISCV64 {
  fileprivate static let vector: [UInt32] = [
    0x1408_9073,  // csrw sscratch, a7
    0x0800_08b7,  // lui a7, 0x8000
    0x0018_889b,  // addiw a7, a7, 1: APPLET_SBI_EXCEPTION
    0x0000_0073,  // ecall
    0x0000_006f,  // j .
  ]
}

extension ARM64 {
  public static let farEL1 = system(3, 0, 6, 0, 0)
  public static let tpidrEL1 = system(3, 0, 13, 0, 4)
}

extension RISCV64 {
  public static let stval = csr(6)
  /// Whether the guest has SBI's debug console (KVM_REG_RISCV_SBI_EXT, KVM_RISCV_SBI_EXT_DBCN).
  public static let sbiDebugConsole: UInt64 = 0x8030_0000_0800_0000 | 9
}
