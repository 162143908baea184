import AppletABI
import Machine

/// Answers those calls of an applet that a program in system mode can make, too.
/// - Throws: `ExecError.unknownCall` for others, which return NOT_SUPPORTED to the program; other errors end the
///   context's run.
public func nonSecureHandler(_ context: ExecCtx) throws(ExecError) {
  switch context.a0 {
  case UInt64(APPLET_CALL_SECURE): try context.callSecure()
  case UInt64(APPLET_CALL_YIELD):
    guard let peer = context.program?.peer else { return yield(context) }
    try context.yieldToSecure(peer)
  case UInt64(APPLET_CALL_COUNTER):
    // A program may read the counter itself.
    do { context.ret(try context.counterFrequency()) } catch { throw .kvm(error) }
  default: try secureHandler(context)
  }
}

extension ExecCtx {
  /// The number of arguments of a call; 0 for undefined calls.
  static func argumentCount(of call: UInt64) -> Int {
    switch Int32(truncatingIfNeeded: call) {
    case APPLET_CALL_PUT_CHARACTER, APPLET_CALL_SLEEP, APPLET_CALL_EXIT_STATUS, APPLET_CALL_BLOCK: 1
    case APPLET_CALL_GETRANDOM, APPLET_CALL_RPC_REQUEST, APPLET_CALL_RPC_RESPONSE, APPLET_CALL_WRITE, APPLET_CALL_READ,
      APPLET_CALL_REGION, APPLET_CALL_ARGUMENTS, APPLET_CALL_SECURE:
      2
    default: 0
    }
  }
}
