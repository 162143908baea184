/// A run of guest memory as a guest names it: nothing says that it is the guest's, only that it does not wrap around.
public struct GuestRange: Equatable, Sendable {
  /// Address of the first byte.
  public let start: UInt64
  /// Size in bytes; may be zero.
  public let count: UInt64

  /// - Returns: nil where the range would run past the last address.
  @inline(__always)
  public init?(start: UInt64, count: UInt64) {
    if start.addingReportingOverflow(count).overflow { return nil }
    self.start = start
    self.count = count
  }

  /// First address behind the range.
  @inline(__always)
  public var end: UInt64 { start + count }
}
