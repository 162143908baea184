import CLinux

/// A mutual-exclusion lock and its condition variable: pthread_mutex_t and pthread_cond_t.
public final class Lock: @unchecked Sendable {
  // Sendable because any thread may use the two. Neither may move after its first use, so they are allocated separately.
  private let pair: UnsafeMutablePointer<linux_lock>

  /// An unlocked lock.
  public init() {
    pair = .allocate(capacity: 1)
    // With these attributes neither this nor the calls below can fail.
    pthread_mutex_init(&pair.pointee.mutex, nil)
    linux_condition_init(&pair.pointee.condition)
  }

  deinit {
    pthread_cond_destroy(&pair.pointee.condition)
    pthread_mutex_destroy(&pair.pointee.mutex)
    pair.deallocate()
  }

  /// Runs `body` while no other thread runs one under this lock.
  @inline(__always)
  public func withLock<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(&pair.pointee.mutex)
    defer { pthread_mutex_unlock(&pair.pointee.mutex) }
    return try body()
  }

  /// Locks; the same thread must call `release`. For code where a closure cannot enclose the critical section.
  @inline(__always)
  package func acquire() { pthread_mutex_lock(&pair.pointee.mutex) }
  @inline(__always)
  package func release() { pthread_mutex_unlock(&pair.pointee.mutex) }

  /// Releases the lock, waits until another thread calls `wakeAll` or the deadline passes, and locks again. To be called inside
  /// `withLock`, in a loop that checks the condition.
  /// - Parameter end: the deadline, in nanoseconds of CLOCK_MONOTONIC; nil for none.
  public func wait(until end: Int64? = nil) {
    linux_condition_wait(&pair.pointee.condition, &pair.pointee.mutex, end ?? -1)
  }

  /// Wakes all waiting threads.
  public func wakeAll() { pthread_cond_broadcast(&pair.pointee.condition) }
}
