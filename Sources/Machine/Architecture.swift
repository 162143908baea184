import AppletABI

/// What differs between the processors that Swiftlet runs guests on, as values and pure functions: both architectures are
/// compiled into every build and tested on every host.
public enum Architecture: Sendable {
  case arm64
  case riscv64

  /// The architecture whose guests this program's host can run; nil where Swiftlet has no KVM support.
  public static var host: Architecture? {
    #if arch(arm64)
      .arm64
    #elseif arch(riscv64)
      .riscv64
    #else
      nil
    #endif
  }

  /// The name that Swiftlet's commands and messages use.
  public var name: StaticString { self == .arm64 ? "arm64" : "riscv64" }

  /// `e_machine` of the architecture's ELF files: EM_AARCH64, EM_RISCV.
  public var elfMachine: UInt16 { self == .arm64 ? 183 : 243 }

  /// AUDIT_ARCH_… of the architecture's system calls (linux/audit.h): what a seccomp filter looks at first.
  public var auditNumber: UInt32 { self == .arm64 ? 0xc000_00b7 : 0xc000_00f3 }

  /// Bits of the guest-physical addresses of an applet's machine: what its page tables reach. With the default, 40 bits, arm64
  /// kernels look through four times as many entries at its end. 0 on riscv64, where the host alone decides.
  public var appletAddressBits: Int { self == .arm64 ? PageTable.addressLimit.trailingZeroBitCount : 0 }

  /// Number of the general register that carries the call number and the result, x0 or a0; the arguments follow it.
  @inline(__always)
  public var callRegister: Int { self == .arm64 ? 0 : 10 }

  /// Number of the general register that holds the device tree's address at entry: x0 (Linux's
  /// Documentation/arch/arm64/booting.rst), a1 (arch/riscv/boot.rst; a0 is the hart's number, 0).
  public var treeRegister: Int { self == .arm64 ? 0 : 11 }

  /// Number of the stack pointer in the trap frame: SP_EL0 or x2.
  public var stackRegister: Int { self == .arm64 ? 31 : 2 }

  /// Numbers of the trap frame's general registers that exist: x0 to x30 with SP_EL0, or x1 to x31.
  public var generalRegisters: Range<Int> { self == .arm64 ? 0..<32 : 1..<32 }

  /// The name by which assemblers and manuals call a general register of the trap frame.
  public func registerName(_ number: Int) -> String {
    switch self {
    case .arm64: ARM64.registerName(number)
    case .riscv64: RISCV64.registerName(number)
    }
  }

  /// Name of the trap frame's status word: SPSR_EL1, sstatus.
  public var statusName: StaticString { self == .arm64 ? "pstate" : "sstatus" }

  /// The machine code of the shim: the only code of Swiftlet's that runs in a guest (see `ARM64.shim`).
  public var shim: [UInt32] { self == .arm64 ? ARM64.shim : RISCV64.shim }

  /// What a trap out of a secure applet was, from the trap frame's cause word (ESR_EL1, scause).
  public func trap(cause: UInt64) -> Trap {
    var pc: UInt64 = 0
    return trap(cause: cause, pc: &pc)
  }

  /// The same, and past a call.
  /// - Parameter pc: the trap frame's; behind the instruction after a call, where SVC leaves it and ECALL does not.
  @inline(__always)
  public func trap(cause: UInt64, pc: inout UInt64) -> Trap {
    switch self {
    case .arm64:
      return ARM64.trap(syndrome: cause)
    case .riscv64:
      let trap = RISCV64.trap(cause: cause)
      if trap == .call { pc &+= 4 }
      return trap
    }
  }

  /// The page-table entry that maps a page or block.
  func leaf(_ physical: UInt64, _ mapping: PageTable.Mapping, level: Int) -> UInt64 {
    switch self {
    case .arm64: ARM64.leaf(physical, mapping, level: level)
    case .riscv64: RISCV64.leaf(physical, mapping)
    }
  }

  /// The page-table entry that leads to a table of the next level.
  func table(_ physical: UInt64) -> UInt64 { self == .arm64 ? physical | 0b11 : (physical >> 12) << 10 | 1 }

  /// The registers that a secure context's vCPU starts with: it begins in the shim, which loads the trap frame.
  public func secureStart(_ layout: SecureLayout) -> [RegisterSetting] {
    switch self {
    case .arm64: ARM64.secureStart(layout)
    case .riscv64: RISCV64.secureStart(layout)
    }
  }

  /// The registers that the first vCPU of a Linux guest starts with.
  public func linuxStart(_ layout: LinuxLayout) -> [RegisterSetting] {
    switch self {
    case .arm64: ARM64.linuxStart(entry: layout.kernel.lowerBound, tree: layout.tree.lowerBound)
    case .riscv64: RISCV64.linuxStart(entry: layout.kernel.lowerBound, tree: layout.tree.lowerBound, hart: 0)
    }
  }

  /// The registers that bring a vCPU that was interrupted anywhere back to where `secureStart` begins. The shim is to save the
  /// floating-point registers at its next exit, as those of an applet that has changed them since the last.
  public func shimRestart(_ layout: SecureLayout) -> [RegisterSetting] {
    switch self {
    // With CPACR_EL1 as it starts.
    case .arm64: ARM64.secureStart(layout)
    // Its privilege is no part of the program counter or status here: 1 is VS mode.
    case .riscv64:
      RISCV64.secureStart(layout).filter { $0.id != RISCV64.sstatus } + [
        RegisterSetting(id: RISCV64.sstatus, value: RISCV64.statusUserChanged),
        RegisterSetting(id: RISCV64.mode, value: 1),
      ]
    }
  }

  /// The registers that make a vCPU, which was interrupted amid the applet's code, take an exception there: into the shim, which
  /// stores the applet's registers and leaves (DDI 0487, D1.3 "Exceptions"; RISC-V's privileged specification, 10.1.1 and 10.1.8).
  /// - Parameters:
  ///   - pc: where the vCPU stands.
  ///   - status: its register `interruptedStatus`.
  public func shimTrap(_ layout: SecureLayout, pc: UInt64, status: UInt64) -> [RegisterSetting] {
    switch self {
    case .arm64:
      [
        RegisterSetting(id: ARM64.elrEL1, value: pc),
        RegisterSetting(id: ARM64.spsrEL1, value: status),
        // No exception's.
        RegisterSetting(id: ARM64.esrEL1, value: 0),
        RegisterSetting(id: ARM64.pc, value: layout.shim + UInt64(ARM64.shimTrap)),
        RegisterSetting(id: ARM64.pstate, value: ARM64.statusEL1),
      ]
    case .riscv64:
      [
        RegisterSetting(id: RISCV64.sepc, value: pc),
        RegisterSetting(id: RISCV64.sstatus, value: RISCV64.trappedFromUser(status)),
        RegisterSetting(id: RISCV64.scause, value: RISCV64.softwareInterrupt),
        RegisterSetting(id: RISCV64.pc, value: layout.shim),
        RegisterSetting(id: RISCV64.mode, value: 1),  // VS mode
      ]
    }
  }

  /// KVM id of the register that says what state a vCPU was interrupted in: PSTATE, sstatus.
  public var interruptedStatus: UInt64 { self == .arm64 ? ARM64.pstate : RISCV64.sstatus }

  /// KVM id of the program counter.
  public var programCounter: UInt64 { self == .arm64 ? ARM64.pc : RISCV64.pc }

  /// Byte offset in the shim at which a vCPU stands behind an exit; nil where that is `shimRestore`'s first.
  public var shimBehindExit: Int? { self == .arm64 ? (ARM64.shimLeave + 1) * 4 : nil }

  /// The applet's registers that the trap frame does not hold: its thread pointer, TPIDR_EL0, where that is no general register.
  public var threadPointer: UInt64? { self == .arm64 ? ARM64.tpidrEL0 : nil }

  /// Byte offsets in the shim of the instructions that do what the trap frame asks for and load the applet's registers from it,
  /// to the last one, which goes there.
  public var shimRestore: Range<Int> {
    let (first, back): (Int, UInt32) =
      self == .arm64 ? (ARM64.shimResume, 0xd69f_03e0) : (RISCV64.shimResume, 0x1020_0073)
    // The first ERET or SRET ends the short way, the last one the long way.
    return first..<((shim.lastIndex(of: back) ?? 0) + 1) * 4
  }

  /// KVM ids of the registers that the trap frame holds, by the frame's words: general registers, PC, and on arm64 PSTATE,
  /// which holds the applet's flags.
  public var coreRegisters: [(word: Int, id: UInt64)] {
    // No literal arrays: the linker takes those of one function for the same where two modules have them.
    switch self {
    case .arm64: (0..<34).map { ($0, $0 < 32 ? ARM64.x($0) : $0 == 32 ? ARM64.pc : ARM64.pstate) }
    case .riscv64: (1..<33).map { ($0, $0 < 32 ? RISCV64.x($0) : RISCV64.pc) }
    }
  }

  /// Whether the instruction waits for an interrupt: WFI.
  public func isWaitForInterrupt(_ instruction: UInt32) -> Bool {
    instruction == (self == .arm64 ? 0xd503_207f : 0x1050_0073)
  }

  /// The bits of the status word that two runs of the same program have in common. Not on riscv64 those that say whether the
  /// floating-point registers were changed (FS, SD): a processor may say so when they were not (privileged specification,
  /// 3.1.6.6).
  public var steadyStatus: UInt64 { self == .arm64 ? .max : ~(1 << 63 | 0b11 << 13) }

  /// The bits of the status word that are the applet's own: N, Z, C and V; riscv64 has none.
  public var conditionFlags: UInt64 { self == .arm64 ? 0b1111 << 28 : 0 }

  /// The number by which instructions name the register that is always zero.
  public var zeroRegister: Int { self == .arm64 ? 31 : 0 }

  /// The trap frame's status word at the applet's first instruction: EL0 with interrupts masked, or VU mode.
  public var initialStatus: UInt64 { self == .arm64 ? ARM64.statusEL0 : RISCV64.statusUser }
}

/// A register's KVM id (KVM_SET_ONE_REG) and the value that it gets.
public struct RegisterSetting: Equatable, Sendable {
  public let id: UInt64
  public let value: UInt64
}

/// A trap out of a secure applet.
public enum Trap: Equatable, Sendable {
  /// SVC from EL0, ECALL from VU mode.
  case call
  /// Anything else an applet can raise.
  case fault(Fault)
}

/// What an applet did that its processor refused.
public enum Fault: Equatable, Sendable {
  /// A load from an address that is not the applet's to read.
  case read
  /// A store to an address that is not the applet's to write.
  case write
  /// A jump to an address that is not the applet's to execute.
  case execute
  /// An instruction that the processor does not have.
  case undefinedInstruction
  /// An instruction or register of a higher privilege.
  case privilegedInstruction
  /// A load, store or jump at an address whose alignment the processor demands.
  case misaligned
  /// BRK or EBREAK.
  case breakpoint
  /// WFI or WFE: an applet has no interrupts to wait for.
  case waitForInterrupt
  /// A memory error that the hardware reported.
  case hardware
  /// Any other exception class or cause, by its number.
  case other(UInt64)

  /// In words, to stand after "the applet was stopped: ".
  public var description: String {
    switch self {
    case .read: "read from memory that it may not read"
    case .write: "write to memory that it may not write"
    case .execute: "jump to memory that it may not execute"
    case .undefinedInstruction: "undefined instruction"
    case .privilegedInstruction: "privileged instruction"
    case .misaligned: "misaligned access"
    case .breakpoint: "breakpoint instruction"
    case .waitForInterrupt: "wait for an interrupt, which an applet never gets"
    case .hardware: "memory error reported by the hardware"
    case .other(let code): "exception \(code)"
    }
  }

  /// Whether the trap frame's address word says which address it was about.
  public var hasAddress: Bool {
    switch self {
    case .read, .write, .execute, .misaligned: true
    default: false
    }
  }
}
