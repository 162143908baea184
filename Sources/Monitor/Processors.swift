import AppletABI
import CLinux
import Devices
import KVM
import Machine
import Platform
import Synchronization

/// What a non-secure context's machine has beside memory and processors.
public protocol Peripherals: AnyObject {
  /// Makes what has to be there before the processors are.
  func prepare(_ machine: borrowing VirtualMachine) throws(KVMError)
  /// Completes what needs the processors, before any of them runs.
  func complete(_ machine: borrowing VirtualMachine) throws(KVMError)
  /// The devices that the guest reaches by loads and stores. They are used by several threads at a time.
  var bus: MMIOBus { get }
}

/// A processor of a non-secure context beside the first.
final class Processor: @unchecked Sendable {
  let number: Int
  let vcpu: VCPU
  let control = RunControl()
  /// The clock of the thread that runs it, and what it has used of a processor once it has ended.
  private let clock = Atomic<Int32>(0)
  private let used = Atomic<Int64>(0)

  init(number: Int, vcpu: consuming VCPU) {
    self.number = number
    self.vcpu = vcpu
  }

  /// Processor time of its present run or its last one, in nanoseconds; on any thread.
  var time: Int64 {
    let clock = clock.load(ordering: .acquiring)
    // The thread may end meanwhile, and its clock with it.
    let now = clock == 0 ? -1 : linux_clock_of(clock)
    return now < 0 ? used.load(ordering: .acquiring) : now
  }

  /// Forgets the time of the last run.
  func resetTime() { used.store(0, ordering: .relaxed) }

  /// The calling thread, made for this run, runs it: `body` does.
  func measured(_ body: () -> Void) {
    clock.store(linux_thread_clock(), ordering: .releasing)
    body()
    used.store(Clock.threadCPU, ordering: .releasing)
    clock.store(0, ordering: .releasing)
  }
}

/// What one processor at a time does, and may take its time for. Who waits for it can be stopped meanwhile.
final class Turn: @unchecked Sendable {
  private let lock = Lock()
  private var isTaken = false

  /// - Parameter check: asked every 10 ms of waiting; throws to wait no longer.
  /// - Throws: what `check` does; then the turn is not taken.
  func take(_ check: () throws(ExecError) -> Void) throws(ExecError) {
    while true {
      let isOurs = lock.withLock {
        // A kick ends no wait for a condition.
        if isTaken { lock.wait(until: Clock.monotonic + 10_000_000) }
        if isTaken { return false }
        isTaken = true
        return true
      }
      if isOurs { return }
      try check()
    }
  }

  func giveBack() {
    lock.withLock {
      isTaken = false
      lock.wakeAll()
    }
  }
}

/// What the processors of a non-secure context share: each runs on a thread of its own, and one at a time is in the monitor.
final class Processors: @unchecked Sendable {
  /// All but the first, whose vCPU and control are the context's.
  let others: [Processor]
  let bus: MMIOBus

  /// How a run ends.
  enum End {
    case outcome(Outcome)
    case error(ExecError)
  }

  /// Held while a call or a stop is dealt with.
  let monitor = Lock()
  /// Taken by who sends output.
  let sending = Turn()
  /// The applet that they may call; set before the first run.
  var trusted: Trusted?
  /// The control of the processor whose call that is.
  var caller: RunControl?
  /// The blocks that processors have named for their calls: struct applet_block in the context's main memory, which lives as
  /// long as the context.
  var blocks: [UnsafeMutablePointer<UInt64>?]

  /// The registers as they were taken from the first processor last, for what has changed since; nil while it runs.
  var taken: TakenRegisters?

  private let lock = Lock()
  private var end: End?
  /// Whether the first processor has come back since there is an end.
  private var isFirstBack = false
  /// The processor whose exit or call the end came of.
  private(set) var ending = 0
  /// Which processors stand in the monitor's own vectors, behind an exception; with the monitor's lock held, or after the run.
  var areInVectors: [Bool]
  /// Whether there is an end: asked at each entry, without the lock.
  private let isOver = Atomic<Bool>(false)
  /// What the machine ended with, once it is off for good.
  private(set) var final: Outcome?

  /// What stands for the trap frame: the registers of the call that is dealt with.
  let frame: UnsafeMutablePointer<UInt64>

  init(others: [Processor], bus: MMIOBus, architecture: Architecture) {
    self.others = others
    self.bus = bus
    blocks = Array(repeating: nil, count: others.count + 1)
    areInVectors = Array(repeating: false, count: others.count + 1)
    frame = .allocate(capacity: Int(APPLET_FRAME_WORDS))
    frame.initialize(repeating: 0, count: Int(APPLET_FRAME_WORDS))
    frame[Int(APPLET_FRAME_CAUSE)] = architecture.systemCallCause
    frame[Int(APPLET_FRAME_STATUS)] = architecture.systemStatus
  }

  deinit { frame.deallocate() }

  var hasEnded: Bool { isOver.load(ordering: .acquiring) }

  /// Ends the run, unless it has ended already.
  /// - Parameter number: of the processor that it came of.
  /// - Returns: whether it has not.
  func finish(_ end: End, of number: Int) -> Bool {
    lock.withLock {
      guard self.end == nil else { return false }
      self.end = end
      ending = number
      if case .outcome(let outcome) = end { final = outcome }
      isOver.store(true, ordering: .releasing)
      return true
    }
  }

  /// Takes the end of the run, so that another can begin.
  func takeEnd() -> End {
    lock.withLock {
      defer {
        end = nil
        isFirstBack = false
        isOver.store(false, ordering: .relaxed)
      }
      // A processor's loop comes back after an end alone.
      return end ?? .error(.stopped)
    }
  }

  /// The first processor is back: its thread enters the guest no more.
  func firstIsBack() {
    lock.withLock {
      isFirstBack = true
      lock.wakeAll()
    }
  }

  /// Waits for that, on the thread of another processor, behind the end of the run.
  /// - Parameter kick: takes it out of whatever it is in. One that came just before it began to wait in a system call had no
  ///   effect: another follows.
  func waitForFirst(_ kick: () -> Void) {
    lock.withLock {
      while !isFirstBack {
        lock.wait(until: Clock.monotonic + 10_000_000)
        if !isFirstBack { kick() }
      }
    }
  }
}
