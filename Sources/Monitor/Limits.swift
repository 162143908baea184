import CLinux
import Machine
import Platform

/// A limit of a context's run.
public enum Limit: Equatable, Sendable {
  /// Wall-clock time: `ExecCtx.deadline`.
  case deadline
  /// Processor time of the context's runs and of all its processors taken together: `ExecCtx.cpuBudget`.
  case cpuBudget
  /// Processor time between two calls, of all its processors taken together: `ExecCtx.callBudget`.
  case callBudget
}

/// The limits of a context and the timers that enforce them while the guest spins.
///
/// Nothing is measured at calls: a timer kicks the vCPU, and only then the clocks are read.
struct Limits: ~Copyable {
  var deadline: Int64?
  var cpuBudget: Int64?
  var callBudget: Int64?

  /// The context's processors beside the first, on threads of their own.
  private let others: [Processor]
  /// The first one's thread and its clock, where there are others: a handler may be on the thread of any.
  private var first: (thread: Int, clock: Int32) = (0, 0)

  /// Processor time of runs that have ended, in nanoseconds.
  private var usedBefore: Int64 = 0
  /// The processor clock when the present run began.
  private var began: Int64 = 0
  private var isRunning = false
  /// Whether a run is under way whose processor time is measured.
  private var isMeasuring = false
  private var wallTimer: KickTimer?
  private var cpuTimer: KickTimer?
  /// Calls made when the CPU timer last looked, and the processor clock then.
  private var seenCalls: UInt64 = 0
  private var seenAt: Int64 = 0

  init(others: [Processor]) { self.others = others }

  /// What the present run's threads have used of the host's processors.
  private var clock: Int64 {
    if others.isEmpty { return Clock.threadCPU }
    return others.reduce(max(linux_clock_of(first.clock), 0)) { $0 + $1.time }
  }

  /// Processor time used so far, in nanoseconds.
  var used: Int64 { usedBefore + (isMeasuring ? clock - began : 0) }

  /// A run begins on the calling thread.
  mutating func begin(calls: UInt64) throws(Errno) {
    isRunning = true
    seenCalls = calls
    if !others.isEmpty {
      first = (linux_thread_id(), linux_thread_clock())
      for processor in others { processor.resetTime() }
    }
    try arm()
  }

  /// The run has ended.
  mutating func end() {
    isRunning = false
    guard isMeasuring else { return }
    usedBefore = used
    isMeasuring = false
    wallTimer = nil
    cpuTimer = nil
  }

  /// Sets the timers by the limits as they are now; on the thread that runs the context.
  mutating func arm() throws(Errno) {
    // Without limits the run costs no clock and no timer: what it uses is not known either.
    guard isRunning, isMeasuring || deadline != nil || cpuBudget != nil || callBudget != nil else { return }
    if !isMeasuring {
      isMeasuring = true
      began = clock
      seenAt = began
    }
    if let deadline {
      if wallTimer == nil { wallTimer = try makeTimer(.wall) }
      try wallTimer?.set(nanoseconds: max(deadline, 0) - Clock.monotonic)
    } else {
      wallTimer = nil
    }
    guard cpuBudget != nil || callBudget != nil else {
      cpuTimer = nil
      return
    }
    // No clock of the kernel's counts several threads: the time that passes has to do, and the first processor looks.
    if cpuTimer == nil { cpuTimer = try makeTimer(others.isEmpty ? .cpu : .wall) }
    var first = Int64.max
    var interval: Int64 = 10_000_000
    if let cpuBudget { first = max((cpuBudget - used) / Int64(others.count + 1), 1) }
    if let callBudget {
      // A call is found over its budget at the latest a quarter of it late.
      interval = min(interval, max(callBudget / 4, 1_000_000))
      first = min(first, interval)
    }
    try cpuTimer?.set(nanoseconds: first, interval: interval)
  }

  /// A timer that kicks the first processor's thread.
  private func makeTimer(_ kind: KickTimer.Kind) throws(Errno) -> KickTimer {
    others.isEmpty ? try KickTimer(kind) : try KickTimer(kind, thread: first.thread)
  }

  /// The limit that is passed, if one is; to be asked after a kick.
  mutating func passed(calls: UInt64) -> Limit? {
    if let deadline, Clock.monotonic >= deadline { return .deadline }
    guard isMeasuring, cpuBudget != nil || callBudget != nil else { return nil }
    let now = clock
    if let cpuBudget, usedBefore + now - began >= cpuBudget { return .cpuBudget }
    guard let callBudget else { return nil }
    if calls != seenCalls {
      seenCalls = calls
      seenAt = now
    }
    return now - seenAt >= callBudget ? .callBudget : nil
  }

  /// Gives more of what a limit limits.
  mutating func extend(_ limit: Limit, by nanoseconds: Int64) throws(Errno) {
    switch limit {
    case .deadline: deadline = max(deadline ?? 0, Clock.monotonic).addingSaturating(nanoseconds)
    case .cpuBudget: cpuBudget = max(cpuBudget ?? 0, used).addingSaturating(nanoseconds)
    case .callBudget:
      // The call that is under way gets it, and none after it.
      seenAt = seenAt.addingSaturating(nanoseconds)
    }
    try arm()
  }
}

extension Int64 {
  /// The sum, or the greatest number where it would be greater.
  package func addingSaturating(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}

extension ExecCtx {
  /// CLOCK_MONOTONIC nanoseconds after which the context stops running; nil for never.
  ///
  /// To be changed by the thread that runs the context, or while none does; so are the two budgets.
  public var deadline: Int64? {
    get { limits.deadline }
    set {
      limits.deadline = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of processor time that the context's runs may use, all its processors, guest and monitor together; nil for any
  /// amount. What an applet beside it uses (`connect`) counts as the processor's that asks it. Copies in lockstep that run on
  /// threads of their own are not counted: each does what this one does.
  public var cpuBudget: Int64? {
    get { limits.cpuBudget }
    set {
      limits.cpuBudget = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of processor time that may pass between two calls; nil for any amount. With several processors it is the time of
  /// all of them together, and a call of any. A guest that passes it is noticed within a quarter more, at the kernel's
  /// granularity of some milliseconds; with several processors within 10 ms.
  public var callBudget: Int64? {
    get { limits.callBudget }
    set {
      limits.callBudget = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of processor time that the context's runs have used while any limit was set.
  public var cpuUsed: Int64 { limits.used }

  /// A timer that cannot be had leaves the limit to the next kick; the run's beginning reports it.
  private func rearm() { try? limits.arm() }

  /// Ends the run where a limit is passed that the limit handler does not extend.
  func checkLimits() throws(ExecError) {
    while let limit = limits.passed(calls: calls) {
      guard let more = limitHandler?(self, limit), more > 0 else { throw .limit(limit) }
      do { try limits.extend(limit, by: more) } catch { throw .host(error) }
    }
  }
}
