import CLinux
import Platform
import Synchronization

/// The runs of a VM's CPUs, shared by all threads: which thread runs which CPU, whether a stop is requested, and
/// whether the current run is to end.
///
/// A kick makes a thread leave the guest or a wait in the monitor. No kick is lost: its reason is recorded first, and a
/// thread checks the reasons after it has become a target of kicks.
final class RunControl: Sendable {
  /// The state of a run.
  private enum Phase {
    /// Before the first run.
    case ready
    case running
    /// All CPUs must return. The CPU with this number caused it; 0 if another thread did.
    case ending(by: Int)
    case ended
  }

  /// A CPU, as the target of kicks.
  private struct Seat {
    /// The thread that runs it, by its kernel thread ID.
    enum Occupant {
      case none
      /// It may enter the guest.
      case inside(thread: Int)
      /// It does not enter the guest again in this run, but may be in the monitor.
      case back(thread: Int)
    }

    var occupant = Occupant.none
    /// An eventfd that wakes the thread when it waits in the monitor; -1 before its first wait.
    var event: Int32 = -1

    var thread: Int? {
      switch occupant {
      case .none: nil
      case .inside(let thread), .back(let thread): thread
      }
    }

    var isInside: Bool { if case .inside = occupant { true } else { false } }

    func kick() {
      // If the counter is full, the waiting thread is awake already.
      if event >= 0 { _ = linux_eventfd_write(event) }
      // The thread still exists: it leaves its seat before it ends.
      if let thread { _ = linux_kick(thread) }
    }
  }

  private struct State {
    var phase = Phase.ready
    /// By CPU number.
    var seats: [Seat]
    /// The control of a program's peer, which is stopped together with the program.
    var peer: RunControl?
    /// Called when a run is to end, on the thread that ends it.
    var onEnd: (@Sendable () -> Void)?
  }

  private let state: Guarded<State>
  /// Whether the phase is `ending`. Read at each entry.
  private let isEndingNow = Atomic<Bool>(false)
  private let isStopped = Atomic<Bool>(false)
  /// Whether a stop ends the run directly. Otherwise CPU 0 handles it.
  private let stopEndsRun: Bool

  /// Nanoseconds between kicks of a thread that has not returned. A signal that arrives just before a blocking system
  /// call has no effect, and the thread cannot detect this.
  static let kickInterval: Int64 = 10_000_000

  init(cpus count: Int, stopEndsRun: Bool = false) {
    self.stopEndsRun = stopEndsRun
    state = Guarded(State(seats: Array(repeating: Seat(), count: count)))
  }

  deinit {
    state.withLock { state in
      for seat in state.seats where seat.event >= 0 { _ = linux_close(seat.event) }
    }
  }

  // MARK: Any thread

  /// Requests a stop of the current run, or of the next one.
  func stop() {
    if stopEndsRun { return end(by: nil) {} }
    isStopped.store(true, ordering: .sequentiallyConsistent)
    let peer = state.withLock { state in
      state.seats[0].kick()
      return state.peer
    }
    state.wakeAll()
    peer?.stop()
  }

  /// Ends the run, unless it is ending already, or has ended.
  /// - Parameters:
  ///   - number: the CPU that the calling thread runs; nil for another thread.
  ///   - record: stores how the run ended. It is called for the first end only, before any other thread can see it.
  func end(by number: Int?, _ record: () -> Void) {
    let others: (peer: RunControl?, onEnd: (@Sendable () -> Void)?)? = state.withLock { state in
      switch state.phase {
      case .ending, .ended: return nil
      case .ready, .running: break
      }
      record()
      state.phase = .ending(by: number ?? 0)
      isEndingNow.store(true, ordering: .sequentiallyConsistent)
      for cpu in state.seats.indices where cpu != number { state.seats[cpu].kick() }
      return (state.peer, state.onEnd)
    }
    guard let others else { return }
    state.wakeAll()
    others.peer?.stop()
    others.onEnd?()
  }

  /// Whether all CPUs must return.
  var isEnding: Bool { isEndingNow.load(ordering: .acquiring) }

  /// Whether a stop is requested and not handled yet.
  var isStopRequested: Bool { isStopped.load(ordering: .sequentiallyConsistent) }

  /// Kicks all threads.
  func kickAll() { kick(allBut: nil) }

  /// Kicks all threads except that of one CPU.
  func kick(allBut number: Int?) {
    state.withLock { state in
      for cpu in state.seats.indices where cpu != number { state.seats[cpu].kick() }
    }
  }

  /// Waits until the current run has ended, or the first one if none has begun.
  /// - Parameter end: CLOCK_MONOTONIC time in nanoseconds; nil to wait without a limit.
  /// - Returns: whether it has ended.
  func waitUntilDone(until end: Int64?) -> Bool {
    wait(until: end) { if case .ended = $0.phase { true } else { false } }
  }

  /// Waits for a state of the run. If a stop is requested or the run is ending, threads that have not returned are
  /// kicked repeatedly.
  private func wait(until end: Int64?, _ isSo: (State) -> Bool) -> Bool {
    while true {
      let isKicking = isStopRequested || isEnding
      let next = isKicking ? min(end ?? .max, Clock.monotonic + Self.kickInterval) : end
      let found: Bool? = state.wait(until: next) { state in
        if isSo(state) { return true }
        return !isKicking && (isStopRequested || isEnding) ? false : nil
      }
      if found == true { return true }
      guard found == nil else { continue }
      if let end, Clock.monotonic >= end { return false }
      kickAll()
    }
  }

  // MARK: The thread that runs a CPU

  /// Assigns the CPU to the calling thread, so that kicks reach it.
  /// - Parameter aim: directs the thread's kicks to the CPU's vCPU.
  /// - Returns: whether the kick signal was blocked, for `left`; nil if another thread runs the CPU.
  func entered(_ cpu: Int, _ aim: () -> Void) -> Bool? {
    let thread = linux_thread_id()
    let isOurs = state.withLock { state in
      guard state.seats[cpu].thread == nil else { return false }
      aim()
      state.seats[cpu].occupant = .inside(thread: thread)
      guard cpu == 0 else { return true }
      // A run can be ended before it begins.
      if case .ending = state.phase { return true }
      state.phase = .running
      return true
    }
    return isOurs ? linux_kick_unblock() != 0 : nil
  }

  /// Whether any CPU has a thread.
  var isRunning: Bool { state.withLock { $0.seats.contains { $0.thread != nil } } }

  /// Whether the calling thread runs a CPU.
  var isRunningHere: Bool {
    let thread = linux_thread_id()
    return state.withLock { $0.seats.contains { $0.thread == thread } }
  }

  /// The calling thread does not enter the guest again in this run; that of CPU 0 may still wait in the monitor.
  /// Returns when all other threads have returned as well.
  func returned(_ cpu: Int) {
    state.withLock { state in
      if cpu == 0, let thread = state.seats[cpu].thread {
        state.seats[cpu].occupant = .back(thread: thread)
      } else {
        state.seats[cpu].occupant = .none
      }
    }
    state.wakeAll()
    _ = wait(until: nil) { !$0.seats.contains { $0.isInside } }
  }

  /// The calling thread no longer runs the CPU. For CPU 0 this ends the run.
  func left(_ cpu: Int, wasBlocked: Bool) {
    state.withLock { state in
      state.seats[cpu].occupant = .none
      if cpu == 0 { state.phase = .ended }
    }
    state.wakeAll()
    if wasBlocked { linux_kick_block() }
  }

  /// Directs kicks of this control to the thread of another control's CPU, which is about to run this guest.
  func lendThread(of cpu: CPU) {
    let thread = cpu.control.state.withLock { $0.seats[cpu.number].thread }
    if let thread { state.withLock { $0.seats[0].occupant = .inside(thread: thread) } }
  }

  func giveBackThread() { state.withLock { $0.seats[0].occupant = .none } }

  /// Clears the end of a run when all threads have returned, so that another can begin.
  /// - Returns: the CPU that ended it.
  func takeEnd() -> Int {
    state.withLock { state in
      isEndingNow.store(false, ordering: .relaxed)
      guard case .ending(let number) = state.phase else { return 0 }
      state.phase = .running
      return number
    }
  }

  /// Whether a stop is requested; clears the request.
  func takeStop() -> Bool {
    isStopRequested && isStopped.exchange(false, ordering: .sequentiallyConsistent)
  }

  /// Waits, on the CPU's thread, until a descriptor is readable, a kick arrives, or the time has passed.
  /// - Parameters:
  ///   - descriptor: -1 for none.
  ///   - attention: another descriptor that ends the wait; -1 for none.
  ///   - nanoseconds: nil to wait without a limit.
  /// - Returns: whether the descriptor is readable or has reached its end.
  func wait(_ cpu: Int, for descriptor: Int32, attention: Int32, nanoseconds: Int64?) throws(Errno) -> Bool {
    var event = state.withLock { $0.seats[cpu].event }
    if event < 0 {
      event = Int32(truncatingIfNeeded: try checked(linux_eventfd()))
      state.withLock { $0.seats[cpu].event = event }
      if isStopRequested || isEnding { _ = linux_eventfd_write(event) }
    }
    let result = linux_wait_attending(descriptor, event, attention, nanoseconds ?? -1)
    if result == -Int(EINTR) { return false }
    return try checked(result) != 0
  }

  // MARK: Before a run

  /// Stops another control together with this one.
  func stop(with peer: RunControl) { state.withLock { $0.peer = peer } }

  /// Sets the function that is called when a run is to end.
  func onEnd(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onEnd = body } }
}
