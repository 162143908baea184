/// A device that a guest's CPUs access by loads and stores at addresses without memory, in parallel.
public protocol MMIODevice: AnyObject, Sendable {
  /// Handles a load of `length` bytes, 1 to 8, at an offset in the device's address range.
  func load(_ offset: UInt64, length: Int) -> UInt64
  /// Handles a store of the `length` low bytes of `value`.
  func store(_ offset: UInt64, length: Int, value: UInt64)
}

/// A device's interrupt line. Any thread may use it.
public protocol InterruptLine: AnyObject, Sendable {
  /// An edge: the interrupt is pending until the guest acknowledges it.
  func pulse()
  /// A level: the interrupt is pending while it is high.
  func setLevel(_ isHigh: Bool)
}

/// The devices at their addresses.
public struct MMIOBus: Sendable {
  private var windows: [(range: Range<UInt64>, device: any MMIODevice)] = []

  /// A bus without devices.
  public init() {}

  /// Adds a device at a range of guest-physical addresses, which must not overlap others.
  public mutating func add(_ device: any MMIODevice, at range: Range<UInt64>) { windows.append((range, device)) }

  /// Handles a load.
  /// - Returns: nil if there is no device.
  public func load(_ address: UInt64, length: Int) -> UInt64? {
    for window in windows where window.range.contains(address) {
      return window.device.load(address - window.range.lowerBound, length: length)
    }
    return nil
  }

  /// Handles a store.
  /// - Returns: whether there is a device.
  public func store(_ address: UInt64, length: Int, value: UInt64) -> Bool {
    for window in windows where window.range.contains(address) {
      window.device.store(address - window.range.lowerBound, length: length, value: value)
      return true
    }
    return false
  }
}
