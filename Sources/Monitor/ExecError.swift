import Applet
import KVM
import Machine
import Platform

/// Why a context stopped running, other than by exiting.
public enum ExecError: Error, Equatable {
  /// `stop()` was called; `run()` turns this into an outcome.
  case stopped
  /// A limit was exceeded and not extended.
  case limit(Limit)
  /// The applet raised an exception that is not a call, with its PC and, for a memory access, its address.
  case fault(Fault, pc: UInt64, address: UInt64?)
  /// The applet made a call with an undefined number.
  case unknownCall(number: UInt64)
  /// The applet passed a memory range to a call that it may not access in this way.
  case badRange(call: UInt64, address: UInt64, count: UInt64, Problem)
  /// Too many bytes of requests or responses are pending: `ExecCtx.rpcLimit`.
  case transferLimit
  /// The data that the applet sent is not an RPC request.
  case badRequest
  /// Copies in lockstep differ, and no majority of them agrees.
  case lockstep(Divergence)
  /// An exit that this kind of context does not handle.
  case unexpectedExit(Exit)
  /// The shim itself raised an exception or does not return: the trap frame has values that cannot be loaded.
  case shim
  /// KVM returned an error.
  case kvm(KVMError)
  /// The applet's output cannot be written.
  case output(Errno)
  /// The applet's input cannot be read.
  case input(Errno)
  /// The host's kernel denies something other than KVM that the context needs.
  case host(Errno)
  /// The caller named a register that does not exist.
  case noRegister(Int)
  /// The caller named a CPU that does not exist.
  case noCPU(Int)
  /// The context is running already: its handler or another thread tried to run it again.
  case running

  /// What is wrong with a memory range of a call.
  public enum Problem: Equatable, Sendable {
    /// It wraps around, or is not completely in the applet's memory.
    case outside
    /// The applet has no read or no write access to all of it.
    case access
  }

  /// A description, in one line.
  public var description: String {
    switch self {
    case .stopped: "stopped"
    case .limit(.deadline): "timed out"
    case .limit(.cpuBudget): "exceeded its CPU budget"
    case .limit(.callBudget): "exceeded the CPU budget of a call"
    case .fault(let fault, let pc, let address):
      if let address {
        "\(fault.description), address \(hex(address)), at pc \(hex(pc))"
      } else {
        "\(fault.description) at pc \(hex(pc))"
      }
    case .unknownCall(let number): "call \(hex(number)), which is not defined"
    case .badRange(let call, let address, let count, .outside):
      "call \(hex(call)) with \(count) bytes at \(hex(address)), which are not completely in its memory"
    case .badRange(let call, let address, let count, .access):
      "call \(hex(call)) with \(count) bytes at \(hex(address)), which it has no permission to access in this way"
    case .transferLimit:
      "more bytes of RPC requests or responses are pending than its limit allows: it must fetch the responses"
    case .badRequest: "its RPC request is not JSON-RPC 1.0, or nested deeper than \(RequestScanner.depthLimit) levels"
    case .lockstep(let divergence): "lockstep failure: \(divergence.description)"
    case .unexpectedExit(.systemEvent(let type)): "system event \(type), which this kind of guest cannot request"
    case .unexpectedExit(.mmio(let address, _, let isWrite, _)),
      .unexpectedExit(.accessWithoutSyndrome(let address, let isWrite)):
      "\(isWrite ? "store to" : "load from") \(hex(address)), where there is no device"
    case .unexpectedExit(.failEntry(let reason)): "the CPU failed to enter the guest (reason \(hex(reason)))"
    case .unexpectedExit(.internalError(let suberror)): "KVM reported an internal error (suberror \(suberror))"
    case .unexpectedExit(.hypercall(let function)): "hypercall \(hex(function)), which is not Swiftlet's"
    case .unexpectedExit(.sbi(let number, let function)):
      "SBI call \(hex(number)) function \(hex(function)), which is not Swiftlet's"
    case .unexpectedExit(.interrupted): "interrupted"
    case .unexpectedExit(.unknown(let reason)): "KVM exit \(reason), which Swiftlet does not support"
    case .shim: "the shim raised an exception: the trap frame holds values that the CPU rejects"
    case .kvm(let error): error.description
    case .output(let errno): "its output cannot be written: \(errno.description)"
    case .input(let errno): "its input cannot be read: \(errno.description)"
    case .noRegister(let number): "there is no register \(number)"
    case .noCPU(let number): "there is no CPU \(number)"
    case .running: "it is running already"
    case .host(let errno): "the host denies what it needs to run: \(errno.description)"
    }
  }
}

/// How a context's run ended without an error.
public enum Outcome: Equatable, Sendable {
  /// The applet exited with a status, 0 to 255.
  case exited(status: UInt8)
  /// `stop()` ended the run.
  case stopped
  /// A non-secure context: the guest powered off its VM (PSCI SYSTEM_OFF, SBI SRST).
  case shutdown
  /// A non-secure context: the guest requested a reset (PSCI SYSTEM_RESET, SBI SRST).
  case reset
}
