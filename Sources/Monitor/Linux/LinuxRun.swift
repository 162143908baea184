import Devices
import KVM
import Platform
import Synchronization

/// The processors of a Linux guest and how their run ends: the first who says so decides, whatever thread it is on.
final class LinuxRun: @unchecked Sendable {
  /// A vCPU, and what other threads do to it.
  final class Processor: @unchecked Sendable {
    let vcpu: VCPU
    let control = RunControl()
    init(_ vcpu: consuming VCPU) { self.vcpu = vcpu }
  }

  let processors: [Processor]
  private let lock = Lock()
  private let hasEnding = Atomic<Bool>(false)
  private var outcome: LinuxOutcome?
  private var error: LinuxError?
  /// Called when the run has come to its end, on whatever thread; to be set before it begins.
  var onEnd: (@Sendable () -> Void)?

  init(processors: [Processor]) { self.processors = processors }

  var isOver: Bool { hasEnding.load(ordering: .acquiring) }

  /// Ends the run.
  func end(_ outcome: LinuxOutcome) { end { self.outcome = outcome } }

  /// Ends the run with an error.
  func fail(_ error: LinuxError) { end { self.error = error } }

  private func end(_ record: () -> Void) {
    lock.withLock {
      guard !isOver else { return }
      record()
      hasEnding.store(true, ordering: .releasing)
      for processor in processors { processor.control.requestStop { processor.vcpu.requestExit() } }
    }
    onEnd?()
  }

  /// Looks after the time, for the I/O thread: ends the run at its limit, and sees to it that all processors come back from one
  /// that is over. A kick that came just before one began to wait for the output's reader had no effect: others follow.
  /// - Parameter deadline: CLOCK_MONOTONIC nanoseconds; nil for none.
  /// - Returns: when to be called again.
  func watch(until deadline: Int64?) -> Int64? {
    let now = Clock.monotonic
    if isOver {
      for processor in processors { processor.control.wake { processor.vcpu.requestExit() } }
    } else {
      guard let deadline else { return nil }
      guard now >= deadline else { return deadline }
      end(.timeLimit)
    }
    return now + 10_000_000
  }

  /// Waits until no processor runs any more.
  /// - Returns: how the run ended.
  func result() throws(LinuxError) -> LinuxOutcome {
    for processor in processors { _ = processor.control.waitForEnd(until: nil) }
    return try lock.withLock { () throws(LinuxError) in
      if let error { throw error }
      return outcome ?? .stopped
    }
  }

  /// Runs a processor on the calling thread until the run is over.
  func serve(_ processor: Processor, bus: MMIOBus, output: GuestOutput) {
    processor.control.began()
    defer {
      processor.vcpu.leave()
      processor.control.ended()
    }
    while !isOver {
      let exit: Exit
      do { exit = try processor.vcpu.enter() } catch { return fail(.kvm(error)) }
      switch exit {
      case .mmio(let address, let length, let isWrite, let value):
        if isWrite {
          _ = bus.store(address, length: length, value: value)
        } else {
          // Where no device is, a bus without one reads as all ones.
          processor.vcpu.completeLoad(bus.load(address, length: length) ?? .max)
        }
      case .interrupted: processor.vcpu.clearExitRequest()
      case .systemEvent(let type):
        // Its last words are waited for as all others, and while a limit or a stop can end the wait.
        output.flush()
        end(outcome(of: type, output: output))
      // What the kernel does not answer itself, it has answered with "not supported".
      case .sbi: continue
      default: return fail(.unexpectedExit(exit))
      }
    }
  }

  /// What the guest's last request means (KVM_SYSTEM_EVENT_…).
  private func outcome(of event: UInt32, output: GuestOutput) -> LinuxOutcome {
    switch event {
    case 1: .poweredOff
    case 3: .panicked("it crashed")
    default: output.panic.map { .panicked($0) } ?? .reset(isSilent: output.isSilent)
    }
  }
}
