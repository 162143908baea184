import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

extension ExecCtx {
  /// The reason for the end of an entry into the guest.
  public enum Event: Equatable, Sendable {
    /// The applet made a call; its registers have number and arguments.
    case call
    /// The applet raised an exception; with the address that it is about, if it is about one.
    case fault(Fault, address: UInt64?)
    /// A kick or a signal: the guest can be entered again without a change.
    case interrupted
    /// A non-secure context powered off its VM or requested a reset: it cannot be entered again.
    case ended(Outcome)
  }

  /// Runs the context and answers its calls until it exits, is stopped, or an error occurs.
  /// - Returns: how it ended. A context that was stopped can be run again: an interrupted call is repeated. Output of
  ///   such a call that was not written is lost if the context is secure; a non-secure one repeats the whole call.
  /// - Throws: `ExecError`. A context that has exceeded a limit can be run again in the same way; after a fault it
  ///   continues with the instruction that raised it.
  public func run() throws(ExecError) -> Outcome {
    switch kind {
    case .applet(let applet): try runApplet(applet)
    case .program(let program): try runProgram(program)
    }
  }

  /// Enters the guest once. Registers are loaded from the trap frame before and saved there afterwards. After a call
  /// the next `exec` continues; after an exception it repeats the instruction that raised it.
  ///
  /// Must not be called during `run`. If there are shadows, they are not entered. Unlike `run`, `exec` and `schedule` do
  /// not detect an applet that waits for an interrupt on riscv64: only a stop or a limit ends them then. For a non-secure
  /// context each `exec` takes about sixty KVM requests for registers, which a secure one has in its trap frame; PSCI and
  /// SBI calls are answered without returning, and so are accesses that `accessHandler` permits.
  /// - Throws: `ExecError` for a stop, a limit, or a failure; an exception of the applet is an event.
  ///   `.host(.notSupported)` for a non-secure context with several CPUs.
  @discardableResult
  public func exec() throws(ExecError) -> Event {
    let wasBlocked = try begin()
    defer { end(wasBlocked) }
    do throws(ExecError) {
      switch kind {
      case .applet(let applet):
        var event = try guest.run { true }
        while case .fault(let fault) = event, try emulate(fault, applet, of: [guest]) { event = try guest.run { true } }
        if event == .call { callCounts.countOther() }
        guard event == .interrupted else { return guest.publicEvent(event) }
        applet.isInterrupted = true
        try checkStops()
        try syncRegisters()
        applet.isInterrupted = false
        return .interrupted
      case .program(let program):
        let event = try enterProgram(program)
        guard event == .interrupted else { return event }
        try checkStops()
        try syncRegisters()
        return event
      }
    } catch { throw finishRun(error) }
  }

  /// Runs until the applet makes a call, which the handler does not get.
  ///
  /// Must not be called during `run`.
  /// - Returns: nil at a call; how it ended if the VM of a non-secure context is powered off or reset.
  /// - Throws: `ExecError` for any other exception, a stop, or a limit; `.host(.notSupported)` for a non-secure context
  ///   with several CPUs.
  @discardableResult
  public func schedule() throws(ExecError) -> Outcome? {
    let wasBlocked = try begin()
    defer { end(wasBlocked) }
    do throws(ExecError) {
      switch kind {
      case .applet(let applet):
        try runToCall(applet)
        callCounts.countOther()
        return nil
      case .program(let program): return try runToCall(program)
      }
    } catch { throw finishRun(error) }
  }

  /// Assigns the context's only CPU to the calling thread.
  /// - Returns: the argument for `end`.
  func begin() throws(ExecError) -> Bool {
    guard guest.cpus.count == 1 else { throw .host(.notSupported) }
    if let applet, applet.lockstep == nil { applet.isInterrupted = false }
    if let turn = applet?.turn, !turn.tryAcquire() { throw .running }
    guard let wasBlocked = guest.cpu.entered() else {
      applet?.turn?.release()
      throw .running
    }
    do throws(Errno) { try limits.begin(calls: calls) } catch {
      end(wasBlocked)
      throw .host(error)
    }
    return wasBlocked
  }

  /// The counterpart of `begin`.
  func end(_ wasBlocked: Bool) {
    limits.end()
    guest.cpu.left(wasBlocked: wasBlocked)
    applet?.turn?.release()
  }

  /// Makes registers and memory accessible after the end of a run, so that the context can be examined, changed and run
  /// again.
  /// - Returns: the error that ended it.
  func finishRun(_ error: ExecError) -> ExecError {
    switch error {
    case .stopped, .limit: break
    default: return error
    }
    do throws(ExecError) { try syncRegisters() } catch { return error }
    return error
  }

  /// Saves the registers, also those of shadows, in the frames, where they can be read and changed.
  func syncRegisters() throws(ExecError) {
    switch kind {
    case .applet(let applet):
      if let lockstep = applet.lockstep {
        try lockstep.syncRegisters()
      } else if applet.isInterrupted {
        try guest.returnToShim()
      }
      // A shadow may have been entered last.
      guest.cpu.vcpu.aim()
    case .program(let program): try takeSnapshot(program)
    }
  }

  /// Writes pending output, including an incomplete line.
  public func flush() throws(ExecError) {
    try emit { console, mustStop throws(Errno) in try console.flush(mustStop: mustStop) }
  }

  // MARK: Stops

  /// Ends the run if a stop is requested or a limit is exceeded.
  @inline(never)
  func checkStops() throws(ExecError) {
    switch kind {
    case .applet(let applet): try checkStops(of: applet)
    case .program(let program): try checkStops(of: program)
    }
  }

  /// The same during a call that takes long. If the context is run again, the applet repeats the call.
  func checkStopsInCall() throws(ExecError) {
    do { try checkStops() } catch {
      repeatCall()
      throw error
    }
  }

  /// Makes the applet repeat the current call when the context is run again.
  func repeatCall() {
    program?.snapshot?.restartsCall = true
    // PC is after the instruction.
    for guest in guests {
      guest.frame[Int(APPLET_FRAME_PC)] &-= architecture.callSize(cause: guest.frame[Int(APPLET_FRAME_CAUSE)])
      guest.loadRegisters()
    }
  }

  /// Waits in the monitor; a stop or a limit ends the wait.
  /// - Returns: whether the descriptor is readable.
  func wait(for descriptor: Int32 = -1, until end: Int64? = nil) throws(ExecError) -> Bool {
    while true {
      try checkStopsInCall()
      let now = Clock.monotonic
      if let end, now >= end { return false }
      let limit = min(end ?? .max, deadline ?? .max)
      do { if try wait(for: descriptor, nanoseconds: limit == .max ? nil : max(limit - now, 0)) { return true } } catch
      {
        throw .host(error)
      }
    }
  }

  /// Waits until the descriptor is readable, a kick arrives, or the time has passed. Calls of a program's other CPUs
  /// are answered meanwhile.
  private func wait(for descriptor: Int32, nanoseconds: Int64?) throws(Errno) -> Bool {
    let control = guest.cpus.control
    let attention = readable?.descriptor ?? -1
    guard let program, let caller = program.caller else {
      return try control.wait(0, for: descriptor, attention: attention, nanoseconds: nanoseconds)
    }
    return try withCallLockReleased(program, caller) { () throws(Errno) in
      try control.wait(
        caller.number, for: descriptor, attention: caller.number == 0 ? attention : -1, nanoseconds: nanoseconds)
    }
  }

  /// Calls the function set by `onReadable` if its descriptor is readable.
  /// - Parameter prepare: called before it.
  func callReadable(_ prepare: () throws(ExecError) -> Void) throws(ExecError) {
    guard let readable, linux_can_read(readable.descriptor) else { return }
    try prepare()
    readable.body(self)
  }

  /// The address that the exception which ended the last entry is about: of a load, a store or a jump. nil for other exceptions,
  /// and after a call.
  public var faultAddress: UInt64? {
    let cause = frame[Int(APPLET_FRAME_CAUSE)]
    let fault: Fault
    if isSecure {
      guard case .fault(let found) = architecture.trap(cause: cause) else { return nil }
      fault = found
    } else {
      fault = architecture.systemFault(cause: cause)
    }
    return fault.hasAddress ? frame[Int(APPLET_FRAME_ADDRESS)] : nil
  }

  func describe(_ fault: Fault) -> ExecError {
    .fault(
      fault, pc: frame[Int(APPLET_FRAME_PC)],
      address: fault.hasAddress ? frame[Int(APPLET_FRAME_ADDRESS)] : nil)
  }
}
