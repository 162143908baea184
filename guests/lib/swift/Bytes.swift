/// Parsing of arguments and responses.
extension Span where Element == UInt8 {
  /// The bytes after the prefix, or nil if they do not start with it.
  @_lifetime(copy self)
  public func after(_ prefix: StaticString) -> Span<UInt8>? {
    let length = prefix.utf8CodeUnitCount
    guard count >= length else { return nil }
    for index in 0..<length where self[index] != prefix.utf8Start[index] {
      return nil
    }
    return extracting(length...)
  }

  /// The bytes between the first occurrences of two texts, or nil.
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

  /// The value of a decimal number, or nil.
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
