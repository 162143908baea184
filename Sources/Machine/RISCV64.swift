/// RISC-V: the privileged specification (version 20240411) for registers and encodings, Linux's
/// Documentation/virt/kvm/api.rst 4.68 for KVM's register ids.
public enum RISCV64 {
  // MARK: KVM register ids

  /// Id of a core register: its index in `struct kvm_riscv_core` (KVM_REG_RISCV_CORE).
  static func core(_ index: UInt64) -> UInt64 { 0x8030_0000_0200_0000 | index }

  /// x1 to x31.
  public static func x(_ number: Int) -> UInt64 { core(UInt64(number)) }
  public static let pc = core(0)
  public static let mode = core(32)

  /// Id of a supervisor CSR: its index in `struct kvm_riscv_csr` (KVM_REG_RISCV_CSR).
  static func csr(_ index: UInt64) -> UInt64 { 0x8030_0000_0300_0000 | index }

  public static let sstatus = csr(0)
  public static let stvec = csr(2)
  public static let sscratch = csr(3)
  public static let sepc = csr(4)
  public static let scause = csr(5)
  public static let satp = csr(8)
  public static let scounteren = csr(9)

  /// Id of a configuration register: its index in `struct kvm_riscv_config` (KVM_REG_RISCV_CONFIG).
  static func configuration(_ index: UInt64) -> UInt64 { 0x8030_0000_0100_0000 | index }

  public static let isa = configuration(0)
  /// Bytes of the blocks that cbo instructions clean, and zero.
  public static let cacheBlockSize = configuration(1)
  public static let zeroBlockSize = configuration(5)
  /// Ticks a second of the `time` counter (KVM_REG_RISCV_TIMER).
  public static let timebase: UInt64 = 0x8030_0000_0400_0000

  // MARK: Values

  /// sstatus: floating point on and in its initial state (FS); SRET goes to user mode (SPP 0), interrupts off.
  static let statusUser: UInt64 = 1 << 13
  /// The same, with floating-point registers that were changed (FS is dirty).
  static let statusUserChanged: UInt64 = 3 << 13
  /// scause: a supervisor software interrupt.
  static let softwareInterrupt: UInt64 = 1 << 63 | 1
  /// sstatus behind an exception in user mode, from what it was there: SPP 0, and SPIE as SIE was, which is off.
  static func trappedFromUser(_ status: UInt64) -> UInt64 { status & ~(1 << 8 | 1 << 5 | 1 << 1) }
  /// satp's mode field: Sv39.
  static let sv39: UInt64 = 8 << 60

  static func secureStart(_ layout: SecureLayout) -> [RegisterSetting] {
    [
      RegisterSetting(id: pc, value: layout.shim + UInt64(shimResume)),
      RegisterSetting(id: x(4), value: layout.frame),
      RegisterSetting(id: stvec, value: layout.shim),
      RegisterSetting(id: satp, value: sv39 | layout.tables.lowerBound >> 12),
      RegisterSetting(id: sstatus, value: statusUser),
    ]
  }

  /// Linux's boot protocol (Documentation/arch/riscv/boot.rst): hart id and device tree's address in a0 and a1, no address
  /// translation.
  static func linuxStart(entry: UInt64, tree: UInt64, hart: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: pc, value: entry),
      RegisterSetting(id: x(10), value: hart),
      RegisterSetting(id: x(11), value: tree),
      RegisterSetting(id: satp, value: 0),
    ]
  }

  // MARK: Page tables (privileged specification, 10.3 and 10.4 "Sv39")

  static func leaf(_ physical: UInt64, _ mapping: PageTable.Mapping) -> UInt64 {
    var entry = (physical >> 12) << 10 | 1 | 1 << 6  // valid, accessed
    if mapping.access.contains(.read) { entry |= 1 << 1 }
    if mapping.access.contains(.write) { entry |= 1 << 2 | 1 << 1 | 1 << 7 }  // dirty: set by us, not by the hardware
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
    // A privileged instruction is one that user mode does not have: the cause does not tell them apart.
    case 2: .undefinedInstruction
    case 3: .breakpoint
    case 5, 13: .read
    case 7, 15: .write
    case 18, 19: .hardware
    // Virtual instruction: one that the hypervisor extension keeps from a guest's user mode.
    case 22: .privilegedInstruction
    default: .other(cause)
    }
  }

  private static let names: [StaticString] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7",
    "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
  ]

  static func registerName(_ number: Int) -> String {
    names.indices.contains(number) ? names[number].description : "x\(number)"
  }
}
