import Applet
import Machine

extension ExecCtx {
  /// Why a run of this context ended, in one line: the error, and the place in the program as symbol and offset.
  public func description(of error: ExecError) -> String {
    let place = name(of: pc).map { ", in \($0)" } ?? ""
    switch error {
    case .limit: return "\(error.description), and was stopped at pc \(hex(pc))\(place)"
    case .fault(let fault, let pc, _):
      let exception = architecture.exceptionName(fault).map { "\($0): " } ?? ""
      let isRefused = fault == .undefinedInstruction || fault == .privilegedInstruction
      return exception + error.description + place + (isRefused && isPrivileged(at: pc) ? Self.hint : "")
    // Its first argument is in the register of an applet's call number, and may be the number of one.
    case .unknownCall, .badRange:
      let isSystemCall = isSecure && architecture.isSystemCall { frame[$0] }
      return error.description + place + (isSystemCall ? Self.hint : "")
    case .transferLimit, .badRequest, .unexpectedExit, .shim: return error.description + place
    case .stopped, .lockstep, .kvm, .output, .input, .host, .noRegister, .noCPU, .running:
      return error.description
    }
  }

  private static var hint: String { ": a program for system mode needs --non-secure" }

  private func isPrivileged(at address: UInt64) -> Bool {
    guard isSecure, let bytes = try? readMemory(at: address, count: 4) else { return false }
    return architecture.isPrivileged(instruction: bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) })
  }
}
