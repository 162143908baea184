import Applet
import AppletABI
import CLinux
import Machine
import Platform

/// The bytes on their way between a context and the monitor: requests that have arrived, responses that wait.
struct TransferBuffers {
  fileprivate(set) var input: [UInt8] = []
  fileprivate(set) var output: [UInt8] = []
  /// Bytes of the output that were fetched already.
  fileprivate var fetched = 0
  /// The call whose bytes are in the input, and whose requests are not all answered: a stop or a limit came in between.
  fileprivate var underWay: CallUnderWay?

  /// A call, as it is known again when it is made anew: who makes it, from where, with what.
  struct CallUnderWay: Equatable {
    let caller: ObjectIdentifier
    let pc: UInt64
    let address: UInt64
    let count: UInt64
  }

  /// Adds to the output, and lets go of what was fetched once that is half of it: a guest that never fetches all makes the
  /// monitor keep no more than twice what waits.
  fileprivate mutating func add(_ bytes: [UInt8]) {
    if fetched > output.count / 2 {
      output.removeFirst(fetched)
      fetched = 0
    }
    output += bytes
  }
}

/// The transfer buffers, as GoTEE has them: the applet writes requests and reads responses, the monitor the reverse.
extension ExecCtx {
  /// Most bytes of requests that may wait, incomplete or not.
  public static let inputLimit = 64 << 10
  /// Most bytes of responses that may wait to be fetched.
  public static let outputLimit = 1 << 20

  /// The buffer that the present call names in its first two arguments: its offset from the start of the context's main memory
  /// (modulo 2^64: memory that was added may lie below), and its size.
  /// - Throws: `ExecError.badRange` where some byte of it is not the applet's to read.
  public func transferRegion() throws(ExecError) -> (offset: UInt64, count: UInt64) {
    try withBuffer(at: a1, count: a2, for: .read) { _ in }
    return (a1 &- memory.slot.lowerBound, a2)
  }

  /// Writes bytes into the context's memory by `writeMemory`.
  /// - Parameter offset: bytes from the start of its memory, as `transferRegion` has them: for what lies below, it wraps around.
  /// - Throws: `ExecError.badRange` where some byte of it is no region's; nothing is written then.
  public func poke(_ offset: UInt64, _ bytes: [UInt8]) throws(ExecError) {
    try writeMemory(at: memory.slot.lowerBound &+ offset, bytes)
  }

  /// Takes the bytes that the applet hands over in its present call to the end of the input buffer.
  /// - Throws: `ExecError.badRange`; `.transferLimit` where more than `inputLimit` would wait.
  public func recv() throws(ExecError) {
    _ = try transferRegion()
    guard a2 <= UInt64(Self.inputLimit - transfer.input.count) else { throw .transferLimit }
    try withBuffer(at: a1, count: a2, for: .read) { transfer.input.append(contentsOf: $0) }
  }

  /// Reads from the input buffer what the applet has handed over.
  /// - Returns: bytes read; 0 where none wait.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = min(buffer.count, transfer.input.count)
    buffer.copyBytes(from: transfer.input[..<count])
    transfer.input.removeFirst(count)
    return count
  }

  /// Adds bytes to the output buffer, for the applet to fetch.
  /// - Throws: `ExecError.transferLimit` where more than `outputLimit` would wait.
  public func write(_ bytes: [UInt8]) throws(ExecError) {
    guard transfer.output.count - transfer.fetched + bytes.count <= Self.outputLimit else { throw .transferLimit }
    transfer.add(bytes)
  }

  /// Answers the applet's present call for response bytes: places as many as wait and fit, and sets the call's result to their
  /// number.
  /// - Parameter errno: where not nil, nothing is placed and the result is -EPIPE.
  /// - Returns: how many.
  /// - Throws: `ExecError.badRange`.
  @discardableResult
  public func flush(errno: Errno?) throws(ExecError) -> Int {
    let waiting = transfer.output.count - transfer.fetched
    let count = errno == nil ? Int(min(a2, UInt64(waiting))) : 0
    // All of the buffer must be the applet's, whatever goes into it.
    try withBuffer(at: a1, count: a2, for: .write) { buffer in
      guard count > 0 else { return }
      transfer.output.withUnsafeBytes {
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[transfer.fetched..<transfer.fetched + count]))
      }
    }
    if errno != nil {
      ret(-Int64(EPIPE))
      return 0
    }
    transfer.fetched += count
    if transfer.fetched == transfer.output.count {
      transfer.output.removeAll(keepingCapacity: true)
      transfer.fetched = 0
    }
    ret(UInt64(count))
    return count
  }

  /// Has no effect, as in GoTEE: the buffers live as long as the context.
  public func close() {}

  /// Takes the present call's bytes, unless it is made anew after a stop, which has them, and answers what is whole of them.
  func takeRequests() throws(ExecError) {
    // A program in system mode has its PC elsewhere: each of its processors makes one call at a time.
    let present = TransferBuffers.CallUnderWay(
      caller: ObjectIdentifier(processors?.caller ?? control), pc: isSecure ? pc : 0, address: a1, count: a2)
    if transfer.underWay == present { transfer.underWay = nil } else { try recv() }
    try serveRequests(of: present)
  }

  /// Answers the whole requests in the input buffer; what is left of it is the beginning of the next. Between two of them a
  /// stop or a limit may come: the call is made again then.
  private func serveRequests(of present: TransferBuffers.CallUnderWay) throws(ExecError) {
    var hasServed = false
    while true {
      let found = transfer.input.withUnsafeBytes { RequestScanner.scan($0) }
      switch found {
      case .incomplete: return
      case .malformed: throw .badRequest
      case .request(let range, let id):
        if hasServed {
          do { try checkStopsInCall() } catch {
            transfer.underWay = present
            throw error
          }
        }
        hasServed = true
        let response = transfer.input.withUnsafeBytes { bytes in
          server.serve(
            UnsafeRawBufferPointer(rebasing: bytes[range]), id: id.map { UnsafeRawBufferPointer(rebasing: bytes[$0]) })
        }
        guard let response else { throw .badRequest }
        transfer.input.removeFirst(range.upperBound)
        try write(response)
      }
    }
  }
}
