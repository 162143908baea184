/// Faults put into copies on purpose, to see them noticed.
public struct FaultInjection {
  /// How many of a hundred calls are followed by a fault.
  public var percent: Int
  /// Told of each: the copy (0 is the primary), the register's name, the bit.
  public var report: ((Int, String, Int) -> Void)?
  private var state: UInt64

  /// - Parameter seed: the same seed gives the same faults.
  public init(percent: Int, seed: UInt64) {
    self.percent = percent
    state = seed
  }

  mutating func next(copies: Int, registers: Range<Int>) -> (copy: Int, register: Int, bit: Int)? {
    guard random(100) < percent else { return nil }
    return (random(copies), registers.lowerBound + random(registers.count), random(64))
  }

  /// A number below `limit`, by SplitMix64.
  private mutating func random(_ limit: Int) -> Int {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return Int((mixed ^ mixed >> 31) % UInt64(limit))
  }
}
