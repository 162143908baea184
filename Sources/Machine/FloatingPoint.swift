import AppletABI

/// Where a floating-point register of a vCPU lies in the trap frame.
public struct FloatingPointRegister: Equatable, Sendable {
  /// Its KVM id (KVM_GET_ONE_REG), which says how many bytes it has.
  public let id: UInt64
  /// Index of its first 64-bit word in the frame.
  public let word: Int
}

extension Architecture {
  /// All floating-point registers, control and status included.
  public var floatingPointRegisters: [FloatingPointRegister] {
    let first = Int(APPLET_FRAME_FP)
    var all = (0..<32).map { number in
      self == .arm64
        ? FloatingPointRegister(id: ARM64.q(number), word: first + 2 * number)
        : FloatingPointRegister(id: RISCV64.f(number), word: first + number)
    }
    all.append(
      FloatingPointRegister(id: self == .arm64 ? ARM64.fpcr : RISCV64.fcsr, word: Int(APPLET_FRAME_FP_CONTROL)))
    if self == .arm64 { all.append(FloatingPointRegister(id: ARM64.fpsr, word: Int(APPLET_FRAME_FP_STATUS))) }
    return all
  }

  /// The words of the trap frame that hold q0 to q31, or f0 to f31.
  public var floatingPointWords: Range<Int> {
    let first = Int(APPLET_FRAME_FP)
    return first..<first + (self == .arm64 ? 64 : 32)
  }

  /// The register that makes an applet's use of the floating-point registers known to the shim: CPACR_EL1.FPEN, which lets the
  /// first use trap (DDI 0487, D24.2.32). nil where the processor tells it without: sstatus.FS.
  public func floatingPointWatch(isOn: Bool) -> RegisterSetting? {
    self == .arm64 ? RegisterSetting(id: ARM64.cpacrEL1, value: isOn ? 0b01 << 20 : ARM64.cpacr) : nil
  }

  /// The name of what a word of the trap frame holds; nil for words that hold no register of the applet's.
  public func frameWordName(_ word: Int) -> String? {
    switch Int32(word) {
    case 0..<32: generalRegisters.contains(word) ? registerName(word) : nil
    case APPLET_FRAME_PC: "pc"
    case APPLET_FRAME_STATUS: statusName.description
    case APPLET_FRAME_CAUSE: "cause"
    case APPLET_FRAME_FP_CONTROL: self == .arm64 ? "fpcr" : "fcsr"
    case APPLET_FRAME_FP_STATUS: self == .arm64 ? "fpsr" : nil
    case APPLET_FRAME_FP..<APPLET_FRAME_WORDS:
      switch self {
      case .arm64: "q\((word - Int(APPLET_FRAME_FP)) / 2)" + (word % 2 == 0 ? " (low half)" : " (high half)")
      case .riscv64: word < Int(APPLET_FRAME_FP) + 32 ? "f\(word - Int(APPLET_FRAME_FP))" : nil
      }
    default: nil
    }
  }
}

extension ARM64 {
  /// q0 to q31: 128 bits each, at offset 336 of `struct kvm_regs` (KVM_REG_SIZE_U128).
  public static func q(_ number: Int) -> UInt64 { 0x6040_0000_0010_0000 | (336 + UInt64(number) * 16) / 4 }
  /// 32 bits each (KVM_REG_SIZE_U32).
  public static let fpsr: UInt64 = 0x6020_0000_0010_0000 | 848 / 4
  public static let fpcr: UInt64 = 0x6020_0000_0010_0000 | 852 / 4
}

extension RISCV64 {
  /// f0 to f31 with the D extension (KVM_REG_RISCV_FP_D).
  public static func f(_ number: Int) -> UInt64 { 0x8030_0000_0600_0000 | UInt64(number) }
  /// 32 bits (KVM_REG_SIZE_U32).
  public static let fcsr: UInt64 = 0x8020_0000_0600_0000 | 32
}
