import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// A secure context beside a non-secure one, which the monitor schedules when the other asks for it.
final class Trusted: @unchecked Sendable {
  let context: ExecCtx
  let onEnd: (ExecCtx, Result<UInt8, ExecError>) -> Void

  /// What the applet is at.
  enum State {
    /// It does as it likes, and has asked for no request yet.
    case running
    /// It waits for a request, to be placed at an address of its own.
    case waiting(at: UInt64)
    /// It works on a request.
    case serving
    case ended
  }

  var state = State.running
  /// Taken while the applet runs: two processors may ask for it.
  let turns = Turn()

  init(_ context: ExecCtx, onEnd: @escaping (ExecCtx, Result<UInt8, ExecError>) -> Void) {
    self.context = context
    self.onEnd = onEnd
  }
}

/// Why an applet's turn is over.
private enum TurnEnd {
  /// It has answered the request that it worked on.
  case answered(UInt64)
  /// It waits for a request.
  case waits
  case yielded
  case ended
}

/// Why a trusted applet cannot be put beside a context.
public enum ConnectError: Error, Equatable {
  /// The main context is no non-secure one, or the other no secure one, or one of them has a partner or copies already.
  case notFit
  /// There is no room for the shared memory: whose, and why not.
  case region(isSecure: Bool, RegionError)
  case host(Errno)

  public var description: String {
    switch self {
    case .notFit: "a program in system mode takes one applet beside it, without copies"
    case .region(_, let error):
      "the memory that both share cannot be at \(hex(ExecCtx.sharedAddress)): \(error.description)"
    case .host(let errno): "there is no memory for both to share: \(errno.description)"
    }
  }
}

extension ExecCtx {
  /// Where both find the memory that they share, and its size in bytes.
  public static let sharedAddress: UInt64 = 0x7000_0000
  public static let sharedSize = 64 << 10
  static let sharedRange = sharedAddress..<sharedAddress + UInt64(sharedSize)

  /// Puts a trusted applet beside this non-secure context, before its first run, and maps `sharedSize` bytes at `sharedAddress`
  /// in both. The context runs; the applet does when the context asks for it, on the thread of the processor that asks, and
  /// ends with the context. A limit of the context's time holds for both. Their device trees tell of the memory where they were
  /// made with `Options.sharesMemory`.
  /// - Parameter onEnd: told, on that thread, how the applet ended, with its status or the error; the context runs on.
  /// - Throws: `ConnectError`.
  public func connect(
    _ applet: ExecCtx, onEnd: @escaping (ExecCtx, Result<UInt8, ExecError>) -> Void = { _, _ in }
  ) throws(ConnectError) {
    guard let processors, processors.trusted == nil, applet.isSecure, applet.lockstep == nil, applet !== self else {
      throw .notFit
    }
    let shared: SharedMemory
    do { shared = try SharedMemory(count: Self.sharedSize, hugePages: false, kernel: kernel) } catch {
      throw .host(error)
    }
    do { try addRegion(at: Self.sharedAddress, shared, access: [.read, .write]) } catch {
      throw .region(isSecure: false, error)
    }
    do { try applet.addRegion(at: Self.sharedAddress, shared, access: [.read, .write]) } catch {
      throw .region(isSecure: true, error)
    }
    processors.trusted = Trusted(applet, onEnd: onEnd)
  }

  // MARK: What the main context asks for

  /// Call 0x107: the applet works on a request until it has an answer.
  func callSecure() throws(ExecError) {
    guard let trusted = processors?.trusted else { throw .unknownCall(number: a0) }
    let request = (a1, a2)
    let answer = try besideMonitor(trusted) { control throws(ExecError) -> UInt64? in
      while true {
        switch trusted.state {
        case .ended: return nil
        case .waiting(let address): try deliver(request, to: trusted, at: address)
        // A request under way is this one: the context was stopped meanwhile, and asks again.
        case .running, .serving: break
        }
        if case .answered(let answer) = try turn(trusted, control) { return answer }
      }
    }
    if let answer { ret(answer) } else { ret(-Int64(EPIPE)) }
  }

  /// Call 0x103, beside an applet: it has a turn.
  func yieldToSecure(_ trusted: Trusted) throws(ExecError) {
    let isThere = try besideMonitor(trusted) { control throws(ExecError) -> Bool in
      switch trusted.state {
      case .ended: return false
      case .waiting: return true
      case .running, .serving:
        if case .ended = try turn(trusted, control) { return false }
        return true
      }
    }
    ret(isThere ? 0 : -Int64(EPIPE))
  }

  /// Lets the other processors into the monitor while this one runs the applet.
  private func besideMonitor<Result>(
    _ trusted: Trusted, _ body: (RunControl) throws(ExecError) -> Result
  ) throws(ExecError) -> Result {
    guard let processors, let caller = processors.caller else { throw .stopped }
    return try lettingOthersIn(processors, caller) { () throws(ExecError) in
      // The applet may be busy for ever with what another processor has asked it.
      try trusted.turns.take { () throws(ExecError) in try checkStopsBeside(caller) }
      defer { trusted.turns.giveBack() }
      return try body(caller)
    }
  }

  // MARK: The applet's side

  private func deliver(_ request: (UInt64, UInt64), to trusted: Trusted, at address: UInt64) throws(ExecError) {
    let applet = trusted.context
    let words = applet_request(number: request.0, argument: request.1)
    do throws(ExecError) {
      try applet.withBuffer(at: address, count: UInt64(MemoryLayout<applet_request>.size), for: .write) { buffer in
        withUnsafeBytes(of: words) { buffer.copyMemory(from: $0) }
      }
      applet.ret(UInt64(0))
      trusted.state = .serving
    } catch { end(trusted, .failure(error)) }
  }

  private func end(_ trusted: Trusted, _ result: Result<UInt8, ExecError>) {
    trusted.state = .ended
    trusted.context.console.flushAtOnce()
    trusted.onEnd(trusted.context, result)
  }

  /// Runs the applet until it answers, waits, yields or ends.
  /// - Throws: what ends this context's run: a stop, a limit.
  private func turn(_ trusted: Trusted, _ control: RunControl) throws(ExecError) -> TurnEnd {
    let applet = trusted.context
    // A stop that came before is seen below; one that comes from now on ends the turn.
    _ = applet.control.takeStop()
    // Limits are the first processor's business: where one passes, it stops the applet on any other.
    applet.limits.deadline = control === self.control ? limits.deadline : nil
    applet.vcpu.clearExitRequest()
    applet.vcpu.aim()
    defer { aimAgain(control) }
    do throws(ExecError) {
      try checkStopsBeside(control)
      while true {
        switch try applet.enter() {
        case .interrupted, .ended:
          applet.vcpu.clearExitRequest()
          try checkStopsBeside(control)
        case .fault(let fault): throw applet.describe(fault)
        case .call:
          applet.calls &+= 1
          switch Int32(truncatingIfNeeded: applet.a0) {
          case APPLET_CALL_YIELD:
            applet.ret(UInt64(0))
            return .yielded
          case APPLET_CALL_SERVE: return try serve(trusted)
          default: if let handler = applet.handler { try handler(applet) } else { try secureHandler(applet) }
          }
          if let status = applet.exitStatus {
            end(trusted, .success(status))
            return .ended
          }
        }
      }
    } catch {
      switch error {
      case .stopped:
        // The applet may have found it by its own flag.
        if control === self.control { _ = control.takeStop() }
        throw error
      case .limit: throw error
      default:
        end(trusted, .failure(error))
        return .ended
      }
    }
  }

  /// The applet's call 0x108.
  private func serve(_ trusted: Trusted) throws(ExecError) -> TurnEnd {
    let applet = trusted.context
    let (answer, address) = (applet.a1, applet.a2)
    // At once, not when there is a request: it is this call that is wrong.
    try applet.withBuffer(at: address, count: UInt64(MemoryLayout<applet_request>.size), for: .write) { _ in }
    defer { trusted.state = .waiting(at: address) }
    if case .serving = trusted.state { return .answered(answer) }
    return .waits
  }

  /// Kicks are this context's again. One that came for a limit, when they were nobody's or the applet's, is made up for.
  private func aimAgain(_ control: RunControl) {
    guard control === self.control else { return }
    vcpu.aim()
    processors?.monitor.acquire()
    defer { processors?.monitor.release() }
    if limits.passed(calls: calls) != nil { vcpu.requestExit() }
  }

  /// `checkStops`, on the thread of a processor that is not in the monitor.
  private func checkStopsBeside(_ control: RunControl) throws(ExecError) {
    if processors?.hasEnded ?? false { throw .stopped }
    // Stops are the first processor's business, too.
    guard control === self.control else { return }
    if control.takeStop() { throw .stopped }
    // The others look at the limits in calls of their own.
    processors?.monitor.acquire()
    defer { processors?.monitor.release() }
    try checkLimits()
  }
}
