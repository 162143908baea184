/// The cause of an exception in a secure applet.
public enum Trap: Equatable, Sendable {
  /// SVC from EL0, ECALL from VU mode.
  case call
  /// Any other exception.
  case fault(Fault)
}

/// What an applet did that the CPU does not allow.
public enum Fault: Equatable, Sendable {
  /// A load from an address that is not readable for the applet.
  case read
  /// A store to an address that is not writable for the applet.
  case write
  /// A jump to an address that is not executable for the applet.
  case execute
  /// An instruction that the CPU does not have.
  case undefinedInstruction
  /// An instruction or register of a higher privilege.
  case privilegedInstruction
  /// A load, store or jump at an address that is not aligned as the CPU requires.
  case misaligned
  /// BRK or EBREAK.
  case breakpoint
  /// WFI or WFE: an applet gets no interrupts.
  case waitForInterrupt
  /// A memory error that the hardware reported.
  case hardware
  /// Any other exception class or cause, by its number.
  case other(UInt64)

  /// A description that follows "the applet was stopped: ".
  public var description: String {
    switch self {
    case .read: "invalid read"
    case .write: "invalid write"
    case .execute: "invalid instruction fetch"
    case .undefinedInstruction: "undefined instruction"
    case .privilegedInstruction: "privileged instruction"
    case .misaligned: "misaligned access"
    case .breakpoint: "breakpoint instruction"
    case .waitForInterrupt: "wait for an interrupt, which an applet never gets"
    case .hardware: "memory error reported by the hardware"
    case .other(let code): "exception \(code)"
    }
  }

  /// Whether the trap frame's address word has the faulting address.
  public var hasAddress: Bool {
    switch self {
    case .read, .write, .execute, .misaligned: true
    default: false
    }
  }
}
