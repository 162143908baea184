import CLinux

/// What is wrong with a queue: the guest's driver broke the rules of the virtio specification (version 1.2, 2.7 "Split
/// Virtqueues").
public enum QueueError: Error, Equatable, Sendable {
  /// The number of descriptors is no power of two, zero, or more than the device has.
  case size(UInt32)
  /// A part of the queue is not in memory, or not aligned.
  case placement(address: UInt64)
  /// More chains are on offer than the queue has descriptors.
  case offered(UInt16)
  /// A descriptor's number is beyond the table.
  case number(UInt16)
  /// A chain is longer than the table: it runs in a circle.
  case loop
  /// A buffer is not all in memory.
  case buffer(address: UInt64, count: UInt32)
  /// A table of descriptors elsewhere, which this device does not offer.
  case indirect
  /// A buffer to read behind one to write.
  case order
  /// The request is too short, or has no buffer for the answer.
  case request

  /// What happened, to stand behind the names of device and queue.
  public var description: String {
    switch self {
    case .size(let size): "has \(size) descriptors, which no queue of this device can have"
    case .placement(let address): "is at 0x\(String(address, radix: 16)), which is not in memory or not aligned"
    case .offered(let count): "offers \(count) buffers at once, more than it has descriptors"
    case .number(let number): "names descriptor \(number), which is beyond its table"
    case .loop: "holds a chain of descriptors that runs in a circle"
    case .buffer(let address, let count):
      "holds a buffer of \(count) bytes at 0x\(String(address, radix: 16)), which is not all in memory"
    case .indirect: "holds an indirect descriptor, which was not negotiated"
    case .order: "holds a buffer for the device to read behind one for it to write"
    case .request: "holds a request without room for its header or its answer"
    }
  }
}

/// A split virtqueue, the device's side. Nothing in it is believed: addresses and numbers are checked when they are used,
/// and used as they were when they were checked.
public struct Virtqueue {
  /// Most descriptors that it can have.
  public let capacity: UInt16
  /// What the driver has set: the number of descriptors, and the addresses of the three parts.
  public var size: UInt32
  public var table: UInt64 = 0
  public var available: UInt64 = 0
  public var used: UInt64 = 0

  /// The parts in this process's memory, while the queue is ready.
  private var parts: Parts?
  /// The mask that makes a ring's index of a running number: the size less one.
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

  public var isReady: Bool { parts != nil }

  /// Starts the queue with what the driver has set.
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
    // Guest memory is mapped so that an aligned address of the guest's is aligned here, too.
    guard address & (alignment - 1) == 0, let start = memory.bytes(at: address, count: count)?.baseAddress else {
      throw .placement(address: address)
    }
    return start
  }

  /// Forgets all that the driver has set.
  public mutating func reset() { self = Virtqueue(capacity: capacity) }

  /// Chains that the driver has offered and nobody has taken yet.
  public func offered() throws(QueueError) -> UInt16 {
    guard let parts else { return 0 }
    let count = linux_load16(parts.available + 2) &- nextAvailable
    guard count <= mask &+ 1 else { throw .offered(count) }
    return count
  }

  /// Takes the next chain on offer.
  /// - Parameter chain: becomes what was taken; undefined after an error.
  /// - Returns: false where none is on offer.
  public mutating func take(_ chain: inout DescriptorChain, _ memory: DeviceMemory) throws(QueueError) -> Bool {
    guard let parts, try offered() > 0 else { return false }
    chain.clear()
    chain.head = linux_load16(parts.available + 4 + Int(nextAvailable & mask) * 2)
    var number = chain.head
    // No chain has more descriptors than the table: `left` counts down to what only a circle can reach.
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

  /// Gives a chain back.
  /// - Parameters:
  ///   - head: of a chain that was taken from this queue.
  ///   - written: bytes that were written to its writable buffers.
  public mutating func giveBack(_ head: UInt16, written: Int) {
    guard let parts else { return }
    let element = parts.used + 4 + Int(nextUsed & mask) * 8
    linux_store32(element, UInt32(head))
    linux_store32(element + 4, UInt32(clamping: written))
    nextUsed &+= 1
    linux_store16(parts.used + 2, nextUsed)
  }

  /// Whether the driver wants an interrupt for what was given back.
  public func wantsInterrupt() -> Bool {
    guard let parts else { return false }
    linux_full_fence()
    return linux_load16(parts.available) & 1 == 0
  }

  /// Says whether the device wants to be told of new chains. Where it does, chains that are there already have to be looked
  /// for afterwards.
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
