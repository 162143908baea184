import Applet
import KVM
import Machine
import Platform

/// The state of a program in system mode. Its CPUs run on threads of their own, and share this state; the call of one
/// at a time is answered.
final class ProgramMode {
  /// How a run ends.
  enum End {
    case outcome(Outcome)
    case error(ExecError)
  }

  /// Held while a call or a stop is handled, but not while anything is waited for. Protects the context and all members
  /// below except `end`.
  let callLock = Lock()
  /// Held by the CPU whose call sends output.
  let sending = AbortableLock()
  let reading = AbortableLock()
  let serving = AbortableLock()
  /// The peer; set before the first run.
  var peer: Peer?
  /// The CPU whose call is being answered.
  var caller: CPU?
  /// The call blocks of the CPUs.
  var blocks: [CallBlock?]
  /// CPU 0's registers as they were read last, to find what has changed since; nil while it runs.
  var snapshot: RegisterSnapshot?
  /// Which CPUs are in the monitor's vectors, after an exception.
  var hasFaulted: [Bool]

  /// How the run ended: written by the first end, under the run control's lock, and read when all CPUs have returned.
  private var end: End?
  /// How the machine ended, when it cannot be run again.
  private(set) var final: Outcome?

  init(cpus: Int) {
    blocks = Array(repeating: nil, count: cpus)
    hasFaulted = Array(repeating: false, count: cpus)
  }

  /// Ends the run, unless it is ending already. All CPUs return.
  /// - Parameter cpu: the CPU that the calling thread runs.
  func finish(_ end: End, on cpu: CPU) {
    cpu.control.end(by: cpu.number) {
      self.end = end
      if case .outcome(let outcome) = end { final = outcome }
    }
  }

  /// Returns how the run ended and clears it, when all CPUs have returned.
  func takeEnd() -> End {
    defer { end = nil }
    // A CPU's loop returns only after an end.
    return end ?? .error(.stopped)
  }
}

/// The call block of a CPU: struct applet_block in the context's main memory, which exists as long as the context.
struct CallBlock {
  let words: UnsafeMutablePointer<UInt64>
  /// Its guest addresses.
  let range: GuestRange
}

/// The registers of CPU 0 as they were read from KVM.
struct RegisterSnapshot {
  /// Where the result of a call goes.
  enum Call {
    /// x0; a0 and a1 as SBI defines them.
    case registers
    /// A call block and, on riscv64, the registers.
    case block(UnsafeMutablePointer<UInt64>)
  }

  /// The trap frame before a call was written into it.
  var frame: [UInt64]
  /// The call to be answered; nil for none.
  var call: Call?
  /// Whether a stop or a limit interrupted the call: the program makes it again.
  var restartsCall = false
}
