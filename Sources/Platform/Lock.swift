import CLinux

/// A mutual-exclusion lock with a condition to wait for: pthread_mutex_t and pthread_cond_t.
public final class Lock: @unchecked Sendable {
  // Neither may move once it is used: they live in memory of their own.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  public init() {
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    // With these attributes neither this nor the calls below can fail.
    pthread_mutex_init(mutex, nil)
    linux_condition_init(condition)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Runs `body` while no other thread runs one under this lock.
  @inline(__always)
  public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// Takes the lock, to be given back by the same thread with `release`: where the one cannot enclose the other.
  @inline(__always)
  package func acquire() { pthread_mutex_lock(mutex) }
  @inline(__always)
  package func release() { pthread_mutex_unlock(mutex) }

  /// Lets other threads have the lock until one of them calls `wakeAll`, or time is up. To be called inside `withLock`, in a
  /// loop that looks whether what is waited for has come.
  /// - Parameter end: CLOCK_MONOTONIC nanoseconds; nil for ever.
  public func wait(until end: Int64? = nil) { linux_condition_wait(condition, mutex, end ?? -1) }

  /// Wakes all threads that wait.
  public func wakeAll() { pthread_cond_broadcast(condition) }
}
