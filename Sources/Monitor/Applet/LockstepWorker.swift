import CLinux
import KVM
import Machine
import Platform
import Synchronization

/// A thread that runs one shadow while other threads run the other copies.
///
/// Sendable because of `state`: the shadow and `result` belong to the worker from `go` to `finished`, and to its
/// creator otherwise.
final class LockstepWorker: @unchecked Sendable {
  private enum State: Int {
    case idle, go, finished, quit
  }

  private let shadow: GuestMachine
  private let state = Atomic<Int>(State.idle.rawValue)
  private let isCancelled = Atomic<Bool>(false)
  private let threadID = Atomic<Int>(0)
  private let lock = Lock()
  private let spins: Int
  private var thread: Thread?
  /// The result of the last entry: written by the worker before `finished`, read by others after it.
  private var result: Result<EntryEvent, ExecError> = .success(.interrupted)

  /// - Parameter spins: how often to check before sleeping: to wake a thread takes thousands of instructions.
  init(_ shadow: GuestMachine, spins: Int) throws(Errno) {
    self.shadow = shadow
    self.spins = spins
    // `quit` ends and joins the worker before this object is released.
    let worker = Unmanaged.passUnretained(self)
    thread = try Thread { worker.takeUnretainedValue().serve() }
  }

  deinit { precondition(thread == nil, "quit() was not called") }

  /// Ends the thread. The shadow must not be running.
  func quit() {
    set(.quit)
    thread?.join()
    thread = nil
  }

  /// Starts the shadow, which runs to its next event.
  func start() {
    isCancelled.store(false, ordering: .relaxed)
    set(.go)
  }

  /// Waits until the shadow has stopped.
  /// - Parameter end: CLOCK_MONOTONIC nanoseconds at which the shadow is interrupted.
  func finish(by end: Int64) throws(ExecError) -> EntryEvent {
    if !wait(for: .finished, until: end) {
      cancel()
      _ = wait(for: .finished, until: nil)
    }
    state.store(State.idle.rawValue, ordering: .releasing)
    return try result.get()
  }

  /// Interrupts the shadow, so that `finish` returns soon.
  func cancel() {
    isCancelled.store(true, ordering: .sequentiallyConsistent)
    shadow.cpu.vcpu.requestExit()
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

  /// The thread's main function.
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
      if now == State.quit.rawValue { return shadow.cpu.vcpu.leave() }
      do throws(ExecError) { result = .success(try turn()) } catch { result = .failure(error) }
      set(.finished)
    }
  }

  private func turn() throws(ExecError) -> EntryEvent {
    try shadow.run { isCancelled.load(ordering: .sequentiallyConsistent) }
  }
}
