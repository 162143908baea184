/// A value and the lock that protects it. The value can only be accessed while the lock is held.
public final class Guarded<Value>: @unchecked Sendable {
  // Sendable because each access takes `lock`.
  private let lock = Lock()
  private var value: Value

  /// Protects a value.
  public init(_ value: consuming Value) { self.value = value }

  /// Runs `body` with exclusive access to the value. It must not block.
  @inline(__always)
  public func withLock<Result, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try lock.withLock { () throws(Failure) in try body(&value) }
  }

  /// Waits until `take` returns a result. It is called at once and after each `wakeAll`, with the lock held.
  /// - Parameter end: CLOCK_MONOTONIC time in nanoseconds; nil to wait without a limit.
  /// - Returns: the result of `take`; nil if the time has passed before.
  public func wait<Result>(until end: Int64? = nil, for take: (inout Value) -> Result?) -> Result? {
    lock.withLock {
      while true {
        if let found = take(&value) { return found }
        if let end, Clock.monotonic >= end { return nil }
        lock.wait(until: end)
      }
    }
  }

  /// Wakes all threads that wait for a change of the value.
  public func wakeAll() { lock.wakeAll() }
}
