import AppletABI

/// The location of a vCPU's floating-point register in the trap frame.
public struct FloatingPointRegister: Equatable, Sendable {
  /// Its KVM id (KVM_GET_ONE_REG), which includes its size.
  public let id: UInt64
  /// Index of its first 64-bit word in the frame.
  public let word: Int
}

extension Architecture {
  /// All floating-point registers as KVM has them, including control and status.
  public var floatingPointRegisters: [FloatingPointRegister] {
    let (control, status) = floatingPointControl
    var all = stride(from: 0, to: 32, by: registersInOne).map { floatingPointRegister($0) }
    all.append(control)
    if let status { all.append(status) }
    return all
  }

  /// A register, 0 to 31, as the applet numbers them. KVM's register has its bytes, and in AArch32 those of its neighbour.
  public func floatingPointRegister(_ number: Int) -> FloatingPointRegister {
    let fp = facts.floatingPoint
    return FloatingPointRegister(
      id: fp.first + UInt64(number / registersInOne) * fp.step, word: Int(APPLET_FRAME_FP) + number * fp.words)
  }

  /// The control register, and the status register where there is one.
  public var floatingPointControl: (control: FloatingPointRegister, status: FloatingPointRegister?) {
    let fp = facts.floatingPoint
    return (
      FloatingPointRegister(id: fp.control, word: Int(APPLET_FRAME_FP_CONTROL)),
      fp.status.map { FloatingPointRegister(id: $0, word: Int(APPLET_FRAME_FP_STATUS)) }
    )
  }

  /// How many registers of the applet's are in one of KVM's, whose id has its size as a power of two (KVM_REG_SIZE_SHIFT).
  private var registersInOne: Int {
    let fp = facts.floatingPoint
    return (1 << Int(fp.first >> 52 & 15)) / (8 * fp.words)
  }

  /// The words of the trap frame that hold q0 to q31, d0 to d31, or f0 to f31.
  public var floatingPointWords: Range<Int> {
    Int(APPLET_FRAME_FP)..<Int(APPLET_FRAME_FP) + 32 * facts.floatingPoint.words
  }

  /// The register that makes an applet's use of the floating-point registers trap to the shim; nil where the CPU records it.
  public func floatingPointWatch(isOn: Bool) -> RegisterSetting? {
    facts.floatingPoint.trap.map { RegisterSetting(id: $0.id, value: isOn ? $0.on : $0.off) }
  }

  /// The name of the register in a word of the trap frame; nil for words without a register of the applet.
  public func frameWordName(_ word: Int) -> String? {
    let fp = facts.floatingPoint
    switch Int32(word) {
    case 0..<32: return facts.generalRegisters.contains(word) ? registerName(word) : nil
    case APPLET_FRAME_PC: return "pc"
    case APPLET_FRAME_STATUS: return facts.statusName.description
    case APPLET_FRAME_CAUSE: return "cause"
    case APPLET_FRAME_FP_CONTROL: return fp.controlName.description
    case APPLET_FRAME_FP_STATUS: return fp.status.map { _ in fp.statusName.description }
    default:
      guard floatingPointWords.contains(word) else { return nil }
      let index = word - Int(APPLET_FRAME_FP)
      let name = "\(fp.prefix)\(index / fp.words)"
      if fp.words == 1 { return name }
      return name + (index % 2 == 0 ? " (low half)" : " (high half)")
    }
  }
}
