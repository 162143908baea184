import AppletABI

/// ARM64: Arm Architecture Reference Manual (DDI 0487) for registers and encodings, Linux's
/// Documentation/virt/kvm/api.rst 4.68 for KVM's register ids.
public enum ARM64 {
  // MARK: KVM register ids

  /// Id of a 64-bit core register: its offset in `struct kvm_regs`, counted in 32-bit words (KVM_REG_ARM_CORE).
  static func core(offset: UInt64) -> UInt64 { 0x6030_0000_0010_0000 | offset / 4 }

  /// x0 to x30, and SP_EL0 as 31.
  public static func x(_ number: Int) -> UInt64 { core(offset: UInt64(number) * 8) }
  public static let sp = core(offset: 31 * 8)
  public static let pc = core(offset: 32 * 8)
  public static let pstate = core(offset: 33 * 8)
  public static let spEL1 = core(offset: 34 * 8)
  public static let elrEL1 = core(offset: 35 * 8)
  public static let spsrEL1 = core(offset: 36 * 8)

  /// Id of a system register by its encoding (KVM_REG_ARM64_SYSREG).
  static func system(_ op0: UInt64, _ op1: UInt64, _ crn: UInt64, _ crm: UInt64, _ op2: UInt64) -> UInt64 {
    0x6030_0000_0013_0000 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
  }

  public static let sctlrEL1 = system(3, 0, 1, 0, 0)
  public static let cpacrEL1 = system(3, 0, 1, 0, 2)
  public static let ttbr0EL1 = system(3, 0, 2, 0, 0)
  public static let tcrEL1 = system(3, 0, 2, 0, 2)
  public static let mairEL1 = system(3, 0, 10, 2, 0)
  public static let esrEL1 = system(3, 0, 5, 2, 0)
  public static let vbarEL1 = system(3, 0, 12, 0, 0)
  public static let tpidrEL0 = system(3, 3, 13, 0, 2)
  public static let cntkctlEL1 = system(3, 0, 14, 1, 0)

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

  static func secureStart(_ layout: SecureLayout) -> [RegisterSetting] {
    [
      RegisterSetting(id: mairEL1, value: mair),
      RegisterSetting(id: tcrEL1, value: tcr),
      RegisterSetting(id: ttbr0EL1, value: layout.tables.lowerBound),
      RegisterSetting(id: vbarEL1, value: layout.shim),
      RegisterSetting(id: cpacrEL1, value: cpacr),
      RegisterSetting(id: sctlrEL1, value: sctlr),
      RegisterSetting(id: spEL1, value: layout.frame),
      RegisterSetting(id: pc, value: layout.shim + UInt64(shimResume)),
      RegisterSetting(id: pstate, value: statusEL1),
    ]
  }

  /// Linux's boot protocol (Documentation/arch/arm64/booting.rst): EL1 with interrupts masked, the device tree's address in
  /// x0 and nothing in x1 to x3; a new vCPU's caches and MMU are off.
  static func linuxStart(entry: UInt64, tree: UInt64) -> [RegisterSetting] {
    [
      RegisterSetting(id: pc, value: entry),
      RegisterSetting(id: x(0), value: tree),
      RegisterSetting(id: pstate, value: statusEL1),
    ]
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
    exceptionClass(syndrome) == 0x15 ? .call : .fault(fault(syndrome: syndrome))
  }

  private static func fault(syndrome: UInt64) -> Fault {
    switch exceptionClass(syndrome) {
    case 0x00: return .undefinedInstruction
    case 0x01: return .waitForInterrupt
    case 0x18: return .privilegedInstruction
    case 0x20: return syndrome & 0x3f == 0x10 ? .hardware : .execute
    case 0x22, 0x26: return .misaligned
    case 0x24:
      switch syndrome & 0x3f {
      case 0x21: return .misaligned
      case 0x10: return .hardware
      default: return syndrome & 1 << 6 != 0 ? .write : .read
      }
    case 0x2f: return .hardware
    case 0x3c: return .breakpoint
    case let other: return .other(other)
    }
  }

  static func registerName(_ number: Int) -> String {
    number == Int(APPLET_FRAME_STACK_ARM64) ? "sp" : "x\(number)"
  }
}
