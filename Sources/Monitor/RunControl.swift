import CLinux
import Platform
import Synchronization

/// What other threads do to a running context: stop it, wait for its end.
final class RunControl: Sendable {
  private let isStopRequested = Atomic<Bool>(false)
  /// The thread that runs the context, 0 while none does.
  private let thread = Atomic<Int>(0)
  /// Whether the kick signal was blocked on that thread; for its own use.
  private let wasBlocked = Atomic<Bool>(false)
  /// Whether a run has ended since the last one began.
  private let hasEnded = Atomic<Bool>(false)
  private let lock = Lock()
  /// An event descriptor that wakes a thread that waits in the monitor itself; -1 until one has waited.
  private let event = Atomic<Int32>(-1)

  /// What else ends a wait, so that whoever runs the context looks after it; -1 for none.
  private let attention = Atomic<Int32>(-1)

  init() {}

  /// Sets what else ends a wait.
  func attend(to descriptor: Int32) { attention.store(descriptor, ordering: .relaxed) }

  /// Whether somebody wants attention.
  var isAttentionWanted: Bool { linux_can_read(attention.load(ordering: .relaxed)) }

  deinit {
    let descriptor = event.load(ordering: .relaxed)
    if descriptor >= 0 { _ = linux_close(descriptor) }
  }

  /// Asks for a stop; from any thread.
  /// - Parameter interrupt: makes the vCPU's next entry come back; called while the run cannot end.
  func requestStop(interrupt: () -> Void) {
    wake {
      isStopRequested.store(true, ordering: .sequentiallyConsistent)
      interrupt()
    }
  }

  /// Takes the thread that runs the context out of the guest, or out of its wait; from any thread.
  /// - Parameter interrupt: makes the vCPU's next entry come back; called while the run cannot end.
  func wake(interrupt: () -> Void) {
    lock.withLock {
      interrupt()
      let descriptor = event.load(ordering: .relaxed)
      // A full counter has woken the waiter already.
      if descriptor >= 0 { _ = linux_event_signal(descriptor) }
      let thread = thread.load(ordering: .relaxed)
      // The thread cannot have ended: it takes the lock to say so first. It need not take itself out of the guest.
      if thread != 0, thread != linux_thread_id() { _ = linux_kick(thread) }
    }
  }

  /// Whether a stop was asked for; takes the request back.
  func takeStop() -> Bool {
    guard isStopRequested.load(ordering: .sequentiallyConsistent) else { return false }
    return isStopRequested.exchange(false, ordering: .sequentiallyConsistent)
  }

  /// Marks the calling thread as the one that runs the context.
  func began() {
    wasBlocked.store(linux_kick_unblock() != 0, ordering: .relaxed)
    lock.withLock {
      thread.store(linux_thread_id(), ordering: .relaxed)
      hasEnded.store(false, ordering: .relaxed)
    }
  }

  /// The calling thread does no longer run it.
  func ended() {
    lock.withLock {
      thread.store(0, ordering: .relaxed)
      hasEnded.store(true, ordering: .relaxed)
      lock.wakeAll()
    }
    if wasBlocked.load(ordering: .relaxed) { linux_kick_block() }
  }

  /// Waits until a run has ended.
  /// - Parameter end: CLOCK_MONOTONIC nanoseconds; nil for ever.
  /// - Returns: whether it has.
  func waitForEnd(until end: Int64?) -> Bool {
    lock.withLock {
      while !hasEnded.load(ordering: .relaxed) {
        let now = Clock.monotonic
        if let end, now >= end { return false }
        guard isStopRequested.load(ordering: .sequentiallyConsistent) else {
          lock.wait(until: end)
          continue
        }
        // A kick that came just before the thread began to wait in a system call of its own had no effect: another follows.
        lock.wait(until: min(end ?? .max, now + 10_000_000))
        let thread = thread.load(ordering: .relaxed)
        if thread != 0 { _ = linux_kick(thread) }
      }
      return true
    }
  }

  /// Waits, on the thread that runs the context, until a descriptor can be read, a stop is asked for, or time is up.
  /// - Parameters:
  ///   - descriptor: -1 for none.
  ///   - nanoseconds: nil for ever.
  /// - Returns: whether the descriptor can be read (or has ended).
  func wait(for descriptor: Int32, nanoseconds: Int64?) throws(Errno) -> Bool {
    if event.load(ordering: .relaxed) < 0 {
      let made = Int32(truncatingIfNeeded: try checked(linux_event()))
      lock.withLock {
        event.store(made, ordering: .relaxed)
        if isStopRequested.load(ordering: .sequentiallyConsistent) { _ = linux_event_signal(made) }
      }
    }
    let result = linux_wait_attending(
      descriptor, event.load(ordering: .relaxed), attention.load(ordering: .relaxed), nanoseconds ?? -1)
    if result == -Int(EINTR) { return false }
    return try checked(result) != 0
  }
}
