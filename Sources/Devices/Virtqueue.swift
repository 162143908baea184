import CLinux

/// An error in a queue: the guest's driver violates the virtio specification (version 1.2, 2.7 "Split Virtqueues").
public enum QueueError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The number of descriptors is not a power of two, is zero, or exceeds the device's maximum.
  case size(UInt32)
  /// A part of the queue is not in memory, or not aligned.
  case placement(address: UInt64)
  /// More chains are available than the queue has descriptors.
  case offered(UInt16)
  /// The index of a descriptor is beyond the table.
  case number(UInt16)
  /// A chain is longer than the table, so it has a loop.
  case loop
  /// A buffer is not entirely in memory.
  case buffer(address: UInt64, count: UInt32)
  /// An indirect descriptor, which this device does not offer.
  case indirect
  /// A device-readable buffer after a device-writable one.
  case order
  /// The request is too short, or has no buffer for the response.
  case request

  /// The error, which follows the names of device and queue.
  public var description: String {
    switch self {
    case .size(let size): "has \(size) descriptors, which this device does not support"
    case .placement(let address): "is at 0x\(String(address, radix: 16)), which is not in memory or not aligned"
    case .offered(let count): "has \(count) available buffers, more than it has descriptors"
    case .number(let number): "has descriptor index \(number), which is beyond its table"
    case .loop: "has a descriptor chain with a loop"
    case .buffer(let address, let count):
      "has a buffer of \(count) bytes at 0x\(String(address, radix: 16)), which is not entirely in memory"
    case .indirect: "has an indirect descriptor, which was not negotiated"
    case .order: "has a device-readable buffer after a device-writable one"
    case .request: "has a request without space for its header or its response"
    }
  }
}

/// The device side of a split virtqueue. Addresses and indices are checked when they are used, and read only once.
public struct Virtqueue {
  /// Maximum number of descriptors.
  public let capacity: UInt16
  /// The driver's settings: the number of descriptors, and the addresses of the three parts.
  public var size: UInt32
  /// Guest-physical address of the descriptor table.
  public var table: UInt64 = 0
  /// Guest-physical address of the available ring.
  public var available: UInt64 = 0
  /// Guest-physical address of the used ring.
  public var used: UInt64 = 0

  /// The parts in this process's memory, while the queue is ready.
  private var parts: Parts?
  /// The mask that converts a running number to a ring index: the size minus one.
  private var mask: UInt16 = 0
  private var nextAvailable: UInt16 = 0
  private var nextUsed: UInt16 = 0

  private struct Parts {
    let table: UnsafeMutableRawPointer
    let available: UnsafeMutableRawPointer
    let used: UnsafeMutableRawPointer
  }

  /// - Parameter capacity: a power of two, at most 1024.
  public init(capacity: UInt16) {
    self.capacity = capacity
    size = UInt32(capacity)
  }

  /// Whether the queue is started.
  public var isReady: Bool { parts != nil }

  /// Starts the queue with the driver's settings.
  /// - Throws: `QueueError.size`, `.placement`.
  public mutating func start(in memory: DeviceMemory) throws(QueueError) {
    guard size > 0, size <= UInt32(capacity), size & (size - 1) == 0 else { throw .size(size) }
    let count = UInt64(size)
    parts = Parts(
      table: try Self.part(at: table, count: count * 16, alignment: 16, memory),
      available: try Self.part(at: available, count: 6 + count * 2, alignment: 2, memory),
      used: try Self.part(at: used, count: 6 + count * 8, alignment: 4, memory))
    mask = UInt16(size - 1)
    nextAvailable = 0
    nextUsed = 0
  }

  private static func part(at address: UInt64, count: UInt64, alignment: UInt64, _ memory: DeviceMemory)
    throws(QueueError) -> UnsafeMutableRawPointer
  {
    // Guest memory is mapped with at least this alignment, so an aligned guest address is aligned here, too.
    guard address & (alignment - 1) == 0, let start = memory.bytes(at: address, count: count)?.baseAddress else {
      throw .placement(address: address)
    }
    return start
  }

  /// Clears the driver's settings.
  public mutating func reset() { self = Virtqueue(capacity: capacity) }

  /// Number of chains that are available and not taken.
  public func offered() throws(QueueError) -> UInt16 {
    guard let parts else { return 0 }
    let count = linux_load16(parts.available + 2) &- nextAvailable
    guard count <= mask &+ 1 else { throw .offered(count) }
    return count
  }

  /// Takes the next available chain.
  /// - Parameter chain: set to the chain; undefined after an error.
  /// - Returns: false if there is none.
  public mutating func take(_ chain: inout DescriptorChain, _ memory: DeviceMemory) throws(QueueError) -> Bool {
    guard let parts, try offered() > 0 else { return false }
    chain.clear()
    chain.head = linux_load16(parts.available + 4 + Int(nextAvailable & mask) * 2)
    var number = chain.head
    // A chain with more descriptors than the table must have a loop.
    var left = Int(mask) + 1
    while true {
      guard number <= mask else { throw .number(number) }
      guard left > 0 else { throw .loop }
      left -= 1
      let entry = parts.table + Int(number) * 16
      let address = linux_load64(entry)
      let rest = linux_load64(entry + 8)
      let count = UInt32(truncatingIfNeeded: rest)
      let flags = Flags(rawValue: UInt16(truncatingIfNeeded: rest >> 32))
      guard !flags.contains(.indirect) else { throw .indirect }
      guard let bytes = memory.bytes(at: address, count: UInt64(count)) else {
        throw .buffer(address: address, count: count)
      }
      try chain.append(bytes, isWritable: flags.contains(.write))
      guard flags.contains(.next) else { break }
      number = UInt16(truncatingIfNeeded: rest >> 48)
    }
    nextAvailable &+= 1
    return true
  }

  /// Returns a chain to the driver, in the used ring.
  /// - Parameters:
  ///   - head: of a chain that was taken from this queue.
  ///   - written: number of bytes written to its device-writable buffers.
  public mutating func giveBack(_ head: UInt16, written: Int) {
    guard let parts else { return }
    let element = parts.used + 4 + Int(nextUsed & mask) * 8
    linux_store32(element, UInt32(head))
    linux_store32(element + 4, UInt32(clamping: written))
    nextUsed &+= 1
    linux_store16(parts.used + 2, nextUsed)
  }

  /// Whether the driver wants a used buffer notification.
  public func wantsInterrupt() -> Bool {
    guard let parts else { return false }
    linux_full_fence()
    return linux_load16(parts.available) & 1 == 0
  }

  /// Enables or disables available buffer notifications. After enabling them, the caller must check for chains that are already
  /// available.
  public func setNotifications(_ areWanted: Bool) {
    guard let parts else { return }
    linux_store16(parts.used, areWanted ? 0 : 1)
    linux_full_fence()
  }

  /// Of a descriptor (VIRTQ_DESC_F_…).
  private struct Flags: OptionSet {
    let rawValue: UInt16
    static let next = Flags(rawValue: 1)
    static let write = Flags(rawValue: 2)
    static let indirect = Flags(rawValue: 4)
  }
}
