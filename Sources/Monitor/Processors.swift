import AppletABI
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

  init(number: Int, vcpu: consuming VCPU) {
    self.number = number
    self.vcpu = vcpu
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
        isOver.store(false, ordering: .relaxed)
      }
      // A processor's loop comes back after an end alone.
      return end ?? .error(.stopped)
    }
  }
}
