/// A device that a guest's processors reach by loads and stores at addresses without memory behind them.
/// Any of them may, at the same time.
public protocol MMIODevice: AnyObject, Sendable {
  /// Answers a load of `length` bytes, 1 to 8, at an offset into the device's window.
  func load(_ offset: UInt64, length: Int) -> UInt64
  /// Takes a store of the `length` low bytes of `value`.
  func store(_ offset: UInt64, length: Int, value: UInt64)
}

/// The wire by which a device asks for attention. Any thread may use it.
public protocol InterruptLine: AnyObject, Sendable {
  /// One edge: what is pending stays so until the guest has taken it.
  func pulse()
  /// A level: pending as long as it is high.
  func setLevel(_ isHigh: Bool)
}

/// Which device is at which address.
public struct MMIOBus: Sendable {
  private var windows: [(range: Range<UInt64>, device: any MMIODevice)] = []

  public init() {}

  /// Puts a device at a range of guest-physical addresses; none may overlap.
  public mutating func add(_ device: any MMIODevice, at range: Range<UInt64>) { windows.append((range, device)) }

  /// Answers a load.
  /// - Returns: nil where no device is.
  public func load(_ address: UInt64, length: Int) -> UInt64? {
    for window in windows where window.range.contains(address) {
      return window.device.load(address - window.range.lowerBound, length: length)
    }
    return nil
  }

  /// Passes on a store.
  /// - Returns: whether there is a device.
  public func store(_ address: UInt64, length: Int, value: UInt64) -> Bool {
    for window in windows where window.range.contains(address) {
      window.device.store(address - window.range.lowerBound, length: length, value: value)
      return true
    }
    return false
  }
}
