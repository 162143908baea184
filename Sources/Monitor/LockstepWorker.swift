import CLinux
import KVM
import Machine
import Platform
import Synchronization

/// A thread that runs one shadow while other threads run the other copies.
final class LockstepWorker: @unchecked Sendable {
  private enum State: Int {
    case idle, go, finished, quit
  }

  private let shadow: ExecCtx
  private let state = Atomic<Int>(State.idle.rawValue)
  private let isCancelled = Atomic<Bool>(false)
  private let threadID = Atomic<Int>(0)
  private let lock = Lock()
  private let spins: Int
  private var thread: Thread?
  /// What the last turn came to; written by the worker before `finished`, read by others behind it.
  private var result: Result<ExecCtx.Event, ExecError> = .success(.interrupted)

  /// - Parameter spins: times to look before going to sleep: a thread that sleeps takes some thousand instructions to wake.
  init(_ shadow: ExecCtx, spins: Int) throws(Errno) {
    self.shadow = shadow
    self.spins = spins
    // The worker is told to quit and waited for before this object ends.
    let worker = Unmanaged.passUnretained(self)
    thread = try Thread { worker.takeUnretainedValue().serve() }
  }

  deinit { precondition(thread == nil, "quit() comes first") }

  /// Ends the thread. No turn may be under way.
  func quit() {
    set(.quit)
    thread?.join()
    thread = nil
  }

  /// Begins a turn: the shadow runs to its next event.
  func start() {
    isCancelled.store(false, ordering: .relaxed)
    set(.go)
  }

  /// Waits for the end of the turn.
  /// - Parameter end: CLOCK_MONOTONIC nanoseconds at which the shadow is interrupted.
  func finish(by end: Int64) throws(ExecError) -> ExecCtx.Event {
    if !wait(for: .finished, until: end) {
      cancel()
      _ = wait(for: .finished, until: nil)
    }
    state.store(State.idle.rawValue, ordering: .releasing)
    return try result.get()
  }

  /// Interrupts the shadow: the turn under way ends soon.
  func cancel() {
    isCancelled.store(true, ordering: .sequentiallyConsistent)
    shadow.vcpu.requestExit()
    _ = linux_kick(threadID.load(ordering: .acquiring))
  }

  private func set(_ new: State) {
    state.store(new.rawValue, ordering: .sequentiallyConsistent)
    lock.withLock { lock.wakeAll() }
  }

  private func wait(for wanted: State, until end: Int64?) -> Bool {
    for _ in 0..<spins where state.load(ordering: .acquiring) == wanted.rawValue { return true }
    return lock.withLock {
      while state.load(ordering: .acquiring) != wanted.rawValue {
        if let end, Clock.monotonic >= end { return false }
        lock.wait(until: end)
      }
      return true
    }
  }

  /// What the thread does.
  private func serve() {
    _ = linux_kick_unblock()
    threadID.store(linux_thread_id(), ordering: .releasing)
    while true {
      var now = state.load(ordering: .acquiring)
      var looks = 0
      while now != State.go.rawValue, now != State.quit.rawValue {
        looks += 1
        if looks > spins {
          lock.withLock {
            while true {
              now = state.load(ordering: .acquiring)
              if now == State.go.rawValue || now == State.quit.rawValue { return }
              lock.wait()
            }
          }
        } else {
          now = state.load(ordering: .acquiring)
        }
      }
      if now == State.quit.rawValue { return shadow.vcpu.leave() }
      do throws(ExecError) { result = .success(try turn()) } catch { result = .failure(error) }
      set(.finished)
    }
  }

  private func turn() throws(ExecError) -> ExecCtx.Event {
    while true {
      let event = try shadow.enter()
      guard event == .interrupted else { return event }
      shadow.vcpu.clearExitRequest()
      if isCancelled.load(ordering: .sequentiallyConsistent) { return .interrupted }
    }
  }
}
