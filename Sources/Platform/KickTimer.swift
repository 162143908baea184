import CLinux

/// A timer that takes a thread out of KVM_RUN: timer_create(2) with SIGEV_THREAD_ID.
public struct KickTimer: ~Copyable {
  private let number: Int

  /// What the timer counts.
  public enum Kind {
    /// Time that passes.
    case wall
    /// Processor time that the calling thread uses, its guest included.
    case cpu
  }

  /// Makes a timer for the calling thread; it does not run yet.
  /// - Throws: the kernel's error, EAGAIN where it has no timers left.
  public init(_ kind: Kind) throws(Errno) {
    try self.init(kind, thread: linux_thread_id())
  }

  /// Makes a timer for a thread of this process (`linux_thread_id`); what it counts is the calling one's.
  public init(_ kind: Kind, thread: Int) throws(Errno) {
    number = try checked(linux_kick_timer(kind == .wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, thread))
  }

  deinit { _ = linux_kick_timer_delete(number) }

  /// Kicks once so many nanoseconds have passed, and at every interval from then on, until it is set again: a kick that
  /// comes while the thread is in the monitor must be followed by another.
  /// - Throws: the kernel's error: then nothing would end the guest's run in time.
  public borrowing func set(nanoseconds: Int64, interval: Int64 = 10_000_000) throws(Errno) {
    _ = try checked(linux_kick_timer_set(number, max(nanoseconds, 1), interval))
  }
}
