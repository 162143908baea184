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

  /// Sets the call's result, x0 or a0; in its shadows too.
  @inline(__always)
  public func ret(_ value: UInt64) {
    call[0] = value
    if lockstep != nil { setShadowRegisters(architecture.callRegister, value) }
  }
  /// Sets the call's result; negative numbers are sign-extended.
  public func ret(_ value: Int64) { ret(UInt64(bitPattern: value)) }
  /// Sets the call's result; zero-extended.
  public func ret(_ value: UInt32) { ret(UInt64(value)) }
  /// Sets the call's result; sign-extended.
  public func ret(_ value: Int32) { ret(Int64(value)) }

  /// A general register by its number in the trap frame: `Architecture.generalRegisters` says which there are.
  public func register(_ number: Int) -> UInt64 {
    precondition(architecture.generalRegisters.contains(number))
    return frame[number]
  }

  /// Sets a general register, in the context's shadows too.
  public func setRegister(_ number: Int, _ value: UInt64) {
    precondition(architecture.generalRegisters.contains(number))
    setWord(number, value)
  }

  private func setWord(_ word: Int, _ value: UInt64) {
    for copy in [self] + shadows {
      copy.frame[word] = value
      copy.loadRegisters()
    }
  }

  @inline(never)
  private func setShadowRegisters(_ number: Int, _ value: UInt64) {
    for shadow in shadows { shadow.frame[number] = value }
  }

  /// Address of the instruction that runs next; for an exception that is no call, of the one that raised it. To set it lets
  /// the guest go on elsewhere, its shadows too: behind that instruction, for one.
  public var pc: UInt64 {
    get { frame[Int(APPLET_FRAME_PC)] }
    set { setWord(Int(APPLET_FRAME_PC), newValue) }
  }

  /// The guest's status: SPSR_EL1, sstatus. Of what it is set to the condition flags are taken, N, Z, C and V on arm64: all else,
  /// its privilege first, is the monitor's.
  public var status: UInt64 {
    get { frame[Int(APPLET_FRAME_STATUS)] }
    set {
      let flags = architecture.conditionFlags
      setWord(Int(APPLET_FRAME_STATUS), frame[Int(APPLET_FRAME_STATUS)] & ~flags | newValue & flags)
    }
  }

  /// A floating-point register: q0 to q31 by its two halves, or f0 to f31 with a high half of zero. Of a program in system mode
  /// the first processor's. To look at one costs as much as several calls.
  /// - Parameter number: 0 to 31.
  /// - Throws: `ExecError.kvm`.
  public func floatingPoint(_ number: Int) throws(ExecError) -> (low: UInt64, high: UInt64) {
    let register = architecture.floatingPointRegisters[number]
    let isWide = architecture == .arm64
    do throws(KVMError) {
      guard isSecure else {
        var words: (UInt64, UInt64) = (0, 0)
        let result = withUnsafeMutableBytes(of: &words) { words in
          Result { () throws(KVMError) in try vcpu.readRegister(register.id, into: words) }
        }
        try result.get()
        return words
      }
      try captureFloatingPoint()
      return (frame[register.word], isWide ? frame[register.word + 1] : 0)
    } catch { throw .kvm(error) }
  }

  /// Sets a floating-point register, in the context's shadows too.
  /// - Parameters:
  ///   - number: 0 to 31.
  ///   - high: the upper half of arm64's; not used on riscv64.
  /// - Throws: `ExecError.kvm`.
  public func setFloatingPoint(_ number: Int, low: UInt64, high: UInt64 = 0) throws(ExecError) {
    let register = architecture.floatingPointRegisters[number]
    do throws(KVMError) {
      guard isSecure else {
        var words = (low, high)
        let result = withUnsafeMutableBytes(of: &words) { words in
          Result { () throws(KVMError) in try vcpu.writeRegister(register.id, from: words) }
        }
        return try result.get()
      }
      for copy in [self] + shadows {
        try copy.captureFloatingPoint()
        copy.frame[register.word] = low
        if architecture == .arm64 { copy.frame[register.word + 1] = high }
      }
    } catch { throw .kvm(error) }
  }
}

extension ExecCtx {
  /// Whether it is a program with the processor's system mode to itself, not an applet in user mode.
  public var isNonSecure: Bool { !isSecure }
}

/// What ended the last entry into a guest, as the architecture has it.
public struct Cause: Equatable, Sendable {
  /// The exception class (ESR_EL1.EC), or scause without its highest bit.
  public let code: UInt64
  /// Whether it was an interrupt. An applet gets none; riscv64's says so where a stop or a limit came amid its code (arm64's code is
  /// 0 then, that of no known exception).
  public let isInterrupt: Bool

  public init(code: UInt64, isInterrupt: Bool) {
    self.code = code
    self.isInterrupt = isInterrupt
  }
}

/// A processor's privilege.
public enum Privilege: Equatable, Sendable {
  /// EL0, VU mode.
  case user
  /// EL1, VS mode.
  case system
  /// EL2, HS mode: the host's kernel.
  case hypervisor
}

extension ExecCtx {
  /// What ended the last entry.
  public var cause: Cause {
    let word = frame[Int(APPLET_FRAME_CAUSE)]
    return switch architecture {
    case .arm64: Cause(code: ARM64.exceptionClass(word), isInterrupt: false)
    case .riscv64: Cause(code: word & ~(1 << 63), isInterrupt: word >> 63 == 1)
    }
  }

  /// The privilege that the last entry came back with, the shim's or the host's, and the one that the guest had: SPSR_EL1.M,
  /// sstatus.SPP.
  public var mode: (current: Privilege, saved: Privilege) {
    let status = frame[Int(APPLET_FRAME_STATUS)]
    let isUser =
      switch architecture {
      case .arm64: status & 0xf == 0
      case .riscv64: status >> 8 & 1 == 0
      }
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
      for _ in digits.utf8.count..<16 { lines += "0" }
      lines += digits
      column += 1
      if column % 4 == 0 { lines += "\n" }
    }
    for number in architecture.generalRegisters { add(architecture.registerName(number), frame[number]) }
    add("pc", pc)
    add(architecture.statusName.description, frame[Int(APPLET_FRAME_STATUS)])
    add("cause", frame[Int(APPLET_FRAME_CAUSE)])
    // FAR_EL1 and stval mean something for some exceptions alone.
    if case .fault(let fault) = architecture.trap(cause: frame[Int(APPLET_FRAME_CAUSE)]), fault.hasAddress {
      add("address", frame[Int(APPLET_FRAME_ADDRESS)])
    }
    if column % 4 != 0 { lines += "\n" }
    return lines
  }
}
