/// JSON-RPC 1.0 with the monitor. Calls wait for their responses, so that there is at most one.
public enum RPC {
  /// Sends a request, which is a line of JSON, and passes its response to the body, without the newline. Returns false if there
  /// is none within a second, or it is longer than 512 bytes.
  public static func call(_ request: StaticString, _ body: (Span<UInt8>) -> Void) -> Bool {
    Calls.sendRPC(UnsafeRawBufferPointer(start: request.utf8Start, count: request.utf8CodeUnitCount))
    return withUnsafeTemporaryAllocation(byteCount: 512, alignment: 8) { bytes in
      guard let length = receive(into: bytes) else { return false }
      let response = UnsafeRawBufferPointer(rebasing: bytes[..<(length - 1)])
      body(Span(_unsafeElements: response.assumingMemoryBound(to: UInt8.self)))
      return true
    }
  }

  /// Reads the rest of a response that is too long, so that the next one is that of the next call.
  private static func discardLine(_ bytes: UnsafeMutableRawBufferPointer) {
    var last: UInt8 = 0
    while last != UInt8(ascii: "\n") {
      let count = Calls.receiveRPC(into: bytes)
      if count <= 0 { return }
      last = bytes[count - 1]
    }
  }

  /// The length of the response with its newline.
  private static func receive(into bytes: UnsafeMutableRawBufferPointer) -> Int? {
    var length = 0
    var deadline: Int64?
    while length == 0 || bytes[length - 1] != UInt8(ascii: "\n") {
      if length == bytes.count {
        discardLine(bytes)
        return nil
      }
      let count = Calls.receiveRPC(into: UnsafeMutableRawBufferPointer(rebasing: bytes[length...]))
      if count < 0 { return nil }
      guard count == 0 else {
        length += count
        continue
      }
      let now = Calls.nanotime()
      if let deadline, now > deadline { return nil }
      deadline = deadline ?? now + 1_000_000_000
      try? Calls.yield()
    }
    return length
  }
}
