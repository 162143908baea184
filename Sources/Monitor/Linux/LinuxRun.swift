import Devices
import KVM
import Machine
import Platform

/// How the run of a Linux guest ends. The first end counts, on whatever thread it occurs.
///
/// Sendable because of the locks of `ending` and of the run control.
final class LinuxRun: Sendable {
  let control: RunControl
  private let architecture: Architecture
  private let faultInterval: Int64
  private let ending = Guarded<Result<LinuxOutcome, LinuxError>>(.success(.stopped))

  /// - Parameter faultInterval: nanoseconds that an access fault takes a CPU at least (`injectAccessFault`).
  init(_ control: RunControl, architecture: Architecture, faultInterval: Int64 = 100_000_000) {
    self.control = control
    self.architecture = architecture
    self.faultInterval = faultInterval
  }

  var isOver: Bool { control.isEnding }

  /// Ends the run.
  /// - Parameter cpu: the CPU that the calling thread runs; nil for another thread.
  func end(_ outcome: LinuxOutcome, on cpu: CPU? = nil) { end(.success(outcome), on: cpu) }

  /// Ends the run with an error.
  func fail(_ error: LinuxError, on cpu: CPU? = nil) { end(.failure(error), on: cpu) }

  private func end(_ result: Result<LinuxOutcome, LinuxError>, on cpu: CPU?) {
    control.end(by: cpu?.number) { ending.withLock { $0 = result } }
  }

  /// How the run ended, when all CPUs have returned.
  func result() throws(LinuxError) -> LinuxOutcome { try ending.withLock { $0 }.get() }

  /// Called by the I/O thread: ends the run at its deadline, and kicks CPUs that have not returned after the end.
  /// - Parameter deadline: CLOCK_MONOTONIC time in nanoseconds; nil for none.
  /// - Returns: when to call it again.
  func watch(until deadline: Int64?) -> Int64? {
    let now = Clock.monotonic
    if isOver {
      control.kickAll()
    } else {
      guard let deadline else { return nil }
      guard now >= deadline else { return deadline }
      end(.timeLimit)
    }
    return now + RunControl.kickInterval
  }

  /// Runs a CPU on the calling thread until the run ends.
  func serve(_ cpu: CPU, bus: MMIOBus, output: GuestOutput) {
    guard !isOver else { return }
    do throws(LinuxError) {
      try cpu.run { (exit) throws(LinuxError) -> Void? in
        switch exit {
        case .mmio(let address, let length, let isWrite, let value):
          if isWrite {
            _ = bus.store(address, length: length, value: value)
          } else {
            // A load from an address without a device returns all ones, as on a bus.
            cpu.vcpu.completeLoad(bus.load(address, length: length) ?? .max)
          }
        case .interrupted: cpu.vcpu.clearExitRequest()
        case .systemEvent(let type):
          // Wait for the reader of the last output, as long as a limit or a stop can end the wait.
          output.flush()
          end(outcome(of: type, output: output), on: cpu)
        // The kernel has answered SBI calls that it does not support.
        case .sbi: break
        case .accessWithoutSyndrome:
          do throws(KVMError) { try cpu.vcpu.injectAbort() } catch { throw .kvm(error) }
        default: throw .unexpectedExit(exit)
        }
        return isOver ? () : nil
      } failed: { (error) throws(LinuxError) in
        guard error.isAccess else { throw .kvm(error) }
        try injectAccessFault(cpu)
      }
    } catch { fail(error, on: cpu) }
    cpu.vcpu.leave()
  }

  /// riscv64: raises an access fault in the guest: KVM cannot inject one.
  private func injectAccessFault(_ cpu: CPU) throws(LinuxError) {
    let pc: UInt64
    let vector: UInt64
    do throws(KVMError) {
      pc = try cpu.vcpu.register(architecture.facts.programCounter)
      vector = architecture.facts.kernelInjectsAborts ? pc : try cpu.vcpu.register(RISCV64.stvec) & ~3
    } catch { throw .kvm(error) }
    // Its vector would fault forever.
    guard pc != vector else { throw .access(pc: pc) }
    // KVM writes three lines into the host's kernel log for each.
    _ = try? control.wait(cpu.number, for: -1, attention: -1, nanoseconds: faultInterval)
    do throws(KVMError) {
      let settings = RISCV64.accessFault(
        pc: pc, status: try cpu.vcpu.register(RISCV64.sstatus), mode: try cpu.vcpu.register(RISCV64.mode),
        vector: vector)
      for setting in settings { try cpu.vcpu.setRegister(setting.id, setting.value) }
    } catch { throw .kvm(error) }
  }

  /// The meaning of the guest's last request (KVM_SYSTEM_EVENT_…).
  private func outcome(of event: UInt32, output: GuestOutput) -> LinuxOutcome {
    switch event {
    case 1: .poweredOff
    case 3: .panicked("the guest reported a crash")
    default: output.panic.map { .panicked($0) } ?? .reset(isSilent: output.isSilent)
    }
  }
}
