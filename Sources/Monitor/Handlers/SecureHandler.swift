import Applet
import AppletABI
import CLinux
import Machine
import Platform

/// Answers the calls of a secure context, as the ABI header has them: GoTEE's and Swiftlet's own.
/// - Throws: `ExecError` where the call ends the context's run.
public func secureHandler(_ context: ExecCtx) throws(ExecError) { try answer(context) }

/// The same, for the run path, where a call and a return would be a tenth of what a call costs the monitor.
@inline(__always)
func answer(_ context: ExecCtx) throws(ExecError) {
  let number = context.a0
  // GoTEE's calls come first: one comparison leads to them.
  guard number > UInt64(APPLET_CALL_RPC_RESPONSE) else {
    switch Int32(truncatingIfNeeded: number) {
    case APPLET_CALL_EXIT: context.exit(status: UInt8(truncatingIfNeeded: context.a1))
    case APPLET_CALL_PUT_CHARACTER: try putCharacter(context)
    case APPLET_CALL_NANOTIME: context.ret(Clock.monotonic)
    case APPLET_CALL_GETRANDOM: try getrandom(context)
    case APPLET_CALL_RPC_REQUEST: try rpcRequest(context)
    default: try rpcResponse(context)
    }
    return
  }
  guard number <= UInt64(APPLET_CALL_LAST) else { throw .unknownCall(number: number) }
  switch Int32(truncatingIfNeeded: number) {
  case APPLET_CALL_WRITE: try write(context)
  case APPLET_CALL_READ: try read(context)
  case APPLET_CALL_SLEEP: try sleep(context)
  case APPLET_CALL_YIELD: yield(context)
  case APPLET_CALL_REGION: try region(context)
  case APPLET_CALL_ARGUMENTS: try arguments(context)
  case APPLET_CALL_COUNTER: try counter(context)
  default: throw .unknownCall(number: number)
  }
}

extension ExecCtx {
  /// Gives `body` the bytes of a buffer that the applet handed over, if the applet itself may use them so. In lockstep all copies
  /// must hand over the same bytes, and are given what `body` writes.
  /// - Parameters:
  ///   - address: the first byte's, as the applet has it. A buffer of no bytes may lie anywhere.
  ///   - access: `.read` for what the monitor takes, `.write` for what it gives.
  ///   - body: must not keep the bytes.
  /// - Throws: `ExecError.badRange`, and `.lockstep`; `body` is not called then.
  @inline(__always)
  public func withBuffer<Result>(
    at address: UInt64, count: UInt64, for access: Access, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) throws(ExecError) -> Result {
    guard let range = GuestRange(start: address, count: count) else {
      throw .badRange(call: a0, address: address, count: count, .outside)
    }
    if lockstep != nil { try beforeBuffer(range, for: access) }
    let result: Result
    do { result = try memory.withBytes(range, for: access, body) } catch {
      throw .badRange(call: a0, address: address, count: count, error == .access ? .access : .outside)
    }
    if lockstep != nil, access.contains(.write) { lockstep?.copyOutput(range) }
    return result
  }

  /// In lockstep, the copies must agree in what the monitor is going to read.
  @inline(never)
  private func beforeBuffer(_ range: GuestRange, for access: Access) throws(ExecError) {
    // What is refused is not compared: it may run from one piece of memory into another, which is elsewhere in this process.
    guard access.contains(.read), (try? memory.withBytes(range, for: access, { _ in })) != nil else { return }
    try lockstep?.checkInput(range)
  }
}
