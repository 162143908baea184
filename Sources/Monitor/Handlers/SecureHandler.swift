import Applet
import AppletABI
import CLinux
import Machine
import Platform

/// Answers the calls of a secure context that the ABI header defines: GoTEE's and Swiftlet's own.
/// - Throws: an `ExecError` if the call ends the context's run.
public func secureHandler(_ context: ExecCtx) throws(ExecError) {
  if context.asksForTime { return context.retTime() }
  // A function of its own: the registers that it saves are not saved for the time.
  try answerCounted(context)
}

@inline(never)
private func answerCounted(_ context: ExecCtx) throws(ExecError) { try answer(context, isCounted: true) }

extension ExecCtx {
  /// Go's runtime schedules by the time, so that an applet in Go asks for it more often than for all else: one comparison leads to
  /// it.
  @inline(always)
  fileprivate var asksForTime: Bool { a0 == UInt64(APPLET_CALL_NANOTIME) }
  @inline(always)
  fileprivate func retTime() { ret(Clock.monotonic &+ clocks.timeOfDay) }
}

/// The same, inlined into the run loop: a function would cost each call some 24 instructions. The handlers of the calls are not inlined, so
/// that the registers which they need are saved for their calls only.
/// - Parameter isCounted: whether the call has been counted before, as those of a handler; otherwise it is counted here, by its
///   number.
@inline(always)
func answer(_ context: ExecCtx, isCounted: Bool) throws(ExecError) {
  @inline(always) func count(_ number: Int32) { if !isCounted { context.callCounts.count(number) } }
  @inline(always) func refuse(_ number: UInt64) -> ExecError {
    if !isCounted { context.callCounts.countOther() }
    return .unknownCall(number: number)
  }
  if context.asksForTime {
    count(APPLET_CALL_NANOTIME)
    return context.retTime()
  }
  let number = context.a0
  guard number > UInt64(APPLET_CALL_RPC_RESPONSE) else {
    switch Int32(truncatingIfNeeded: number) {
    case APPLET_CALL_EXIT:
      count(APPLET_CALL_EXIT)
      context.exit(status: 0)
    case APPLET_CALL_PUT_CHARACTER:
      count(APPLET_CALL_PUT_CHARACTER)
      try putCharacter(context)
    case APPLET_CALL_GETRANDOM:
      count(APPLET_CALL_GETRANDOM)
      try getrandom(context)
    case APPLET_CALL_RPC_REQUEST:
      count(APPLET_CALL_RPC_REQUEST)
      try rpcRequest(context)
    default:
      count(APPLET_CALL_RPC_RESPONSE)
      try rpcResponse(context)
    }
    return
  }
  guard number <= UInt64(APPLET_CALL_LAST) else { throw refuse(number) }
  switch Int32(truncatingIfNeeded: number) {
  case APPLET_CALL_WRITE:
    count(APPLET_CALL_WRITE)
    try write(context)
  case APPLET_CALL_READ:
    count(APPLET_CALL_READ)
    try read(context)
  case APPLET_CALL_SLEEP:
    count(APPLET_CALL_SLEEP)
    try sleep(context)
  case APPLET_CALL_YIELD:
    count(APPLET_CALL_YIELD)
    yield(context)
  case APPLET_CALL_REGION:
    count(APPLET_CALL_REGION)
    try region(context)
  case APPLET_CALL_ARGUMENTS:
    count(APPLET_CALL_ARGUMENTS)
    try arguments(context)
  case APPLET_CALL_COUNTER:
    count(APPLET_CALL_COUNTER)
    try counter(context)
  case APPLET_CALL_EXIT_STATUS:
    count(APPLET_CALL_EXIT_STATUS)
    context.exit(status: UInt8(truncatingIfNeeded: context.a1))
  case APPLET_CALL_MONOTONIC:
    count(APPLET_CALL_MONOTONIC)
    context.ret(Clock.monotonic)
  default: throw refuse(number)
  }
}

extension ExecCtx {
  /// Passes the bytes of a buffer of a call to `body`, if the applet itself may access them. In lockstep all copies
  /// must pass the same bytes, and get what `body` writes.
  /// - Parameters:
  ///   - address: the guest address of the first byte. An empty buffer may be at any address.
  ///   - access: `.read` for data that the monitor takes, `.write` for data that it returns.
  ///   - body: must not keep the bytes. They stay mapped until it returns, even if the region is removed meanwhile.
  /// - Throws: `ExecError.badRange`, or `.lockstep`; `body` is not called then.
  @inline(__always)
  public func withBuffer<Result>(
    at address: UInt64, count: UInt64, for access: Access, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) throws(ExecError) -> Result {
    guard let range = GuestRange(start: address, count: count) else {
      throw .badRange(call: a0, address: address, count: count, .outside)
    }
    if let lockstep = applet?.lockstep { try beforeBuffer(range, for: access, lockstep) }
    // `body` may change the context's memory, so no access to it is open during the call.
    let place: (bytes: UnsafeMutableRawBufferPointer, owner: SharedMemory?)
    do { place = try guest.memory.map.locate(range, for: access) } catch {
      throw .badRange(call: a0, address: address, count: count, error == .access ? .access : .outside)
    }
    return withExtendedLifetime(place.owner) {
      let result = body(place.bytes)
      if let lockstep = applet?.lockstep, access.contains(.write) {
        lockstep.copyOutput(range, UnsafeRawBufferPointer(place.bytes))
      }
      return result
    }
  }

  /// Checks that the copies in lockstep agree in the bytes that the monitor is going to read.
  @inline(never)
  private func beforeBuffer(_ range: GuestRange, for access: Access, _ lockstep: LockstepGroup) throws(ExecError) {
    // A range that is rejected is not compared. One that crosses two mappings is not contiguous in this process.
    guard access.contains(.read), (try? memory.withBytes(range, for: access, { _ in })) != nil else { return }
    if let applet { try lockstep.checkInput(range, applet) }
  }
}
