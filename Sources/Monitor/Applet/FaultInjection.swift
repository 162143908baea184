/// Faults injected into copies, to test that lockstep detects them.
public struct FaultInjection {
  /// The percentage of calls after which a fault is injected.
  public var percent: Int
  /// Called for each fault with the copy (0 is the primary), the register's name and the bit.
  public var report: ((Int, String, Int) -> Void)?
  private var state: UInt64

  /// - Parameter seed: the same seed gives the same faults.
  public init(percent: Int, seed: UInt64) {
    self.percent = percent
    state = seed
  }

  mutating func next(copies: Int, registers: Range<Int>, bits: Int) -> (copy: Int, register: Int, bit: Int)? {
    guard random(100) < percent else { return nil }
    return (random(copies), registers.lowerBound + random(registers.count), random(bits))
  }

  /// A number below `limit`, by SplitMix64.
  private mutating func random(_ limit: Int) -> Int {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return Int((mixed ^ mixed >> 31) % UInt64(limit))
  }
}
