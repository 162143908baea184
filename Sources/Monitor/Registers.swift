import AppletABI
import KVM
import Machine

extension ExecCtx {
  /// The call's number: x0 or a0.
  @inline(__always)
  public var a0: UInt64 { call[0] }
  /// The call's first argument: x1 or a1.
  @inline(__always)
  public var a1: UInt64 { call[1] }
  /// The call's second argument: x2 or a2.
  @inline(__always)
  public var a2: UInt64 { call[2] }
  /// The call's third argument: x3 or a3.
  public var a3: UInt64 { call[3] }

  /// Sets the call's result, x0 or a0, or in AArch32 the pair r0 and r1; for the shadows, too.
  @inline(__always)
  public func ret(_ value: UInt64) {
    call[0] = value
    if case .applet(let applet) = kind, !applet.setsOneRegister { setResults(value, applet) }
  }
  /// Sets the call's result; negative numbers are sign-extended.
  public func ret(_ value: Int64) { ret(UInt64(bitPattern: value)) }
  /// Sets the call's result; zero-extended.
  public func ret(_ value: UInt32) { ret(UInt64(value)) }
  /// Sets the call's result; sign-extended.
  public func ret(_ value: Int32) { ret(Int64(value)) }

  /// A general register by its number in the trap frame, one of `Architecture.generalRegisters`.
  /// - Throws: `ExecError.noRegister`.
  public func register(_ number: Int) throws(ExecError) -> UInt64 {
    guard architecture.facts.generalRegisters.contains(number) else { throw .noRegister(number) }
    return frame[number]
  }

  /// Sets a general register, for the shadows, too.
  /// - Throws: `ExecError.noRegister`.
  public func setRegister(_ number: Int, _ value: UInt64) throws(ExecError) {
    guard architecture.facts.generalRegisters.contains(number) else { throw .noRegister(number) }
    setWord(number, architecture.registerValue(value))
  }

  private func setWord(_ word: Int, _ value: UInt64) {
    for guest in guests {
      guest.frame[word] = value
      guest.loadRegisters()
    }
  }

  @inline(never)
  private func setResults(_ value: UInt64, _ applet: AppletMode) {
    guard let lockstep = applet.lockstep else { return setResult(value, of: guest) }
    for copy in lockstep.copies { setResult(value, of: copy.guest) }
  }

  private func setResult(_ value: UInt64, of guest: GuestMachine) {
    let first = architecture.callRegister
    guest.frame[first] = architecture.registerValue(value)
    if architecture.facts.registerBits == 32 { guest.frame[first + 1] = value >> 32 }
  }

  /// The address of the next instruction; after an exception that is not a call, of the instruction that raised it.
  /// Setting it makes the guest and its shadows continue elsewhere, for example after that instruction.
  public var pc: UInt64 {
    get { frame[Int(APPLET_FRAME_PC)] }
    set { setWord(Int(APPLET_FRAME_PC), newValue) }
  }

  /// The guest's status register: SPSR_EL1 or sstatus. A write only changes the condition flags, N, Z, C and V of
  /// arm64; the rest, with the privilege level, belongs to the monitor.
  public var status: UInt64 {
    get { frame[Int(APPLET_FRAME_STATUS)] }
    set {
      let flags = architecture.facts.conditionFlags
      setWord(Int(APPLET_FRAME_STATUS), frame[Int(APPLET_FRAME_STATUS)] & ~flags | newValue & flags)
    }
  }
}

/// The reason for the last exception, as the architecture encodes it.
public struct Cause: Equatable, Sendable {
  /// The exception class (ESR_EL1.EC), or scause without its highest bit.
  public let code: UInt64
  /// Whether it was an interrupt. An applet gets none: on riscv64 it is true if a stop or a limit interrupted the
  /// applet's own code (on arm64 the code is then 0, which no known exception has).
  public let isInterrupt: Bool

  /// Makes a cause from a code.
  public init(code: UInt64, isInterrupt: Bool) {
    self.code = code
    self.isInterrupt = isInterrupt
  }
}

/// The exception vectors of AArch32 (DDI 0487, G1.12.1 "Exception vectors and the exception base address"), by their offsets, as far
/// as a guest's exceptions go there: GoTEE's constants.
public enum ExceptionVector: Int, Sendable {
  /// arm.UNDEFINED.
  case undefined = 0x04
  /// arm.SUPERVISOR: a call.
  case supervisor = 0x08
  /// arm.PREFETCH_ABORT.
  case prefetchAbort = 0x0c
  /// arm.DATA_ABORT.
  case dataAbort = 0x10
}

/// A privilege level. GoTEE's constants are User, Supervisor and Machine; its monitor runs in the last, as KVM runs in `hypervisor`.
public enum Privilege: Equatable, Sendable {
  /// EL0, VU mode.
  case user
  /// EL1, VS mode.
  case system
  /// EL2, HS mode: the host's kernel.
  case hypervisor
}

extension ExecCtx {
  /// The reason for the last exception.
  public var cause: Cause {
    let (code, isInterrupt) = architecture.exceptionCode(cause: frame[Int(APPLET_FRAME_CAUSE)])
    return Cause(code: code, isInterrupt: isInterrupt)
  }

  /// The register that `cause` was read from, as it was at the last exit: ESR_EL1 (ESR_EL2 of a program's HVC), scause. GoTEE has
  /// MCAUSE.
  public var exceptionCause: UInt64 { frame[Int(APPLET_FRAME_CAUSE)] }

  /// Address of the instruction that ended the last entry; `pc` is behind it after a call. GoTEE has MEPC.
  public var exceptionPC: UInt64 {
    isCall ? pc &- architecture.callSize(cause: frame[Int(APPLET_FRAME_CAUSE)]) : pc
  }

  private var isCall: Bool {
    let word = frame[Int(APPLET_FRAME_CAUSE)]
    return isSecure ? architecture.trap(cause: word) == .call : word == architecture.facts.systemCallCause
  }

  /// The vector of an AArch32 processor that such an exception is taken to: what ended the last entry, in the terms of GoTEE for arm.
  public var exceptionVector: ExceptionVector {
    if isCall { return .supervisor }
    switch architecture.trap(cause: frame[Int(APPLET_FRAME_CAUSE)]) {
    case .call: return .supervisor
    case .fault(.undefinedInstruction), .fault(.privilegedInstruction), .fault(.waitForInterrupt), .fault(.other):
      return .undefined
    case .fault(.execute), .fault(.breakpoint): return .prefetchAbort
    case .fault(.read), .fault(.write), .fault(.misaligned), .fault(.hardware): return .dataAbort
    }
  }

  /// The privilege level after the last exit, that of the shim or the host, and that of the guest before it: SPSR_EL1.M
  /// or sstatus.SPP.
  public var mode: (current: Privilege, saved: Privilege) {
    let status = frame[Int(APPLET_FRAME_STATUS)]
    let isUser = status & architecture.facts.privilegeBits == 0
    return (isSecure ? .system : .hypervisor, isUser ? .user : .system)
  }
}

extension ExecCtx: CustomStringConvertible {
  /// The registers by name, four to a line.
  public var description: String {
    var lines = ""
    var column = 0
    func add(_ name: String, _ value: UInt64) {
      let digits = String(value, radix: 16)
      for _ in name.utf8.count..<max(name.utf8.count, 8) { lines += " " }
      lines += name
      lines += ":"
      for _ in digits.utf8.count..<max(digits.utf8.count, architecture.facts.registerBits / 4) { lines += "0" }
      lines += digits
      column += 1
      if column % 4 == 0 { lines += "\n" }
    }
    for number in architecture.facts.generalRegisters { add(architecture.registerName(number), frame[number]) }
    add("pc", pc)
    add(architecture.facts.statusName.description, frame[Int(APPLET_FRAME_STATUS)])
    add("cause", frame[Int(APPLET_FRAME_CAUSE)])
    // FAR_EL1 and stval are only valid for some exceptions.
    if let faultAddress { add("address", faultAddress) }
    if column % 4 != 0 { lines += "\n" }
    return lines
  }
}
