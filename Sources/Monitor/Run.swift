import Applet
import AppletABI
import KVM
import Machine
import Platform

extension ExecCtx {
  /// What ended an entry into the guest.
  public enum Event: Equatable, Sendable {
    /// The applet calls; its registers say what.
    case call
    /// The applet raised an exception.
    case fault(Fault)
    /// A kick or a signal: the guest can be entered again as if nothing had been.
    case interrupted
  }

  /// Enters the guest once and comes back: registers are loaded from the trap frame before and stored there after. To be
  /// called again to go on.
  /// - Throws: `ExecError.kvm`, `.unexpectedExit`, `.shim`.
  @inline(__always)
  @discardableResult
  public func exec() throws(ExecError) -> Event {
    let exit: Exit
    do { exit = try vcpu.enter() } catch { throw .kvm(error) }
    switch exit {
    case .hypercall(let function) where function == 1: break
    case .sbi(extension: 0x0800_0000, _): break
    case .interrupted: return .interrupted
    default: try checkRare(exit)
    }
    let trap = architecture.trap(cause: frame[Int(APPLET_FRAME_CAUSE)])
    guard trap == .call else { return .init(trap) }
    frame[Int(APPLET_FRAME_PC)] &+= architecture.callLength
    return .call
  }

  /// Passes an exit by the doorbell, and refuses any other.
  @inline(never)
  private func checkRare(_ exit: Exit) throws(ExecError) {
    switch exit {
    case .mmio(let address, _, let isWrite, _) where isDoorbell(address, isWrite: isWrite): return
    case .hypercall(function: 2): throw .shim
    default: throw .unexpectedExit(exit)
    }
  }

  /// Runs until the applet calls; its handler is not asked.
  /// - Throws: `ExecError`: any other exception, a stop, a deadline.
  @inline(__always)
  public func schedule() throws(ExecError) {
    while true {
      switch try exec() {
      case .call: return
      case .fault(let fault): throw describe(fault)
      case .interrupted: try checkStops()
      }
    }
  }

  /// Runs the context and answers its calls until it exits, is stopped, or fails.
  /// - Returns: how it ended. A context that was stopped can be run on: a call that was under way begins anew, except for
  ///   output, of which the rest is lost.
  /// - Throws: `ExecError`. A context that has passed a limit can be run on in the same way.
  public func run() throws(ExecError) -> Outcome {
    if let processors { return try runProcessors(processors) }
    control.began()
    defer {
      vcpu.leave()
      limits.end()
      lockstep?.end()
      control.ended()
    }
    do throws(Errno) {
      try limits.begin(calls: calls)
      try lockstep?.begin()
    } catch { throw .host(error) }
    do throws(ExecError) {
      while exitStatus == nil {
        if let lockstep { try lockstep.step() } else { try schedule() }
        calls &+= 1
        if let handler { try handler(self) } else { try answer(self) }
        if hasFaultInjection { lockstep?.injectFault() }
      }
      try flush()
    } catch {
      // What it has written comes first: it tells how it got there.
      console.flushAtOnce()
      if error == .stopped {
        _ = captureRegisters()
        return .stopped
      }
      guard case .limit = error else { throw error }
      throw captureRegisters() && isAsleep ? .fault(.waitForInterrupt, pc: pc &- 4, address: nil) : error
    }
    return .exited(status: exitStatus ?? 0)
  }

  /// Passes on what the applet has written without ending the line.
  public func flush() throws(ExecError) {
    try emit { console, giveUp throws(Errno) in try console.flush(giveUp: giveUp) }
  }

  /// Ends the run where somebody asked for it or a limit is passed.
  @inline(never)
  func checkStops() throws(ExecError) {
    vcpu.clearExitRequest()
    if let processors {
      if processors.hasEnded { throw .stopped }
      // Limits are the first processor's business.
      if let caller = processors.caller, caller !== control { return }
    }
    if control.takeStop() { throw .stopped }
    try checkLimits()
  }

  /// The same amid a call that takes its time. Should the context be run on, the applet makes the call once more.
  func checkStopsInCall() throws(ExecError) {
    do { try checkStops() } catch {
      repeatCall()
      throw error
    }
  }

  /// Lets the applet make the present call again when the context is run on.
  func repeatCall() {
    // SVC and ECALL have four bytes, and PC is behind them.
    for copy in [self] + shadows {
      copy.frame[Int(APPLET_FRAME_PC)] &-= 4
      copy.frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_REGISTERS)
    }
  }

  /// Waits in the monitor as the guest would wait: a stop or a limit ends it.
  /// - Returns: whether the descriptor can be read.
  func wait(for descriptor: Int32 = -1, until end: Int64? = nil) throws(ExecError) -> Bool {
    while true {
      try checkStopsInCall()
      let now = Clock.monotonic
      if let end, now >= end { return false }
      let limit = min(end ?? .max, deadline ?? .max)
      do {
        let isReady = try waiting { control throws(Errno) in
          try control.wait(for: descriptor, nanoseconds: limit == .max ? nil : max(limit - now, 0))
        }
        if isReady { return true }
      } catch { throw .host(error) }
    }
  }

  /// Brings the registers of a guest that was interrupted amid its own code into the trap frame, which otherwise holds those
  /// of its last call. The guest itself goes on with what it has.
  /// - Returns: whether it was amid its own code.
  private func captureRegisters() -> Bool {
    guard let pc = try? vcpu.register(architecture == .arm64 ? ARM64.pc : RISCV64.pc),
      pc < memory.layout.shim || pc >= memory.layout.frame
    else { return false }
    for register in architecture.coreRegisters {
      guard let value = try? vcpu.register(register.id) else { return true }
      frame[register.word] = value
    }
    return true
  }

  /// Whether the guest stands behind an instruction that waits for an interrupt. On riscv64 KVM lets user mode wait, and an
  /// applet's wait has no end; on arm64 the instruction traps.
  private var isAsleep: Bool {
    guard let range = GuestRange(start: pc &- 4, count: 4),
      let instruction = try? memory.withBytes(range, for: .execute, { $0.loadUnaligned(as: UInt32.self) })
    else { return false }
    return architecture.isWaitForInterrupt(instruction)
  }

  func describe(_ fault: Fault) -> ExecError {
    .fault(
      fault, pc: frame[Int(APPLET_FRAME_PC)],
      address: fault.hasAddress ? frame[Int(APPLET_FRAME_ADDRESS)] : nil)
  }
}

extension ExecCtx.Event {
  init(_ trap: Trap) {
    switch trap {
    case .call: self = .call
    case .fault(let fault): self = .fault(fault)
    }
  }
}
