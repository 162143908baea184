import CLinux
import Machine
import Platform

/// A limit of a context's run.
public enum Limit: Equatable, Sendable {
  /// Wall-clock time: `ExecCtx.deadline`.
  case deadline
  /// CPU time of the context's runs, the sum over all of its CPUs: `ExecCtx.cpuBudget`.
  case cpuBudget
  /// CPU time between two calls, the sum over all CPUs: `ExecCtx.callBudget`.
  case callBudget
}

/// The limits of a context, and the timers that enforce them while the guest does not exit.
///
/// No clock is read at calls: a timer kicks the vCPU, and then the clocks are read.
struct Limits: ~Copyable {
  var deadline: Int64?
  var cpuBudget: Int64?
  var callBudget: Int64?

  private let cpus: CPUSet
  /// The thread of CPU 0, if there are several CPUs: a handler may run on any thread.
  private var firstThread = 0

  /// CPU time of earlier runs, in nanoseconds.
  private var usedBefore: Int64 = 0
  /// CPU time when the current run began.
  private var began: Int64 = 0
  private var isRunning = false
  /// Whether the CPU time of the current run is measured.
  private var isMeasuring = false
  private var wallTimer: KickTimer?
  private var cpuTimer: KickTimer?
  /// The number of calls when the CPU timer last expired, and the CPU time then.
  private var seenCalls: UInt64 = 0
  private var seenAt: Int64 = 0

  init(cpus: CPUSet) { self.cpus = cpus }

  /// CPU time used so far, in nanoseconds.
  var used: Int64 { usedBefore + (isMeasuring ? cpus.time - began : 0) }

  /// Called at the start of a run, on its thread.
  mutating func begin(calls: @autoclosure () -> UInt64) throws(Errno) {
    isRunning = true
    if callBudget != nil { seenCalls = calls() }
    if cpus.count > 1 { firstThread = linux_thread_id() }
    cpus.startTime()
    try arm()
  }

  /// Called when the run has ended.
  mutating func end() {
    isRunning = false
    defer { cpus.stopTime() }
    guard isMeasuring else { return }
    usedBefore = used
    isMeasuring = false
    wallTimer = nil
    cpuTimer = nil
  }

  /// Sets the timers according to the limits. Called on the thread that runs the context.
  mutating func arm() throws(Errno) {
    // A run without limits needs no clock and no timer; its CPU time is then not known.
    guard isRunning, isMeasuring || deadline != nil || cpuBudget != nil || callBudget != nil else { return }
    if !isMeasuring {
      isMeasuring = true
      began = cpus.time
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
    // No clock of the kernel counts several threads, so the timer counts wall-clock time, and CPU 0 checks.
    if cpuTimer == nil { cpuTimer = try makeTimer(cpus.count == 1 ? .cpu : .wall) }
    var first = Int64.max
    var interval: Int64 = 10_000_000
    if let cpuBudget { first = max((cpuBudget - used) / Int64(cpus.count), 1) }
    if let callBudget {
      // A call that exceeds its budget is detected after at most a quarter more.
      interval = min(interval, max(callBudget / 4, 1_000_000))
      first = min(first, interval)
    }
    try cpuTimer?.set(nanoseconds: first, interval: interval)
  }

  /// Makes a timer that kicks the thread of CPU 0.
  private func makeTimer(_ kind: KickTimer.Kind) throws(Errno) -> KickTimer {
    cpus.count == 1 ? try KickTimer(kind) : try KickTimer(kind, thread: firstThread)
  }

  /// The limit that has been exceeded, if any. Called after each kick.
  mutating func passed(calls: @autoclosure () -> UInt64) -> Limit? {
    if let deadline, Clock.monotonic >= deadline { return .deadline }
    guard isMeasuring, cpuBudget != nil || callBudget != nil else { return nil }
    let now = cpus.time
    if let cpuBudget, usedBefore + now - began >= cpuBudget { return .cpuBudget }
    guard let callBudget else { return nil }
    let calls = calls()
    if calls != seenCalls {
      seenCalls = calls
      seenAt = now
    }
    return now - seenAt >= callBudget ? .callBudget : nil
  }

  /// Extends a limit.
  mutating func extend(_ limit: Limit, by nanoseconds: Int64) throws(Errno) {
    switch limit {
    case .deadline: deadline = max(deadline ?? 0, Clock.monotonic).addingSaturating(nanoseconds)
    case .cpuBudget: cpuBudget = max(cpuBudget ?? 0, used).addingSaturating(nanoseconds)
    case .callBudget:
      // The extension is for the current call only.
      seenAt = seenAt.addingSaturating(nanoseconds)
    }
    try arm()
  }
}

extension Int64 {
  /// The sum, or `Int64.max` if it overflows.
  package func addingSaturating(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}

extension ExecCtx {
  /// The time at which the context stops running, in CLOCK_MONOTONIC nanoseconds; nil for none.
  ///
  /// Only the thread that runs the context may set it while it runs. The same holds for the two budgets.
  public var deadline: Int64? {
    get { limits.deadline }
    set {
      limits.deadline = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of CPU time that the context's runs may use, the sum over all CPUs, guest and monitor together; nil
  /// for no limit. The time of a peer (`attach`) counts for the CPU that calls it. Copies in lockstep that run on
  /// threads of their own are not counted.
  public var cpuBudget: Int64? {
    get { limits.cpuBudget }
    set {
      limits.cpuBudget = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of CPU time that may pass between two calls; nil for no limit. With several CPUs it is the sum over
  /// all of them, and a call of any CPU counts. The excess is detected after at most a quarter more, rounded up to the
  /// kernel's granularity of some milliseconds; with several CPUs to 10 ms.
  public var callBudget: Int64? {
    get { limits.callBudget }
    set {
      limits.callBudget = newValue.map { max($0, 0) }
      rearm()
    }
  }

  /// Nanoseconds of CPU time that the context's runs have used while a limit was set.
  public var cpuUsed: Int64 { limits.used }

  /// If a timer cannot be created, the limit is checked at the next kick. The start of a run reports the error.
  private func rearm() { try? limits.arm() }

  /// Ends the run if a limit is exceeded and the limit handler does not extend it.
  func checkLimits() throws(ExecError) {
    while let limit = limits.passed(calls: calls) {
      guard let more = limitHandler?(self, limit), more > 0 else { throw .limit(limit) }
      do { try limits.extend(limit, by: more) } catch { throw .host(error) }
    }
  }
}
