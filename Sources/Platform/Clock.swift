import CLinux

/// Clocks, in nanoseconds.
public enum Clock {
  /// CLOCK_MONOTONIC: time since boot, which cannot be set.
  @inline(__always)
  public static var monotonic: Int64 { linux_clock(CLOCK_MONOTONIC) }

  /// What CLOCK_REALTIME, the time of day in UTC, is ahead of CLOCK_MONOTONIC now. It changes when the clock is set.
  /// Each start needs it, and most of them no other time.
  public static var realtimeOffset: Int64 { linux_clock_once(CLOCK_REALTIME) &- linux_clock_once(CLOCK_MONOTONIC) }

  /// CLOCK_THREAD_CPUTIME_ID: CPU time of the calling thread, including that of its guest.
  public static var threadCPU: Int64 { linux_clock(CLOCK_THREAD_CPUTIME_ID) }
}
