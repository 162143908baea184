import Applet
import AppletABI
import KVM
import Machine

/// `exec` and `schedule` of a non-secure context with one CPU.
extension ExecCtx {
  /// Enters the program until an event occurs. PSCI and SBI calls are answered here and are not events.
  func enterProgram(_ program: ProgramMode) throws(ExecError) -> Event {
    if let final = program.final { return .ended(final) }
    try restoreRegisters(program)
    let cpu = guest.cpu
    return try cpu.run { (exit) throws(ExecError) -> Event? in
      switch exit {
      case .interrupted: return .interrupted
      case .hypercall(UInt64(APPLET_CALL_EXCEPTION)), .sbi(UInt64(APPLET_SBI_EXCEPTION), _):
        return try takeException(exit, program)
      case .hypercall(let function)
      where function & 0xffff_ffff != UInt64(APPLET_CALL_BLOCK)
        && (firmwareHandler == nil || !Self.isFirmware(function & 0xffff_ffff)):
        // Function identifiers of SMCCC have 32 bits.
        return try takeCall(function & 0xffff_ffff, exit, program)
      case .sbi(UInt64(APPLET_SBI_EXTENSION), let function) where function != UInt64(APPLET_CALL_BLOCK):
        return try takeCall(function, exit, program)
      default: try handle(exit, cpu, program)
      }
      guard cpu.control.isEnding else { return nil }
      _ = cpu.control.takeEnd()
      switch program.takeEnd() {
      case .outcome(let outcome): return .ended(outcome)
      case .error(let error): throw error
      }
    } failed: { (error) throws(ExecError) in
      throw failure(error, cpu)
    }
  }

  /// Enters the program until it makes a call.
  /// - Returns: how its machine ended; nil for a call.
  func runToCall(_ program: ProgramMode) throws(ExecError) -> Outcome? {
    while true {
      switch try enterProgram(program) {
      case .call: return nil
      case .ended(let outcome): return outcome
      case .fault(let fault, _): throw describe(fault)
      case .interrupted: try checkStops()
      }
    }
  }

  /// Reads CPU 0's registers into the frame; `restoreRegisters` writes back those that were changed.
  func takeSnapshot(_ program: ProgramMode) throws(ExecError) {
    try capture(guest.cpu)
    program.snapshot = RegisterSnapshot(frame: guest.frameWords)
  }

  /// Writes the registers that were changed since the snapshot, and the result of the call, to CPU 0.
  func restoreRegisters(_ program: ProgramMode) throws(ExecError) {
    guard let snapshot = program.snapshot else { return }
    program.snapshot = nil
    // The call is in the frame instead of these registers, except if it came in the same registers.
    var hidden = architecture.callRegister..<architecture.callRegister + 4
    switch (architecture, snapshot.call) {
    case (_, nil), (.arm64, .registers?): hidden = 0..<0
    default: break
    }
    for (word, id) in architecture.systemRegisters where frame[word] != snapshot.frame[word] && !hidden.contains(word) {
      try set(id, frame[word])
    }
    if !hidden.isEmpty, !snapshot.restartsCall { try giveResult(of: snapshot) }
  }

  /// Writes the result of a call to where the program expects it.
  private func giveResult(of snapshot: RegisterSnapshot) throws(ExecError) {
    let first = architecture.callRegister
    if case .block(let block)? = snapshot.call { block[0] = frame[first] }
    guard !architecture.facts.usesSMCCC else { return }
    // SBI returns an error and a value. The handler's a3 is the program's a2.
    try set(RISCV64.x(10), 0)
    try set(RISCV64.x(11), frame[first])
    if case .registers? = snapshot.call, frame[first + 3] != snapshot.frame[first + 2] {
      try set(RISCV64.x(12), frame[first + 3])
    }
  }

  /// Writes a call into the frame: its number and arguments as handlers expect them, and PC after the call.
  private func takeCall(_ number: UInt64, _ exit: Exit, _ program: ProgramMode) throws(ExecError) -> Event {
    let first = architecture.callRegister
    let block = number == APPLET_CALL_BY_BLOCK ? program.blocks[0]?.words : nil
    let arguments = (0..<3).map { guest.cpu.vcpu.sbiArgument($0) }
    try passCall(exit)
    try takeSnapshot(program)
    program.snapshot?.call = block.map { .block($0) } ?? .registers
    frame[Int(APPLET_FRAME_CAUSE)] = architecture.facts.systemCallCause
    if let block {
      for word in 0..<4 { frame[first + word] = block[word] }
    } else {
      frame[first] = number
      // The arguments of an HVC are in the right registers already.
      if !architecture.facts.usesSMCCC { for index in 0..<3 { frame[first + 1 + index] = arguments[index] } }
    }
    callCounts.countOther()
    return .call
  }

  /// Writes an exception that reached the monitor's vectors into the frame. The program continues at the instruction
  /// that raised it.
  private func takeException(_ exit: Exit, _ program: ProgramMode) throws(ExecError) -> Event {
    try passCall(exit)
    try takeSnapshot(program)
    let error = capturedException(guest.cpu)
    guard case .fault(let fault, _, let address) = error else { throw error }
    return .fault(fault, address: address)
  }

  /// Completes an exit that KVM would complete with the next entry, so that registers can be read and set.
  private func passCall(_ exit: Exit) throws(ExecError) {
    guard case .sbi = exit else { return }
    do { try passCall(guest.cpu) } catch { throw .kvm(error) }
    do { try checkStops() } catch {
      do { try goBackToCall(guest.cpu) } catch { throw .kvm(error) }
      throw error
    }
  }

  private func set(_ id: UInt64, _ value: UInt64) throws(ExecError) {
    do { try guest.cpu.vcpu.setRegister(id, value) } catch { throw .kvm(error) }
  }
}
