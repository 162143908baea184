import Platform

/// A lock that may be held for a long time: a thread that waits for it can be stopped.
final class AbortableLock: Sendable {
  private let isHeld = Guarded(false)

  /// - Parameter check: called every 10 ms of waiting, because a kick does not end the wait for a condition. It throws
  ///   to give up.
  /// - Throws: the error of `check`. The lock is not held then.
  func acquire(_ check: () throws(ExecError) -> Void) throws(ExecError) {
    while true {
      let isOurs = isHeld.wait(until: Clock.monotonic + RunControl.kickInterval) { isHeld -> Bool? in
        if isHeld { return nil }
        isHeld = true
        return true
      }
      if isOurs != nil { return }
      try check()
    }
  }

  /// Takes the lock if no thread holds it.
  func tryAcquire() -> Bool {
    isHeld.withLock { isHeld in
      defer { isHeld = true }
      return !isHeld
    }
  }

  func release() {
    isHeld.withLock { $0 = false }
    isHeld.wakeAll()
  }
}
