import Applet
import KVM
import Machine
import Platform

/// Why a context stopped running, other than by exiting.
public enum ExecError: Error, Equatable {
  /// `stop()` was called; `run()` makes an outcome of it.
  case stopped
  /// A limit was passed, and not extended.
  case limit(Limit)
  /// The applet raised an exception that is no call: what, where (PC), and at which address if it was about one.
  case fault(Fault, pc: UInt64, address: UInt64?)
  /// The applet made a call that does not exist.
  case unknownCall(number: UInt64)
  /// The applet handed over memory that is not its own to use so.
  case badRange(call: UInt64, address: UInt64, count: UInt64, Problem)
  /// More bytes of requests or responses wait than may: `ExecCtx.inputLimit`, `outputLimit`.
  case transferLimit
  /// What the applet sent as an RPC request is none.
  case badRequest
  /// Copies that run in lockstep differ, and no majority of them agrees.
  case lockstep(Divergence)
  /// The guest left in a way that this kind of context has no use for.
  case unexpectedExit(Exit)
  /// The shim itself raised an exception: the trap frame was given values that cannot be loaded.
  case shim
  /// The kernel cannot run the guest.
  case kvm(KVMError)
  /// What the applet wrote cannot be passed on.
  case output(Errno)
  /// What the applet wants to read cannot be had.
  case input(Errno)
  /// The host's kernel refuses something that the context needs beside KVM.
  case host(Errno)

  /// What is wrong with a range that an applet handed over.
  public enum Problem: Equatable, Sendable {
    /// It wraps around, or some byte of it is not the applet's memory.
    case outside
    /// The applet itself may not read, or may not write, all of it.
    case access
  }

  /// What happened, in one line.
  public var description: String {
    switch self {
    case .stopped: "stopped"
    case .limit(.deadline): "still running at its time limit"
    case .limit(.cpuBudget): "has used up its processor time"
    case .limit(.callBudget): "has used up the processor time of one call"
    case .fault(let fault, let pc, let address):
      if let address {
        "\(fault.description), address \(hex(address)), at pc \(hex(pc))"
      } else {
        "\(fault.description) at pc \(hex(pc))"
      }
    case .unknownCall(let number): "call \(hex(number)), which does not exist"
    case .badRange(let call, let address, let count, .outside):
      "call \(hex(call)) with \(count) bytes at \(hex(address)), which are not all in its memory"
    case .badRange(let call, let address, let count, .access):
      "call \(hex(call)) with \(count) bytes at \(hex(address)), which it may not access so itself"
    case .transferLimit:
      "more than \(ExecCtx.inputLimit >> 10) KiB of a request, or \(ExecCtx.outputLimit >> 10) KiB of responses, wait"
    case .badRequest: "its RPC request is no JSON-RPC 1.0, or nests deeper than \(RequestScanner.depthLimit) levels"
    case .lockstep(let divergence): "lockstep failure: \(divergence.description)"
    case .unexpectedExit(.systemEvent(let type)): "system event \(type), which this kind of applet cannot ask for"
    case .unexpectedExit(.mmio(let address, _, let isWrite, _)):
      "\(isWrite ? "store to" : "load from") \(hex(address)), where no device is"
    case .unexpectedExit(.failEntry(let reason)): "the processor refused to enter the guest (reason \(hex(reason)))"
    case .unexpectedExit(.internalError(let suberror)): "KVM failed inside (suberror \(suberror))"
    case .unexpectedExit(.hypercall(let function)): "hypercall \(hex(function)), which is not Swiftlet's"
    case .unexpectedExit(.sbi(let number, let function)):
      "SBI call \(hex(number)) function \(hex(function)), which is not Swiftlet's"
    case .unexpectedExit(.interrupted): "interrupted"
    case .unexpectedExit(.unknown(let reason)): "exit \(reason) of KVM, which Swiftlet does not know"
    case .shim: "the shim raised an exception: the trap frame holds values that the processor refuses"
    case .kvm(let error): error.description
    case .output(let errno): "its output cannot be written: \(errno.description)"
    case .input(let errno): "its input cannot be read: \(errno.description)"
    case .host(let errno): "the host refuses what running it needs: \(errno.description)"
    }
  }
}

/// How a context's run ended when nothing went wrong.
public enum Outcome: Equatable, Sendable {
  /// The applet exited with a status, 0 to 255.
  case exited(status: UInt8)
  /// `stop()` ended its run.
  case stopped
  /// A non-secure context: the guest has turned its machine off (PSCI SYSTEM_OFF, SBI SRST).
  case shutdown
  /// A non-secure context: the guest asked for its machine to start anew (PSCI SYSTEM_RESET, SBI SRST).
  case reset
}
