/// A range of guest memory, as given by a guest: it does not wrap around, but need not be the guest's memory.
public struct GuestRange: Equatable, Sendable {
  /// Address of the first byte.
  public let start: UInt64
  /// Size in bytes; may be zero.
  public let count: UInt64

  /// - Returns: nil if the range would wrap around.
  @inline(__always)
  public init?(start: UInt64, count: UInt64) {
    if start.addingReportingOverflow(count).overflow { return nil }
    self.start = start
    self.count = count
  }

  /// First address after the range.
  @inline(__always)
  public var end: UInt64 { start + count }
}
