import Applet
import CLinux
import JSON
import Machine
import Platform

/// The buffers between a context and the monitor: requests that have arrived, and responses that have not been fetched.
struct TransferBuffers {
  fileprivate(set) var input: [UInt8] = []
  fileprivate(set) var output: [UInt8] = []
  /// The number of bytes of the output that have been fetched.
  fileprivate var fetched = 0
  /// Where the scan of the input for requests is.
  fileprivate var scanner = RequestScanner()
  /// The request at the beginning of the input, once it is complete.
  fileprivate var found: RequestScanner.Found?
  /// The identifier of a request that is too long to be kept, empty as long as it has not come; nil for no such request.
  fileprivate var tooLong: [UInt8]?
  /// The call whose requests are not all answered, because a stop or a limit interrupted it, and how many of its bytes were taken.
  fileprivate var underWay: (call: CallUnderWay, taken: UInt64)?

  /// Identifies a call when it is repeated: its CPU, its PC and its arguments.
  struct CallUnderWay: Equatable {
    let cpu: Int
    let pc: UInt64
    let address: UInt64
    let count: UInt64
  }

  /// Looks for the end of the first request.
  fileprivate mutating func scan() -> RequestScanner.Found {
    // It may have been found before a stop.
    if let found { return found }
    // Of its own: the buffer's bytes are borrowed meanwhile.
    var scanner = scanner
    let result = input.withUnsafeBytes { scanner.scan($0) }
    self.scanner = scanner
    if case .request = result { found = result }
    return result
  }

  /// Drops what has come of a request that is longer than the limit, except for its identifier: the rest is still to be read.
  fileprivate mutating func drop(beyond limit: Int) {
    guard tooLong != nil || input.count > limit else { return }
    if let id = scanner.id, id.count <= RequestScanner.idLimit { tooLong = Array(input[id]) }
    tooLong = tooLong ?? []
    input.removeFirst(scanner.drop(of: input.count))
  }

  /// Removes bytes at the front of the input; the scan starts anew.
  fileprivate mutating func remove(_ count: Int) {
    input.removeFirst(count)
    scanner = RequestScanner()
    found = nil
  }

  /// Adds to the output. Fetched bytes are removed when they are half of it, so the buffer is at most twice as large as
  /// the pending data even if a guest never fetches all.
  fileprivate mutating func add(_ bytes: [UInt8]) {
    if fetched > output.count / 2 {
      output.removeFirst(fetched)
      fetched = 0
    }
    output += bytes
  }
}

/// A context's RPC server and its buffers.
struct RPCState {
  /// nil until it is first used.
  var server: Server?
  var transfer = TransferBuffers()
  /// Maximum size of a request or response, in bytes.
  var limit = ExecCtx.defaultRPCLimit
  /// The CPU of a program whose request is being answered, one at a time.
  var served: CPU?
  /// The error that ended its wait for a service.
  var interruption: ExecError?
}

/// GoTEE's transfer buffers: the applet writes requests and reads responses, the monitor the reverse.
extension ExecCtx {
  /// Answers its RPC requests. By default it has no methods.
  public var server: Server {
    get {
      if let server = rpc.server { return server }
      let server = makeServer?() ?? Server()
      rpc.server = server
      return server
    }
    set { rpc.server = newValue }
  }

  /// Maximum size of an RPC request, and of a response, in bytes; at least 1. A longer request is read to its end without being kept,
  /// and answered by an error, as is one with a longer response. Responses of twice this size may be pending; one more ends the run.
  public var rpcLimit: Int {
    get { rpc.limit }
    set { rpc.limit = min(max(newValue, 1), 1 << 30) }
  }

  /// The default of `rpcLimit`.
  public static let defaultRPCLimit = 1 << 20

  /// The buffer in the first two arguments of the current call: its offset from the start of the context's main memory
  /// (modulo 2^64, because added memory may be below it), and its size.
  /// - Throws: `ExecError.badRange` if the applet cannot read all of it.
  public func transferRegion() throws(ExecError) -> (offset: UInt64, count: UInt64) {
    try withBuffer(at: a1, count: a2, for: .read) { _ in }
    return (a1 &- memory.slot.lowerBound, a2)
  }

  /// Writes bytes into the context's memory with `writeMemory`.
  /// - Parameter offset: bytes from the start of its main memory, as returned by `transferRegion`; it wraps around for
  ///   addresses below.
  /// - Throws: `ExecError.badRange` if a byte is outside all regions; nothing is written then.
  public func poke(_ offset: UInt64, _ bytes: [UInt8]) throws(ExecError) {
    try writeMemory(at: memory.slot.lowerBound &+ offset, bytes)
  }

  /// Appends the data of the current call to the input buffer.
  /// - Throws: `ExecError.badRange`; `.transferLimit` if more than `rpcLimit` would be pending.
  public func recv() throws(ExecError) {
    _ = try transferRegion()
    guard Int(clamping: a2) <= rpcLimit - rpc.transfer.input.count else { throw .transferLimit }
    try take(at: a1, count: a2)
  }

  private func take(at address: UInt64, count: UInt64) throws(ExecError) {
    try withBuffer(at: address, count: count, for: .read) { bytes in
      // Typed bytes are appended with one copy.
      bytes.withMemoryRebound(to: UInt8.self) { rpc.transfer.input.append(contentsOf: $0) }
    }
  }

  /// Reads data that the applet has sent from the input buffer.
  /// - Returns: the number of bytes; 0 if there are none.
  public func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    let count = min(buffer.count, rpc.transfer.input.count)
    buffer.copyBytes(from: rpc.transfer.input[..<count])
    rpc.transfer.remove(count)
    return count
  }

  /// Appends bytes to the output buffer, which the applet fetches.
  /// - Throws: `ExecError.transferLimit` if more than twice `rpcLimit` would be pending.
  public func write(_ bytes: [UInt8]) throws(ExecError) {
    guard rpc.transfer.output.count - rpc.transfer.fetched + bytes.count <= 2 * rpcLimit else { throw .transferLimit }
    rpc.transfer.add(bytes)
  }

  /// Answers the current call for response bytes: copies as many as are pending and fit, and sets the call's result to
  /// their number.
  /// - Parameter errno: if not nil, nothing is copied and the result is -EPIPE.
  /// - Returns: the number of bytes.
  /// - Throws: `ExecError.badRange`.
  @discardableResult
  public func flush(errno: Errno?) throws(ExecError) -> Int {
    let waiting = rpc.transfer.output.count - rpc.transfer.fetched
    let count = errno == nil ? Int(min(a2, UInt64(waiting))) : 0
    // The applet must have access to the whole buffer, whatever is copied.
    try withBuffer(at: a1, count: a2, for: .write) { buffer in
      guard count > 0 else { return }
      rpc.transfer.output.withUnsafeBytes {
        buffer.copyMemory(
          from: UnsafeRawBufferPointer(rebasing: $0[rpc.transfer.fetched..<rpc.transfer.fetched + count]))
      }
    }
    if errno != nil {
      ret(-Int64(EPIPE))
      return 0
    }
    rpc.transfer.fetched += count
    if rpc.transfer.fetched == rpc.transfer.output.count {
      rpc.transfer.output.removeAll(keepingCapacity: true)
      rpc.transfer.fetched = 0
    }
    ret(UInt64(count))
    return count
  }

  /// Has no effect, as in GoTEE: the buffers exist as long as the context.
  public func close() {}

  /// Takes the data of the current call and answers the requests that it completes. A call that is repeated after a stop continues
  /// where it was.
  func takeRequests() throws(ExecError) {
    // The PC of a program in system mode is not in the frame; each of its CPUs makes one call at a time.
    let present = TransferBuffers.CallUnderWay(
      cpu: program?.caller?.number ?? 0, pc: isSecure ? pc : 0, address: a1, count: a2)
    try inTurn({ $0.serving }) { () throws(ExecError) in
      var taken: UInt64 = 0
      if let underWay = rpc.transfer.underWay, underWay.call == present {
        taken = underWay.taken
        rpc.transfer.underWay = nil
      } else {
        // All of the buffer must be the applet's, whatever is in it.
        try checkBuffer(at: present.address, count: present.count, for: .read)
      }
      do throws(ExecError) {
        if taken > 0 { try serveRequests() }
        while taken < present.count {
          // In pieces: what is too long is not kept.
          if taken > 0 { try checkStopsInCall() }
          let count = min(present.count - taken, Self.piece)
          try take(at: present.address + taken, count: count)
          taken += count
          try serveRequests()
        }
      } catch {
        switch error {
        case .stopped, .limit: rpc.transfer.underWay = (present, taken)
        default: break
        }
        throw error
      }
    }
  }

  /// Answers the complete requests in the input buffer; the rest is the beginning of the next one. A stop or a limit
  /// between two of them makes the applet repeat the call.
  private func serveRequests() throws(ExecError) {
    var hasServed = false
    while true {
      switch rpc.transfer.scan() {
      case .incomplete: return rpc.transfer.drop(beyond: rpcLimit)
      case .malformed: throw .badRequest
      case .request(let range, let id):
        if hasServed { try checkStopsInCall() }
        hasServed = true
        guard let response = serve(range, id) else { throw .badRequest }
        try write(response)
        if let interruption = rpc.interruption {
          rpc.interruption = nil
          repeatCall()
          throw interruption
        }
      }
    }
  }

  /// Answers the request at the beginning of the input buffer, and removes it.
  /// - Returns: nil if it is not a request; it is not removed then.
  private func serve(_ range: Range<Int>, _ id: Range<Int>?) -> [UInt8]? {
    if rpc.transfer.tooLong != nil || range.count > rpcLimit { return refuse(range, id) }
    // A method may use the buffers.
    var input: [UInt8] = []
    swap(&input, &rpc.transfer.input)
    rpc.served = program?.caller
    let response = input.withUnsafeBytes { bytes -> [UInt8]? in
      let id = id.map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
      let response = server.serve(UnsafeRawBufferPointer(rebasing: bytes[range]), id: id) {
        (body) throws(RPCError) in try waiting(body)
      }
      guard let response, response.count > rpcLimit else { return response }
      return Server.response(.failure(RPCError("rpc: the response is longer than \(rpcLimit) bytes")), id: id)
    }
    // What a method has added comes after the rest.
    swap(&input, &rpc.transfer.input)
    if response != nil { rpc.transfer.remove(range.upperBound) }
    if !input.isEmpty { rpc.transfer.input += input }
    return response
  }

  /// The response to a request that is longer than the limit, which is taken out.
  private func refuse(_ range: Range<Int>, _ id: Range<Int>?) -> [UInt8] {
    let short = id.flatMap { $0.count <= RequestScanner.idLimit ? Array(rpc.transfer.input[$0]) : nil }
    let id = short ?? rpc.transfer.tooLong ?? []
    rpc.transfer.tooLong = nil
    rpc.transfer.remove(range.upperBound)
    return id.withUnsafeBytes {
      Server.response(
        .failure(RPCError("rpc: the request is longer than \(rpcLimit) bytes")), id: $0.isEmpty ? nil : $0)
    }
  }

  /// For functions passed to `Server.forward`, on their thread: must be called after each wait, at least every 100 ms
  /// and after each signal. It also calls the function set by `onReadable` if its descriptor is readable.
  /// - Returns: whether to stop waiting, because of a stop or a limit.
  public func mustStopWaiting() -> Bool {
    guard rpc.interruption == nil else { return true }
    do throws(ExecError) {
      if let program, guest.cpus.count > 1, let cpu = rpc.served {
        try checkStops(on: cpu, program)
      } else {
        try checkStops()
      }
    } catch {
      rpc.interruption = error
      return true
    }
    return false
  }
}
