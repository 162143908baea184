import AppletABI
import Machine

/// Answers the calls of a non-secure context: those that an applet has.
/// - Throws: `ExecError.unknownCall` for others, which the program gets as NOT_SUPPORTED; what ends the context's run.
public func nonSecureHandler(_ context: ExecCtx) throws(ExecError) {
  switch context.a0 {
  case UInt64(APPLET_CALL_SECURE): try context.callSecure()
  case UInt64(APPLET_CALL_YIELD):
    guard let trusted = context.processors?.trusted else { return yield(context) }
    try context.yieldToSecure(trusted)
  case UInt64(APPLET_CALL_COUNTER):
    // The counter is a program's own to read.
    do { context.ret(try context.counterFrequency()) } catch { throw .kvm(error) }
  default: try secureHandler(context)
  }
}

extension ExecCtx {
  /// Number of arguments that a call has; 0 for numbers that no call has.
  static func argumentCount(of call: UInt64) -> Int {
    switch Int32(truncatingIfNeeded: call) {
    case APPLET_CALL_EXIT, APPLET_CALL_PUT_CHARACTER, APPLET_CALL_SLEEP, APPLET_CALL_BLOCK: 1
    case APPLET_CALL_GETRANDOM, APPLET_CALL_RPC_REQUEST, APPLET_CALL_RPC_RESPONSE, APPLET_CALL_WRITE, APPLET_CALL_READ,
      APPLET_CALL_REGION, APPLET_CALL_ARGUMENTS, APPLET_CALL_SECURE:
      2
    default: 0
    }
  }
}
