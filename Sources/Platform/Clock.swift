import CLinux

/// Clocks, in nanoseconds.
public enum Clock {
  /// CLOCK_MONOTONIC: time since boot, never set.
  @inline(__always)
  public static var monotonic: Int64 { linux_clock(CLOCK_MONOTONIC) }

  /// CLOCK_THREAD_CPUTIME_ID: what the calling thread has used of processors, guests included.
  public static var threadCPU: Int64 { linux_clock(CLOCK_THREAD_CPUTIME_ID) }
}
