import Applet
import AppletABI
import KVM
import Machine

/// The registers of a non-secure context's first processor as they were taken from KVM.
struct TakenRegisters {
  /// What a call's result is given to.
  enum Call {
    /// x0; a0 and a1, as SBI has them.
    case registers
    /// A block that the program has named, and on riscv64 the registers, too.
    case block(UnsafeMutablePointer<UInt64>)
  }

  /// The trap frame then, by words; before a call took the place of the registers that it travels in.
  var frame: [UInt64]
  /// The call that is to be answered; nil for none.
  var call: Call?
  /// Whether a stop or a limit came amid its answer: the program makes it again.
  var isCallToBeMadeAgain = false
}

/// A non-secure context of one processor that is entered by hand: `exec` and `schedule`.
extension ExecCtx {
  /// Enters the program and comes back with what it did; what its firmware or a device answers is answered on the way.
  func enterProgram(_ shared: Processors) throws(ExecError) -> Event {
    if let final = shared.final { return .ended(final) }
    try giveRegisters(shared)
    while true {
      let exit: Exit
      do { exit = try vcpu.enter() } catch { throw failure(error, vcpu) }
      switch exit {
      case .interrupted: return .interrupted
      case .hypercall(UInt64(APPLET_CALL_EXCEPTION)), .sbi(UInt64(APPLET_SBI_EXCEPTION), _):
        return try takeException(exit, shared)
      case .hypercall(let function) where function & 0xffff_ffff != UInt64(APPLET_CALL_BLOCK):
        // The SMC calling convention's function ids have 32 bits.
        return try takeCall(function & 0xffff_ffff, exit, shared)
      case .sbi(UInt64(APPLET_SBI_EXTENSION), let function) where function != UInt64(APPLET_CALL_BLOCK):
        return try takeCall(function, exit, shared)
      default: try serve(exit, vcpu, 0, control, shared)
      }
      guard shared.hasEnded else { continue }
      switch shared.takeEnd() {
      case .outcome(let outcome): return .ended(outcome)
      case .error(let error): throw error
      }
    }
  }

  /// Enters it until it calls.
  /// - Returns: how its machine ended; nil at a call.
  func runProgramToCall(_ shared: Processors) throws(ExecError) -> Outcome? {
    while true {
      switch try enterProgram(shared) {
      case .call: return nil
      case .ended(let outcome): return outcome
      case .fault(let fault): throw describe(fault)
      case .interrupted: try checkStops()
      }
    }
  }

  /// Brings the first processor's registers into the frame, from where `giveRegisters` gives back what is changed.
  func takeRegisters(_ shared: Processors) throws(ExecError) {
    try capture(vcpu)
    shared.taken = TakenRegisters(frame: frameWords)
  }

  /// A copy of the trap frame.
  var frameWords: [UInt64] { Array(UnsafeBufferPointer(start: frame, count: Int(APPLET_FRAME_WORDS))) }

  /// Gives the first processor the registers that were changed since they were taken, and the result of its call.
  func giveRegisters(_ shared: Processors) throws(ExecError) {
    guard let taken = shared.taken else { return }
    shared.taken = nil
    // The call has taken the place of these, but where it travels in the very registers that handlers find it in.
    var hidden = architecture.callRegister..<architecture.callRegister + 4
    switch (architecture, taken.call) {
    case (_, nil), (.arm64, .registers?): hidden = 0..<0
    default: break
    }
    for (word, id) in architecture.systemRegisters where frame[word] != taken.frame[word] && !hidden.contains(word) {
      try set(id, frame[word])
    }
    if !hidden.isEmpty, !taken.isCallToBeMadeAgain { try giveResult(of: taken) }
  }

  /// Gives the result of a call to what it came by.
  private func giveResult(of taken: TakenRegisters) throws(ExecError) {
    let first = architecture.callRegister
    if case .block(let block)? = taken.call { block[0] = frame[first] }
    guard architecture == .riscv64 else { return }
    // SBI's error, and its value. What handlers find in a3 is in the program's a2.
    try set(RISCV64.x(10), 0)
    try set(RISCV64.x(11), frame[first])
    if case .registers? = taken.call, frame[first + 3] != taken.frame[first + 2] {
      try set(RISCV64.x(12), frame[first + 3])
    }
  }

  /// Puts a call into the frame: its number and arguments as every handler finds them, behind it PC.
  private func takeCall(_ number: UInt64, _ exit: Exit, _ shared: Processors) throws(ExecError) -> Event {
    let first = architecture.callRegister
    let block = number == APPLET_CALL_BY_BLOCK ? shared.blocks[0] : nil
    let arguments = (0..<3).map { vcpu.sbiArgument($0) }
    try passCall(exit)
    try takeRegisters(shared)
    shared.taken?.call = block.map { .block($0) } ?? .registers
    frame[Int(APPLET_FRAME_CAUSE)] = architecture.systemCallCause
    if let block {
      for word in 0..<4 { frame[first + word] = block[word] }
    } else {
      frame[first] = number
      // Those of an HVC are where they belong.
      if architecture == .riscv64 { for index in 0..<3 { frame[first + 1 + index] = arguments[index] } }
    }
    calls &+= 1
    return .call
  }

  /// Puts an exception that came to the monitor's vectors into the frame, which goes on where it was raised.
  private func takeException(_ exit: Exit, _ shared: Processors) throws(ExecError) -> Event {
    try passCall(exit)
    try takeRegisters(shared)
    let error = capturedException(vcpu)
    guard case .fault(let fault, _, _) = error else { throw error }
    return .fault(fault)
  }

  /// Completes an exit that KVM would complete with the next entry, so that registers can be taken and set.
  private func passCall(_ exit: Exit) throws(ExecError) {
    guard case .sbi = exit else { return }
    do { try passCall(vcpu) } catch { throw .kvm(error) }
    do { try checkStops() } catch {
      do { try goBackToCall(vcpu) } catch { throw .kvm(error) }
      throw error
    }
  }

  private func set(_ id: UInt64, _ value: UInt64) throws(ExecError) {
    do { try vcpu.setRegister(id, value) } catch { throw .kvm(error) }
  }
}
