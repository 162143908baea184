import CLinux

/// A timer that makes a thread leave KVM_RUN: timer_create(2) with SIGEV_THREAD_ID.
public struct KickTimer: ~Copyable {
  private let number: Int

  /// The clock of the timer.
  public enum Kind {
    /// CLOCK_MONOTONIC.
    case wall
    /// CLOCK_THREAD_CPUTIME_ID of the calling thread, including its guest.
    case cpu
  }

  /// Creates a timer that signals the calling thread; it is not armed.
  /// - Throws: the kernel's error, EAGAIN if it has no timers left.
  public init(_ kind: Kind) throws(Errno) {
    try self.init(kind, thread: linux_thread_id())
  }

  /// Creates a timer that signals another thread of this process (`linux_thread_id`). A `.cpu` timer still measures the calling
  /// thread.
  public init(_ kind: Kind, thread: Int) throws(Errno) {
    number = try checked(linux_kick_timer(kind == .wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, thread))
  }

  deinit { _ = linux_kick_timer_delete(number) }

  /// Arms the timer: it kicks after this many nanoseconds and then at every interval, until it is set again. It repeats because a
  /// kick that arrives while the thread is in the monitor could be lost.
  /// - Throws: the kernel's error; without the timer nothing would end the guest's run in time.
  public borrowing func set(nanoseconds: Int64, interval: Int64 = 10_000_000) throws(Errno) {
    _ = try checked(linux_kick_timer_set(number, max(nanoseconds, 1), interval))
  }
}
