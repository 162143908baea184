import Monitor
import Platform

/// Limits of a guest and of the process that runs it; nil for none.
public struct GuestLimits: Equatable, Sendable {
  /// Maximum duration of a run, in nanoseconds.
  public var deadline: Int64?
  /// CPU time, in nanoseconds.
  public var cpuBudget: Int64?
  /// CPU time between two calls, in nanoseconds.
  public var callBudget: Int64?
  /// Memory of the whole process, in bytes. This and the following need a control group.
  public var processMemory: Int64?
  /// Percent of one CPU.
  public var cpuPercent: Int64?
  /// Maximum number of threads.
  public var threads: Int64?

  /// No limits.
  public init() {}

  /// Checks each limit that is set.
  /// - Throws: `SpecError.outOfRange`.
  public func check() throws(SpecError) {
    try check(.deadline, deadline)
    try check(.cpuBudget, cpuBudget)
    try check(.callBudget, callBudget)
    try check(.processMemory, processMemory)
    try check(.cpuPercent, cpuPercent)
    try check(.threads, threads)
  }

  private func check(_ field: GuestField, _ value: Int64?) throws(SpecError) {
    guard let value else { return }
    guard value > 0, field.range(for: .applet).contains(UInt64(value)) else { throw .outOfRange(field, .applet) }
  }

  /// These limits, replaced by those that are set in the other.
  public func changed(by other: GuestLimits) -> GuestLimits {
    var limits = self
    limits.deadline = other.deadline ?? deadline
    limits.cpuBudget = other.cpuBudget ?? cpuBudget
    limits.callBudget = other.callBudget ?? callBudget
    limits.processMemory = other.processMemory ?? processMemory
    limits.cpuPercent = other.cpuPercent ?? cpuPercent
    limits.threads = other.threads ?? threads
    return limits
  }

  /// Sets the time limits of a context; those that are nil do not change.
  /// - Parameter began: start of the run, from which the deadline is computed, in nanoseconds of CLOCK_MONOTONIC.
  public func apply(to context: ExecCtx, since began: Int64) {
    if let deadline { context.deadline = began.addingSaturating(deadline) }
    if let cpuBudget { context.cpuBudget = cpuBudget }
    if let callBudget { context.callBudget = callBudget }
  }
}
