/// JSON-RPC 1.0 with the monitor. Calls wait for their answers, so that one response at most is on its way.
public enum RPC {
  /// Sends a request, which is a line of JSON, and hands its response to the body, without the newline. False where
  /// none has come within a second, or it is longer than 512 bytes.
  public static func call(_ request: StaticString, _ body: (Span<UInt8>) -> Void) -> Bool {
    Calls.sendRPC(UnsafeRawBufferPointer(start: request.utf8Start, count: request.utf8CodeUnitCount))
    var response = InlineArray<512, UInt8>(repeating: 0)
    var length = 0
    var deadline: Int64?
    while length == 0 || response[length - 1] != UInt8(ascii: "\n") {
      guard length < 512 else { return false }
      var room = response.mutableSpan
      let count = room.withUnsafeMutableBytes {
        Calls.receiveRPC(into: UnsafeMutableRawBufferPointer(rebasing: $0[length...]))
      }
      guard count == 0 else {
        length += count
        continue
      }
      let now = Calls.nanotime()
      if let deadline, now > deadline { return false }
      deadline = deadline ?? now + second
      try? Calls.yield()
    }
    body(response.span.extracting(first: length - 1))
    return true
  }

  private static var second: Int64 { 1_000_000_000 }
}

extension Span where Element == UInt8 {
  /// What stands between the two texts, each where it is first found, or nil.
  @_lifetime(copy self)
  public func between(_ start: StaticString, _ end: StaticString) -> Span<UInt8>? {
    for index in indices {
      guard let rest = extracting(index...).after(start) else { continue }
      for length in rest.indices where rest.extracting(length...).after(end) != nil {
        return rest.extracting(first: length)
      }
    }
    return nil
  }
}
