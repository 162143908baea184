import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// A secure applet that runs next to a program in system mode and answers its calls.
final class Peer {
  let context: ExecCtx
  let onEnd: (ExecCtx, Result<UInt8, ExecError>) -> Void

  /// The state of the applet.
  enum State {
    /// It runs and has not waited for a request yet.
    case running
    /// It waits for a request, which is to be written to this address.
    case waiting(at: UInt64)
    /// It is processing a request.
    case serving
    case ended
  }

  /// Held while the applet runs, because two CPUs may call it. Protects the applet's context and `state`.
  let lock = AbortableLock()
  var state = State.running

  init(_ context: ExecCtx, onEnd: @escaping (ExecCtx, Result<UInt8, ExecError>) -> Void) {
    self.context = context
    self.onEnd = onEnd
  }
}

/// Why the applet stopped running.
private enum TurnEnd {
  /// It answered its request.
  case answered(UInt64)
  /// It waits for a request.
  case waits
  case yielded
  case ended
}

/// Why a peer cannot be attached to a context.
public enum AttachError: Error, Equatable {
  /// The first is not a non-secure context, the second is not a secure one, or one of them has a peer or shadows
  /// already.
  case notFit
  /// The shared memory cannot be mapped in one of them.
  case region(isSecure: Bool, RegionError)
  /// The shared memory could not be created.
  case host(Errno)

  /// A description, in one line.
  public var description: String {
    switch self {
    case .notFit: "a program in system mode can have one peer, without shadows"
    case .region(_, let error):
      "the shared memory cannot be mapped at \(hex(ExecCtx.sharedAddress)): \(error.description)"
    case .host(let errno): "the shared memory cannot be created: \(errno.description)"
    }
  }
}

extension ExecCtx {
  /// The guest address of the shared memory, in both.
  public static let sharedAddress: UInt64 = 0x7000_0000
  /// Size of the shared memory, in bytes.
  public static let sharedSize = 64 << 10
  static let sharedRange = sharedAddress..<sharedAddress + UInt64(sharedSize)

  /// Attaches a secure applet as the peer of this non-secure context, before its first run, and maps `sharedSize` bytes
  /// at `sharedAddress` in both. The applet runs when the program calls it, on the thread of the calling CPU, and ends
  /// with the context. Its own handlers use it as before; handlers of the context use it through `withPeer`, because another
  /// CPU may have called it. Limits of this context's time hold for both. The device tree of each describes the memory if it
  /// was made with `Options.sharesMemory`.
  /// - Parameter onEnd: called on that thread when the applet has ended, with its status or the error. This context
  ///   continues.
  /// - Throws: `AttachError`.
  public func attach(
    _ applet: ExecCtx, onEnd: @escaping (ExecCtx, Result<UInt8, ExecError>) -> Void = { _, _ in }
  ) throws(AttachError) {
    guard let program, program.peer == nil, let mode = applet.applet, mode.lockstep == nil, !mode.isShadow,
      !mode.isPeer,
      !guest.cpus.control.isRunning, !applet.guest.cpus.control.isRunning
    else { throw .notFit }
    let shared: SharedMemory
    do { shared = try SharedMemory(count: Self.sharedSize, hugePages: false, kernel: guest.kernel) } catch {
      throw .host(error)
    }
    do { try addRegion(at: Self.sharedAddress, shared, access: [.read, .write]) } catch {
      throw .region(isSecure: false, error)
    }
    do { try applet.addRegion(at: Self.sharedAddress, shared, access: [.read, .write]) } catch {
      // A region that was added can be removed again.
      try? removeRegion(at: Self.sharedAddress)
      throw .region(isSecure: true, error)
    }
    let peer = Peer(applet, onEnd: onEnd)
    mode.turn = peer.lock
    program.peer = peer
    guest.cpus.control.stop(with: applet.guest.cpus.control)
  }

  /// Calls `body` with the peer, for a handler of this context that uses its registers, memory or functions. First waits until the
  /// peer does not run for another CPU; calls of other CPUs are answered meanwhile.
  /// - Returns: what `body` returns; nil without a peer.
  /// - Throws: what `body` does; a stop or a limit that ends the wait.
  public func withPeer<Result>(
    _ body: (ExecCtx) throws(ExecError) -> Result
  ) throws(ExecError) -> Result? {
    guard let peer = program?.peer else { return nil }
    // The applet's own handler is called in its turn.
    let control = peer.context.guest.cpus.control
    if control.isRunningHere { return try body(peer.context) }
    return try inTurn({ _ in peer.lock }) { () throws(ExecError) in
      let caller = program?.caller
      if let caller { control.lendThread(of: caller) }
      defer { if caller != nil { control.giveBackThread() } }
      return try body(peer.context)
    }
  }

  // MARK: Calls of the program

  /// Call 0x107: the applet processes a request until it has an answer.
  func callSecure() throws(ExecError) {
    guard let program, let peer = program.peer else { throw .unknownCall(number: a0) }
    let request = (a1, a2)
    let answer = try inTurn(of: peer, program) { cpu throws(ExecError) -> UInt64? in
      while true {
        switch peer.state {
        case .ended: return nil
        case .waiting(let address):
          deliver(request, to: peer, at: address)
          if case .ended = peer.state { return nil }
        // A request in progress is this one: the context was stopped meanwhile and repeats the call.
        case .running, .serving: break
        }
        if case .answered(let answer) = try turn(of: peer, on: cpu, program) { return answer }
      }
    }
    if let answer { ret(answer) } else { ret(-Int64(EPIPE)) }
  }

  /// Call 0x103 of a program with a peer: the applet runs.
  func yieldToSecure(_ peer: Peer) throws(ExecError) {
    guard let program else { return }
    let isThere = try inTurn(of: peer, program) { cpu throws(ExecError) -> Bool in
      switch peer.state {
      case .ended: return false
      case .waiting: return true
      case .running, .serving:
        if case .ended = try turn(of: peer, on: cpu, program) { return false }
        return true
      }
    }
    ret(isThere ? 0 : -Int64(EPIPE))
  }

  /// Releases the call lock while this CPU runs the applet.
  private func inTurn<Result>(
    of peer: Peer, _ program: ProgramMode, _ body: (CPU) throws(ExecError) -> Result
  ) throws(ExecError) -> Result {
    guard let caller = program.caller else { throw .stopped }
    return try withCallLockReleased(program, caller) { () throws(ExecError) in
      // The applet may be busy without a limit with another CPU's request.
      try peer.lock.acquire { () throws(ExecError) in try checkStopsUnlocked(caller, program) }
      defer { peer.lock.release() }
      return try body(caller)
    }
  }

  // MARK: The peer

  private func deliver(_ request: (UInt64, UInt64), to peer: Peer, at address: UInt64) {
    let applet = peer.context
    let words = applet_request(number: request.0, argument: request.1)
    do throws(ExecError) {
      try applet.withBuffer(at: address, count: UInt64(MemoryLayout<applet_request>.size), for: .write) { buffer in
        withUnsafeBytes(of: words) { buffer.copyMemory(from: $0) }
      }
      applet.ret(UInt64(0))
      peer.state = .serving
    } catch { end(peer, .failure(error)) }
  }

  private func end(_ peer: Peer, _ result: Result<UInt8, ExecError>) {
    peer.state = .ended
    peer.context.console.flushAtOnce()
    peer.onEnd(peer.context, result)
  }

  /// Runs the applet until it answers, waits, yields or ends.
  /// - Throws: an error that ends this context's run: a stop or a limit.
  private func turn(of peer: Peer, on cpu: CPU, _ program: ProgramMode) throws(ExecError) -> TurnEnd {
    let applet = peer.context
    let control = applet.guest.cpus.control
    // An earlier stop is detected below; a later one stops the applet.
    _ = control.takeStop()
    // CPU 0 handles limits: if one is exceeded, it stops the applet on any other CPU.
    applet.limits.deadline = cpu.number == 0 ? deadline(program) : nil
    applet.guest.cpu.vcpu.clearExitRequest()
    applet.guest.cpu.vcpu.aim()
    control.lendThread(of: cpu)
    defer {
      control.giveBackThread()
      reclaimKicks(cpu, program)
    }
    do throws(ExecError) {
      try checkStopsUnlocked(cpu, program)
      while true {
        let event = try applet.guest.run { () throws(ExecError) in
          try checkStopsUnlocked(cpu, program)
          if control.takeStop() { throw .stopped }
          return false
        }
        if case .fault(let fault) = event {
          guard let mode = applet.applet, try applet.emulate(fault, mode, of: [applet.guest]) else {
            throw applet.describe(fault)
          }
          continue
        }
        applet.callCounts.countOther()
        switch applet.a0 {
        case UInt64(APPLET_CALL_YIELD):
          applet.ret(UInt64(0))
          return .yielded
        case UInt64(APPLET_CALL_SERVE): return try serve(peer)
        default:
          guard try answer(peer, on: cpu, program) else { continue }
        }
        if let status = applet.exitStatus {
          end(peer, .success(status))
          return .ended
        }
      }
    } catch {
      switch error {
      case .stopped:
        // The applet may have detected the stop by its own flag.
        if cpu.number == 0 { _ = cpu.control.takeStop() }
        throw error
      case .limit: throw error
      default:
        end(peer, .failure(error))
        return .ended
      }
    }
  }

  /// Answers a call of the applet.
  /// - Returns: false if it is to be repeated, because this context's limit handler has extended the deadline.
  private func answer(_ peer: Peer, on cpu: CPU, _ program: ProgramMode) throws(ExecError) -> Bool {
    let applet = peer.context
    do throws(ExecError) {
      if let handler = applet.handler { try handler(applet) } else { try secureHandler(applet) }
      return true
    } catch {
      guard case .limit = error, cpu.number == 0 else { throw error }
      try checkStopsUnlocked(cpu, program)
      // Otherwise the limit is the applet's own.
      let extended = deadline(program)
      guard applet.limits.deadline != extended else { throw error }
      applet.limits.deadline = extended
      return false
    }
  }

  /// Call 0x108 of the applet.
  private func serve(_ peer: Peer) throws(ExecError) -> TurnEnd {
    let applet = peer.context
    let (answer, address) = (applet.a1, applet.a2)
    // Check the address now, not at the next request: this call is the one to blame.
    try applet.withBuffer(at: address, count: UInt64(MemoryLayout<applet_request>.size), for: .write) { _ in }
    defer { peer.state = .waiting(at: address) }
    if case .serving = peer.state { return .answered(answer) }
    return .waits
  }

  /// Aims kicks at this context's vCPU again. If a stop or a limit came meanwhile, the exit request is repeated.
  private func reclaimKicks(_ cpu: CPU, _ program: ProgramMode) {
    cpu.vcpu.aim()
    guard cpu.number == 0 else { return }
    program.callLock.acquire()
    defer { program.callLock.release() }
    if cpu.control.isStopRequested || limits.passed(calls: calls) != nil { cpu.vcpu.requestExit() }
  }

  /// The deadline of this context, which another CPU's handler may be changing.
  private func deadline(_ program: ProgramMode) -> Int64? {
    program.callLock.acquire()
    defer { program.callLock.release() }
    return limits.deadline
  }

  /// `checkStops` on the thread of a CPU that does not hold the call lock.
  private func checkStopsUnlocked(_ cpu: CPU, _ program: ProgramMode) throws(ExecError) {
    if cpu.control.isEnding { throw .stopped }
    // CPU 0 handles stops, too.
    guard cpu.number == 0 else { return }
    if cpu.control.takeStop() { throw .stopped }
    // The other CPUs check limits in their own calls.
    program.callLock.acquire()
    defer { program.callLock.release() }
    // The limit handler may change memory, which keeps all other CPUs out of the guest.
    program.caller = cpu
    try checkLimits()
  }
}
