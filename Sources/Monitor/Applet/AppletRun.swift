import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// The run loop of an applet, on the calling thread.
extension ExecCtx {
  func runApplet(_ applet: AppletMode) throws(ExecError) -> Outcome {
    let wasBlocked = try begin()
    var sleepTimer: KickTimer?
    defer {
      sleepTimer = nil
      applet.lockstep?.end()
      end(wasBlocked)
    }
    do throws(Errno) {
      try applet.lockstep?.begin()
      // Lockstep has its own timer, which kicks often enough.
      if architecture.facts.userModeBlocksInWFI, applet.lockstep == nil {
        sleepTimer = try KickTimer(.wall)
        applet.seenCPU = Clock.threadCPU
        try sleepTimer?.set(nanoseconds: Self.firstLook, interval: Self.furtherLooks)
      }
    } catch { throw .host(error) }
    do throws(ExecError) {
      while exitStatus == nil {
        if let lockstep = applet.lockstep { try lockstep.step(self, applet) } else { try runToCall(applet) }
        if let handler = handlers.call {
          callCounts.countOther()
          try handler(self)
        } else {
          try answer(self, isCounted: false)
        }
      }
      try flush()
    } catch {
      // Output first: it may say how the applet got here.
      console.flushAtOnce()
      let error = finishRun(error)
      if error == .stopped { return .stopped }
      throw error
    }
    return .exited(status: exitStatus ?? 0)
  }

  @inline(__always)
  func runToCall(_ applet: AppletMode) throws(ExecError) {
    while true {
      let event = try guest.run { () throws(ExecError) in
        applet.isInterrupted = true
        try checkStops()
        applet.isInterrupted = false
        return false
      }
      guard case .fault(let fault) = event else { return }
      try handleFault(fault, applet)
    }
  }

  @inline(never)
  private func handleFault(_ fault: Fault, _ applet: AppletMode) throws(ExecError) {
    guard try emulate(fault, applet, of: [guest]) else { throw describe(fault) }
  }

  func checkStops(of applet: AppletMode) throws(ExecError) {
    guest.cpu.vcpu.clearExitRequest()
    try callReadable { () throws(ExecError) in try syncRegisters() }
    if guest.cpus.control.takeStop() { throw .stopped }
    let isPassed = limits.passed(calls: calls) != nil
    if isPassed || hasSlept(applet) { try checkSleep(applet) }
    // The limit handler may read the context and change it.
    if isPassed, limitHandler != nil {
      try syncRegisters()
      // That may have used up the kick of a stop: the next entry returns at once, and it is checked again.
      guest.cpu.vcpu.requestExit()
    }
    try checkLimits()
  }

  // MARK: Applets that wait for an interrupt

  /// Nanoseconds before the first check of a guest that may wait for an interrupt, and between checks (`checkSleep`).
  private static let firstLook: Int64 = 1_000_000_000
  private static let furtherLooks: Int64 = 2_000_000_000

  /// Whether the guest may be waiting for an interrupt: the thread has used almost no CPU time since the last check.
  private func hasSlept(_ applet: AppletMode) -> Bool {
    guard architecture.facts.userModeBlocksInWFI else { return false }
    let now = Clock.threadCPU
    defer { applet.seenCPU = now }
    return now - applet.seenCPU < 20_000_000
  }

  /// Ends the run if the guest waits for an interrupt, because an applet never gets one. On arm64 the instruction
  /// traps. On riscv64 KVM blocks a vCPU in WFI, without an exit, until a kick.
  private func checkSleep(_ applet: AppletMode) throws(ExecError) {
    guard applet.isInterrupted, architecture.facts.userModeBlocksInWFI else { return }
    let pc: UInt64
    do { pc = try guest.cpu.vcpu.register(architecture.facts.programCounter) } catch { throw .kvm(error) }
    guard let range = GuestRange(start: pc &- 4, count: 4),
      let instruction = try? memory.withBytes(range, for: .execute, { $0.loadUnaligned(as: UInt32.self) }),
      instruction == architecture.facts.waitForInterrupt
    else { return }
    try syncRegisters()
    throw .fault(.waitForInterrupt, pc: pc &- 4, address: nil)
  }
}
