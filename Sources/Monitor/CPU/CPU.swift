import CLinux
import KVM
import Machine
import Platform
import Synchronization

/// A CPU of a guest: a vCPU and the state of the thread that runs it.
///
/// Sendable because the kernel has a mutex for each vCPU, and because one thread at a time enters it. The run page
/// belongs to that thread, except for `immediate_exit`, which is written atomically.
final class CPU: @unchecked Sendable {
  let vcpu: VCPU
  let number: Int
  let control: RunControl
  /// The CPU-time clock of the thread that runs it, 0 if none does, and that clock's value when it began.
  private let clock = Atomic<Int32>(0)
  private let began = Atomic<Int64>(0)
  /// CPU time of the last run, in nanoseconds.
  private let used = Atomic<Int64>(0)
  /// The vCPU of another context whose handler has called for this run, on the same thread; used by that thread alone.
  private var outer = VCPU.KickTarget.none

  init(number: Int, vcpu: consuming VCPU, control: RunControl) {
    self.number = number
    self.vcpu = vcpu
    self.control = control
  }

  /// Enters the guest and calls `handle` for each exit, until `handle` returns a result.
  /// - Parameter failed: called if KVM cannot run the guest: throws the error, or returns, to enter the guest again.
  @inline(__always)
  func run<Result, Failure: Error>(
    _ handle: (Exit) throws(Failure) -> Result?, failed: (KVMError) throws(Failure) -> Void
  ) throws(Failure) -> Result {
    while true {
      let exit: Exit
      do { exit = try vcpu.enter() } catch {
        try failed(error)
        continue
      }
      if let result = try handle(exit) { return result }
    }
  }

  /// Called by the thread that is going to run this CPU, which then must call `left`. Kicks reach the vCPU from here
  /// on, including earlier ones.
  /// - Returns: the argument for `left`; nil if another thread runs the CPU.
  func entered() -> Bool? {
    let before = VCPU.KickTarget.current
    let wasBlocked = control.entered(number) {
      outer = before
      vcpu.aim()
    }
    guard let wasBlocked else { return nil }
    if control.isStopRequested || control.isEnding { vcpu.requestExit() }
    return wasBlocked
  }

  func left(wasBlocked: Bool) {
    vcpu.leave(to: outer)
    control.left(number, wasBlocked: wasBlocked)
  }

  // MARK: CPU time

  /// CPU time of the current or last run, in nanoseconds. Any thread may read it.
  var time: Int64 {
    let clock = clock.load(ordering: .acquiring)
    // The thread may end at any moment, and its clock with it.
    let now = clock == 0 ? -1 : linux_clock_of(clock)
    return now < 0 ? used.load(ordering: .acquiring) : now - began.load(ordering: .relaxed)
  }

  /// Sets the time of the last run to zero.
  func resetTime() { used.store(0, ordering: .relaxed) }

  /// Counts the calling thread's CPU time from here on.
  func startTime() {
    began.store(Clock.threadCPU, ordering: .relaxed)
    clock.store(linux_thread_clock(), ordering: .releasing)
  }

  /// Stops counting.
  func stopTime() {
    used.store(Clock.threadCPU - began.load(ordering: .relaxed), ordering: .releasing)
    clock.store(0, ordering: .releasing)
  }
}
