/// The applet's arguments, the first being its name, fetched with one call and kept on the stack. Those behind the
/// first 1,024 bytes are cut off.
public struct Arguments: ~Copyable {
  private var bytes = InlineArray<1024, UInt8>(repeating: 0)
  private let size: Int

  public init() {
    var all = bytes.mutableSpan
    let size = all.withUnsafeMutableBytes { try? Calls.arguments(into: $0) }
    self.size = min(size ?? 0, 1024)
  }

  public var count: Int {
    var count = 0
    for index in 0..<size where bytes[index] == 0 {
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
        start = end(of: start) + 1
      }
      start = min(start, size)
      return bytes.span.extracting(start..<end(of: start))
    }
  }

  private func end(of start: Int) -> Int {
    var end = start
    while end < size && bytes[end] != 0 {
      end += 1
    }
    return end
  }
}

extension Span where Element == UInt8 {
  /// What follows the prefix, or nil where the bytes do not begin with it.
  @_lifetime(copy self)
  public func after(_ prefix: StaticString) -> Span<UInt8>? {
    let length = prefix.utf8CodeUnitCount
    guard count >= length else { return nil }
    for index in 0..<length where self[index] != prefix.utf8Start[index] {
      return nil
    }
    return extracting(length...)
  }

  /// The number that the bytes are in decimal, or nil.
  public var decimal: UInt64? {
    guard count > 0 else { return nil }
    var value: UInt64 = 0
    for index in indices {
      guard self[index] >= UInt8(ascii: "0"), self[index] <= UInt8(ascii: "9") else { return nil }
      let (shifted, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = shifted.addingReportingOverflow(UInt64(self[index] - UInt8(ascii: "0")))
      guard !overflow, !carry else { return nil }
      value = sum
    }
    return value
  }
}
