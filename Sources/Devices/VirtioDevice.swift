/// A virtio device, independent of its transport (`VirtioMMIO`), with which it shares its `VirtioQueues`.
///
/// The guest's CPUs and the I/O thread call it in parallel.
public protocol VirtioDevice: AnyObject, Sendable {
  /// The state that the device shares with its transport.
  var queues: VirtioQueues { get }

  /// A byte of the device's configuration space; 0 beyond it. Called under the queues' lock.
  func configuration(at offset: Int) -> UInt8

  /// The driver has made buffers available in an existing queue. Called on the CPU that sent the notification, without a lock.
  func queueNotified(_ queue: Int)

  /// A queue is reset, alone or with the device: its current chain is not returned. Called under the queues' lock, while no transfer
  /// of the queue is in progress.
  func queueReset(_ queue: Int)

  /// The driver has reset the device. Called under the queues' lock.
  func reset()
}

extension VirtioDevice {
  /// A device without a configuration space.
  public func configuration(at offset: Int) -> UInt8 { 0 }
  /// A device without a request in progress.
  public func queueReset(_ queue: Int) {}
  /// A device without state of its own.
  public func reset() {}
}

/// Device types (virtio 1.2, 5 "Device Types").
public enum VirtioKind: UInt32, Sendable {
  /// Block device (5.2).
  case block = 2
  /// Console (5.3).
  case console = 3
  /// Entropy device (5.4).
  case entropy = 4

  /// The name of the device, for messages.
  public var name: StaticString {
    switch self {
    case .block: "disk"
    case .console: "console"
    case .entropy: "random numbers"
    }
  }
}
