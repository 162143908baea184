extension Architecture {
  /// The constants of an architecture: `ARM64.facts`, `RISCV64.facts`, `AArch32.facts`. A value that only the other architecture has is nil, zero
  /// or false.
  public struct Facts: Sendable {
    let name: StaticString
    /// The 32-bit architecture that applets may also have on such a host.
    let narrow: Architecture?
    /// `e_machine` of its ELF files (EM_AARCH64, EM_RISCV).
    public let elfMachine: UInt16
    /// AUDIT_ARCH_… of its system calls (linux/audit.h), which a seccomp filter checks first.
    public let auditNumber: UInt32

    // MARK: KVM

    /// Bits of a guest-physical address that every host supports by default.
    public let defaultAddressBits: Int
    /// Bits of an applet's guest-physical addresses, for KVM_CREATE_VM: those that its page tables can map. With the default of 40
    /// bits, arm64 kernels walk four times as many entries when the VM is destroyed. 0 on riscv64, where the host determines it.
    public let appletAddressBits: Int
    /// Whether a vCPU has to be initialized (KVM_ARM_VCPU_INIT, api.rst 4.82).
    public let needsVCPUInit: Bool
    /// Whether calls are hypercalls of the SMC Calling Convention, which the kernel forwards only if it is configured to
    /// (KVM_ARM_VM_SMCCC_FILTER, since Linux 6.4); an applet can use MMIO instead. Calls by SBI always leave the guest.
    public let usesSMCCC: Bool
    /// The call instruction of an applet and of a program in system mode.
    public let appletCall: CallMethod
    /// The call instruction of a program in system mode.
    public let programCall: CallMethod
    /// Whether the kernel forwards accesses outside of memory that it does not emulate, and makes aborts of them
    /// (KVM_CAP_ARM_NISV_TO_USER, KVM_SET_VCPU_EVENTS). On the other architecture KVM_RUN fails, and the monitor sets the registers
    /// of an exception.
    public let kernelInjectsAborts: Bool
    /// Whether WFI in user mode blocks, without an exit, until a kick. On the other architecture it traps.
    public let userModeBlocksInWFI: Bool

    // MARK: Ids of registers (KVM_GET_ONE_REG)

    /// Id of general register 0, and the difference between two of them.
    let generalRegister: UInt64
    let generalRegisterStep: UInt64
    /// KVM id of the program counter.
    public let programCounter: UInt64
    /// The state of an interrupted vCPU: PSTATE, sstatus.
    public let status: UInt64
    /// System mode's stack pointer.
    public let stackPointer: UInt64
    /// User mode's thread pointer, if it is not a general register: TPIDR_EL0.
    public let threadPointer: UInt64?
    /// The base of the page tables: TTBR0_EL1, satp.
    public let translationTable: UInt64
    /// The cause of an exception in system mode, and where the monitor's vectors save `vectorRegister`.
    public let exception: ExceptionRegisters
    /// The vCPU's counter (KVM_REG_ARM_TIMER_CNT; KVM_REG_RISCV_TIMER, time).
    public let counter: UInt64
    /// The register with the counter's frequency, in Hz; nil where the host's CNTFRQ_EL0 has it.
    public let counterFrequency: UInt64?
    /// The register whose bit `counterAccessBit` lets user mode read the counter (CNTKCTL_EL1.EL0VCTEN, DDI 0487, D24.10;
    /// scounteren.TM, privileged specification, 10.1.5).
    let counterAccess: UInt64
    let counterAccessBit: UInt64
    /// Whether an applet without that permission has its reads answered by the monitor; otherwise they are answered in lockstep only.
    public let emulatesCounter: Bool
    /// The firmware's debug console, which must be enabled (KVM_RISCV_SBI_EXT_DBCN).
    public let debugConsole: UInt64?

    // MARK: Numbers of general registers

    /// Those in the trap frame: x0 to x30, with SP_EL0 as 31, or x1 to x31.
    public let generalRegisters: Range<Int>
    /// The register with the call number and the result, x0 or a0; the arguments are in the next ones.
    public let callRegister: Int
    /// Bits of a general register: 64, or 32. With 32, the result of a call is in `callRegister` and the next one, low half first.
    public let registerBits: Int
    /// The register with the device tree's address at entry: x0 (Linux's Documentation/arch/arm64/booting.rst), a1
    /// (arch/riscv/boot.rst; a0 is the hart ID, 0).
    public let treeRegister: Int
    /// The stack pointer: SP_EL0 or x2.
    public let stackRegister: Int
    /// The register that the monitor's vectors use.
    public let vectorRegister: Int
    /// The number that instructions use for the zero register.
    public let zeroRegister: Int
    /// Address of a CLINT's `mtime`, where GoTEE's applets read it.
    public let mtime: UInt64?

    // MARK: The trap frame

    /// Name of the status word: SPSR_EL1, sstatus.
    public let statusName: StaticString
    /// The status word at an applet's first instruction: EL0 with interrupts masked, or VU mode.
    public let initialStatus: UInt64
    /// The status word of a program in system mode: EL1, or VS mode in sstatus.SPP.
    public let systemStatus: UInt64
    /// The bits of the status word that are zero in user mode: SPSR_EL1.M, sstatus.SPP.
    public let privilegeBits: UInt64
    /// The bits of the status word that belong to the applet: N, Z, C and V.
    public let conditionFlags: UInt64
    /// The bits of the status word that are equal in two runs of the same program. On riscv64 without those for changed
    /// floating-point registers (FS, SD), which a CPU may set without a change (privileged specification, 3.1.6.6).
    public let steadyStatus: UInt64
    /// The cause word of a call of a program in system mode: ESR_EL2 of an HVC, scause of an ECALL from VS mode.
    public let systemCallCause: UInt64
    /// The general registers, PC and status in the trap frame, as far as they are registers of a vCPU: `coreRegisters`.
    let coreWords: Range<Int>
    /// The floating-point registers.
    public let floatingPoint: FloatingPoint

    // MARK: Code

    /// Distance of PC from the next instruction at a call, in bytes: after SVC it is past it, after ECALL it is not.
    let callLength: UInt64
    /// WFI.
    public let waitForInterrupt: UInt32
    /// Byte offsets in the shim: where a vCPU starts; the instruction that leaves the guest; where a vCPU continues after an exit;
    /// the range of instructions that carry out the trap frame's requests and load the applet's registers, whose last one branches
    /// back.
    public let shimResume: Int
    /// Byte offset in the shim of the instruction that leaves the guest.
    public let shimCall: Int
    /// Byte offset in the shim at which a vCPU is after an exit.
    public let shimReturn: Int
    /// Byte offsets of the instructions that load the applet's registers.
    public let shimRestore: Range<Int>

    /// The 16 bytes, at this offset from the entry point, by which images of version 1 of the ABI are known: the loop of the guest
    /// libraries' start-up code that applies relocations. Later versions have a note. nil where there was no version 1.
    package let version1Start: (offset: Int, code: (UInt64, UInt64))?

    let pageTable: PageTable.Format
  }

  /// The call instruction of a guest, as the device tree names it.
  public enum CallMethod: Sendable {
    /// SVC, ECALL from VU mode, HVC, ECALL from VS mode.
    case svc, ecall, hvc, sbi

    /// The name in the device tree.
    public var name: StaticString {
      switch self {
      case .svc: "svc"
      case .ecall: "ecall"
      case .hvc: "hvc"
      case .sbi: "sbi"
      }
    }
  }

  /// Ids of the registers that describe an exception in system mode.
  public struct ExceptionRegisters: Sendable {
    /// ESR_EL1, scause.
    public let cause: UInt64
    /// ELR_EL1, sepc.
    public let pc: UInt64
    /// FAR_EL1, stval.
    public let address: UInt64
    /// Where the monitor's vectors save the general register that they use.
    public let saved: UInt64
  }

  /// The floating-point registers: q0 to q31, f0 to f31.
  public struct FloatingPoint: Sendable {
    /// Id of KVM's register 0, and the difference between two of them.
    let first: UInt64
    let step: UInt64
    /// Size of a register, in 64-bit words. Those of KVM can be larger.
    public let words: Int
    let prefix: StaticString
    /// FPCR, fcsr.
    let control: UInt64
    let controlName: StaticString
    /// FPSR.
    let status: UInt64?
    let statusName: StaticString
    /// The register that makes user mode's first use of them trap to the shim (CPACR_EL1.FPEN; DDI 0487, D24.2.32): its id, its value
    /// for that, and its value for use without a trap. nil if the CPU records their use, in sstatus.FS.
    let trap: (id: UInt64, on: UInt64, off: UInt64)?
  }
}
