/// Gets the applet's arguments with one call and passes them to the body. They are on the stack, truncated to 1,024 bytes.
public func withArguments<Result>(_ body: (borrowing Arguments) -> Result) -> Result {
  withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { bytes in
    let size = (try? Calls.arguments(into: bytes)) ?? 0
    let present = UnsafeRawBufferPointer(rebasing: bytes[..<min(size, bytes.count)])
    return body(Arguments(bytes: present.assumingMemoryBound(to: UInt8.self)))
  }
}

/// The applet's arguments, the first being its name.
public struct Arguments: ~Copyable {
  let bytes: UnsafeBufferPointer<UInt8>

  init(bytes: UnsafeBufferPointer<UInt8>) {
    self.bytes = bytes
  }

  public var count: Int {
    var count = 0
    for byte in bytes where byte == 0 {
      count += 1
    }
    return count
  }

  /// The bytes of an argument; empty past the last.
  public subscript(index: Int) -> Span<UInt8> {
    @_lifetime(borrow self)
    get {
      var start = 0
      for _ in 0..<index {
        start = min(end(of: start) + 1, bytes.count)
      }
      let argument = UnsafeBufferPointer(rebasing: bytes[start..<end(of: start)])
      return _overrideLifetime(Span(_unsafeElements: argument), borrowing: self)
    }
  }

  /// An argument as a string, on the heap; nil past the last.
  public func string(at index: Int) -> String? {
    guard index < count else { return nil }
    return self[index].withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
  }

  private func end(of start: Int) -> Int {
    var end = start
    while end < bytes.count && bytes[end] != 0 {
      end += 1
    }
    return end
  }
}
