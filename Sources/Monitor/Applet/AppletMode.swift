import Machine

/// The state of an applet in user mode: its lockstep group and an interrupted sleep.
final class AppletMode {
  /// The copies that run in lockstep, including this one; nil without shadows.
  var lockstep: LockstepGroup? { didSet { setsOneRegister = lockstep == nil && !hasResultPairs } }
  /// Whether the result of a call is in two registers.
  private let hasResultPairs: Bool
  /// Whether the result of a call is in one register, of one copy: the common case of `ExecCtx.ret`.
  private(set) var setsOneRegister: Bool
  /// Whether it is a shadow of another context, or a program's peer. Its memory is then changed together with that
  /// context's, and it can have no shadows.
  var isShadow = false
  var isPeer: Bool { turn != nil }
  /// Of a peer: held while the applet runs (`Peer.lock`).
  var turn: AbortableLock?
  /// The counters of lockstep.
  var report = LockstepReport()
  /// The value of `isInterrupted` without lockstep.
  private var wasInterrupted = false
  /// The thread's CPU time at the last check for a sleeping guest.
  var seenCPU: Int64 = 0
  /// The sleep that a stop or a limit has interrupted: the PC after the call, its duration, and the CLOCK_MONOTONIC
  /// time in nanoseconds at which it ends.
  var sleepUnderWay: (pc: UInt64, nanoseconds: UInt64, end: Int64)?

  init(_ architecture: Architecture) {
    hasResultPairs = architecture.facts.registerBits == 32
    setsOneRegister = !hasResultPairs
  }

  /// Whether the applet was interrupted in its own code, so that its registers are in the vCPU and not in the frame.
  var isInterrupted: Bool {
    get { lockstep.map { $0.copies[0].event == .interrupted } ?? wasInterrupted }
    set {
      if let lockstep { lockstep.copies[0].event = newValue ? .interrupted : .call } else { wasInterrupted = newValue }
    }
  }
}
