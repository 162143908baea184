import Applet
import KVM
import Machine
import Platform

/// Calls of a program that may take long release the call lock, which other CPUs need for their calls and for stops. A
/// context with one CPU needs none of this.
extension ExecCtx {
  /// The CPU whose call is being answered, if there are several CPUs.
  var caller: (program: ProgramMode, cpu: CPU)? {
    guard case .program(let program) = kind, guest.cpus.count > 1, let cpu = program.caller else { return nil }
    return (program, cpu)
  }

  /// Runs `body` for a call without the call lock.
  /// - Parameter turn: a lock that lets one CPU at a time do it.
  @inline(never)
  func unlocked<Result>(
    _ program: ProgramMode, _ cpu: CPU, _ turn: AbortableLock, _ body: () throws(ExecError) -> Result
  ) throws(ExecError) -> Result {
    try withCallLockReleased(program, cpu) { () throws(ExecError) in
      try turn.acquire { () throws(ExecError) in try checkStops(on: cpu, program) }
      defer { turn.release() }
      return try body()
    }
  }

  /// The same for work that holds the call lock except where it may wait (`waiting`).
  func inTurn<Result>(
    _ turn: (ProgramMode) -> AbortableLock, _ body: () throws(ExecError) -> Result
  ) throws(ExecError) -> Result {
    guard let (program, cpu) = caller else { return try body() }
    let turn = turn(program)
    try withCallLockReleased(program, cpu) { () throws(ExecError) in
      try turn.acquire { () throws(ExecError) in try checkStops(on: cpu, program) }
    }
    defer { turn.release() }
    return try body()
  }

  /// Runs `body`, which may wait, without the call lock.
  func waiting<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    guard let (program, cpu) = caller else { return try body() }
    return try withCallLockReleased(program, cpu, body)
  }

  /// `checkStops` on the thread of a CPU that does not hold the call lock.
  func checkStops(on cpu: CPU, _ program: ProgramMode) throws(ExecError) {
    program.callLock.acquire()
    defer { program.callLock.release() }
    program.caller = cpu
    try checkStops()
  }

  /// The largest part of a buffer that is written between two checks for stops.
  static let piece: UInt64 = 64 << 10

  /// Fills a buffer of a call with data from the kernel. With several CPUs, another one may change the memory
  /// meanwhile, so the data is copied if the guest may still write to the buffer.
  /// - Parameters:
  ///   - count: bytes; with several CPUs at most `piece` of them are filled.
  ///   - turn: a lock that lets one CPU at a time do it; nil if several may.
  ///   - body: a system call that returns the number of bytes or a negative errno value.
  /// - Returns: the result of `body`.
  /// - Throws: `ExecError.badRange`.
  func fill(
    at address: UInt64, count: UInt64, turn: ((ProgramMode) -> AbortableLock)? = nil,
    _ body: (UnsafeMutableRawBufferPointer) -> Int
  ) throws(ExecError) -> Int {
    guard let (program, cpu) = caller else { return try withBuffer(at: address, count: count, for: .write, body) }
    let result = withUnsafeTemporaryAllocation(byteCount: Int(min(count, Self.piece)), alignment: 16) { buffer in
      Result { () throws(ExecError) in
        let result =
          if let turn {
            try unlocked(program, cpu, turn(program)) { body(buffer) }
          } else {
            withCallLockReleased(program, cpu) { body(buffer) }
          }
        guard result > 0 else { return result }
        try withBuffer(at: address, count: UInt64(result), for: .write) {
          $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<result]))
        }
        return result
      }
    }
    return try result.get()
  }

  /// Checks that the applet itself may access a buffer, as `withBuffer` does.
  func checkBuffer(at address: UInt64, count: UInt64, for access: Access) throws(ExecError) {
    guard let range = GuestRange(start: address, count: count) else {
      throw .badRange(call: a0, address: address, count: count, .outside)
    }
    do { _ = try guest.memory.map.locate(range, for: access) } catch {
      throw .badRange(call: a0, address: address, count: count, error == .access ? .access : .outside)
    }
  }
}
