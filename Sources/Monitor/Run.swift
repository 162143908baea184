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
    /// A non-secure context has turned its machine off, or asked for it to start anew: it cannot be entered again.
    case ended(Outcome)
  }

  /// Enters the guest once and comes back: registers are loaded from the trap frame before and stored there after. To be
  /// called again to go on: behind a call, or with the instruction that raised an exception.
  ///
  /// Not while `run` is under way, which makes its entries itself, and looks on riscv64 after an applet that waits for an
  /// interrupt: here, and in `schedule`, only a stop or a limit ends that. A non-secure context's registers travel by some sixty
  /// requests of KVM each time, where a secure one's are in its trap frame; what it asks of its firmware, PSCI or SBI, is
  /// answered on the way.
  /// - Throws: `ExecError`: a stop, a limit, or a failure; an exception of the applet's is an event. `.host(.notSupported)` for
  ///   a non-secure context of several processors, which has no next call.
  @discardableResult
  public func exec() throws(ExecError) -> Event {
    try begin()
    defer { end() }
    do throws(ExecError) {
      let event = if let processors { try enterProgram(processors) } else { try enter() }
      switch event {
      case .interrupted:
        self.event = .interrupted
        try checkStops()
        try bringHome()
        self.event = .call
      case .call where isSecure: calls &+= 1
      default: break
      }
      return event
    } catch { throw comeHome(error) }
  }

  /// Runs until the applet calls; its handler is not asked.
  ///
  /// Not while `run` is under way.
  /// - Returns: nil at a call; how it ended where a non-secure context's machine is off.
  /// - Throws: `ExecError`: any other exception, a stop, a limit; `.host(.notSupported)` for a non-secure context of several
  ///   processors.
  @discardableResult
  public func schedule() throws(ExecError) -> Outcome? {
    try begin()
    defer { end() }
    do throws(ExecError) {
      if let processors { return try runProgramToCall(processors) }
      try runToCall()
      calls &+= 1
      return nil
    } catch { throw comeHome(error) }
  }

  /// The calling thread begins to run the context.
  private func begin() throws(ExecError) {
    // `run` does not come here with one.
    if let processors, !processors.others.isEmpty { throw .host(.notSupported) }
    if lockstep == nil { event = .call }
    control.began()
    do throws(Errno) { try limits.begin(calls: calls) } catch {
      control.ended()
      throw .host(error)
    }
  }

  /// It runs it no longer.
  private func end() {
    vcpu.leave()
    processors?.caller = nil
    limits.end()
    control.ended()
  }

  /// One entry into the guest and back.
  @inline(__always)
  func enter() throws(ExecError) -> Event {
    let awaited: VCPU.Awaited
    do { awaited = try vcpu.enter(awaiting: 1, sbi: 0x0800_0000) } catch { throw .kvm(error) }
    switch awaited {
    // What the guest left by tells the architecture.
    case .hypercall: return event(on: .arm64)
    case .sbi: return event(on: .riscv64)
    case .other(.interrupted): return .interrupted
    case .other(let exit):
      try checkRare(exit)
      return event(on: architecture)
    }
  }

  /// What the shim tells of a trap out of the applet.
  @inline(__always)
  private func event(on architecture: Architecture) -> Event {
    Event(architecture.trap(cause: frame[Int(APPLET_FRAME_CAUSE)], pc: &frame[Int(APPLET_FRAME_PC)]))
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

  @inline(__always)
  private func runToCall() throws(ExecError) {
    while true {
      switch try enter() {
      case .call: return
      case .fault(let fault): throw describe(fault)
      // A secure context's machine has no other end.
      case .interrupted, .ended:
        event = .interrupted
        try checkStops()
        event = .call
      }
    }
  }

  /// Runs the context and answers its calls until it exits, is stopped, or fails.
  /// - Returns: how it ended. A context that was stopped can be run on: a call that was under way begins anew, except for
  ///   output, of which the rest is lost.
  /// - Throws: `ExecError`. A context that has passed a limit can be run on in the same way; after a
  ///   fault, with the instruction that raised it.
  public func run() throws(ExecError) -> Outcome {
    if let processors { return try runProcessors(processors) }
    try begin()
    var sleepTimer: KickTimer?
    defer {
      sleepTimer = nil
      lockstep?.end()
      end()
    }
    do throws(Errno) {
      try lockstep?.begin()
      // In lockstep there are kicks enough.
      if architecture == .riscv64, lockstep == nil {
        sleepTimer = try KickTimer(.wall)
        seenCPU = Clock.threadCPU
        try sleepTimer?.set(nanoseconds: Self.firstLook, interval: Self.furtherLooks)
      }
    } catch { throw .host(error) }
    do throws(ExecError) {
      while exitStatus == nil {
        if let lockstep { try lockstep.step() } else { try runToCall() }
        calls &+= 1
        if let handler { try handler(self) } else { try answer(self) }
      }
      try flush()
    } catch {
      // What it has written comes first: it tells how it got there.
      console.flushAtOnce()
      let error = comeHome(error)
      if error == .stopped { return .stopped }
      throw error
    }
    return .exited(status: exitStatus ?? 0)
  }

  /// Makes the context ready to be looked at, changed and run on, after what ended its run.
  /// - Returns: what ended it.
  private func comeHome(_ error: ExecError) -> ExecError {
    switch error {
    case .stopped, .limit: break
    default: return error
    }
    do throws(ExecError) { try bringHome() } catch { return error }
    return error
  }

  /// Brings the registers to where they can be looked at and changed, its shadows' too.
  private func bringHome() throws(ExecError) {
    if let processors { return try takeRegisters(processors) }
    for copy in shadows + [self] { try copy.returnToShim() }
    // A shadow may have been entered.
    vcpu.aim()
  }

  /// Nanoseconds after which, and between which, a guest is looked at that may wait for an interrupt (`checkSleep`).
  private static let firstLook: Int64 = 1_000_000_000
  private static let furtherLooks: Int64 = 2_000_000_000

  /// Whether the guest may be waiting for an interrupt: the thread has used next to no processor time since it was asked last.
  private func hasSlept() -> Bool {
    guard architecture == .riscv64 else { return false }
    let now = Clock.threadCPU
    defer { seenCPU = now }
    return now - seenCPU < 20_000_000
  }

  /// Ends the run where the guest waits for an interrupt: an applet's never comes. On arm64 the instruction traps; on riscv64
  /// KVM blocks user mode in it, without an exit, until a kick.
  private func checkSleep() throws(ExecError) {
    guard event == .interrupted, architecture == .riscv64 else { return }
    let pc: UInt64
    do { pc = try vcpu.register(RISCV64.pc) } catch { throw .kvm(error) }
    guard let range = GuestRange(start: pc &- 4, count: 4),
      let instruction = try? memory.withBytes(range, for: .execute, { $0.loadUnaligned(as: UInt32.self) }),
      architecture.isWaitForInterrupt(instruction)
    else { return }
    try bringHome()
    throw .fault(.waitForInterrupt, pc: pc &- 4, address: nil)
  }

  /// Passes on what the applet has written without ending the line.
  public func flush() throws(ExecError) {
    try emit { console, giveUp throws(Errno) in try console.flush(giveUp: giveUp) }
  }

  /// Ends the run where somebody asked for it or a limit is passed.
  @inline(never)
  func checkStops() throws(ExecError) {
    if let processors {
      if processors.hasEnded { throw .stopped }
      // Stops and limits are the first processor's business: a kick that it has yet to look after stays.
      if let caller = processors.caller, caller !== control { return }
    }
    vcpu.clearExitRequest()
    if let attention, control.isAttentionWanted {
      if processors == nil { try bringHome() }
      attention(self)
    }
    if control.takeStop() { throw .stopped }
    guard isSecure else { return try checkLimits() }
    let isPassed = limits.passed(calls: calls) != nil
    if isPassed || hasSlept() { try checkSleep() }
    // Its handler may look at the context, and change it.
    if isPassed, limitHandler != nil { try bringHome() }
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
    processors?.taken?.isCallToBeMadeAgain = true
    // SVC and ECALL have four bytes, and PC is behind them.
    for copy in [self] + shadows {
      copy.frame[Int(APPLET_FRAME_PC)] &-= 4
      copy.loadRegisters()
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

  /// Brings a guest that was interrupted amid its own code back to where it is entered: its registers into the trap frame,
  /// which otherwise holds those of its last call, and the vCPU to the shim, which loads them again.
  private func returnToShim() throws(ExecError) {
    guard event == .interrupted else { return }
    let layout = memory.layout
    let shim = layout.shim..<layout.frame
    var timer: KickTimer?
    var isTrapped = false
    while true {
      do throws(KVMError) {
        let pc = try vcpu.register(architecture.programCounter)
        if !shim.contains(pc) {
          // The shim stores them as at an exception: with a few requests of KVM's, where each register would take one.
          let status = try vcpu.register(architecture.interruptedStatus)
          for setting in architecture.shimTrap(layout, pc: pc, status: status) { try set(setting) }
          isTrapped = true
        } else if Int(pc - shim.lowerBound) == architecture.shimBehindExit {
          return
        } else if architecture.shimRestore.contains(Int(pc - shim.lowerBound)) {
          // They still are in the frame, from which the vCPU's are to be loaded anew.
          for setting in architecture.shimRestart(layout) { try set(setting) }
          return loadRegisters()
        }
      } catch { throw .kvm(error) }
      if !isTrapped {
        // Amid storing them it leaves soon; it may also be on its way back to the applet, where it is interrupted again.
        do throws(Errno) {
          if timer == nil { timer = try KickTimer(.wall) }
          try timer?.set(nanoseconds: 1_000_000, interval: 1_000_000)
        } catch { throw .host(error) }
      }
      vcpu.clearExitRequest()
      let event = try enter()
      if event == .interrupted { continue }
      // What it came to is found out anew when it runs on.
      if event == .call { frame[Int(APPLET_FRAME_PC)] &-= 4 }
      return loadRegisters()
    }
  }

  private func set(_ setting: RegisterSetting) throws(KVMError) { try vcpu.setRegister(setting.id, setting.value) }

  /// Lets the next entry load all registers from the frame.
  func loadRegisters() { frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_REGISTERS) }

  func describe(_ fault: Fault) -> ExecError {
    .fault(
      fault, pc: frame[Int(APPLET_FRAME_PC)],
      address: fault.hasAddress ? frame[Int(APPLET_FRAME_ADDRESS)] : nil)
  }
}

extension ExecCtx.Event {
  @inline(__always)
  init(_ trap: Trap) {
    switch trap {
    case .call: self = .call
    case .fault(let fault): self = .fault(fault)
    }
  }
}
