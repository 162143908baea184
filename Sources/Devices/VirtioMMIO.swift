/// The MMIO transport (virtio 1.2, 4.2 "Virtio Over MMIO", version 2): the registers of a device.
///
/// Sendable because of the queues' lock.
public final class VirtioMMIO: MMIODevice, @unchecked Sendable {
  /// The device.
  public let device: any VirtioDevice
  private let queues: VirtioQueues
  // Under the queues' lock.
  private var queueSelector: UInt32 = 0
  private var offeredSelector: UInt32 = 0
  private var takenSelector: UInt32 = 0

  /// Size of the registers and the configuration, in bytes.
  public static let windowSize: UInt64 = 0x200
  /// The register for available buffer notifications, as an offset; the value is the queue's index.
  public static var notifyOffset: UInt64 { Register.queueNotify }

  /// The registers of a device.
  public init(_ device: any VirtioDevice) {
    self.device = device
    queues = device.queues
  }

  /// Offsets (virtio 1.2, 4.2.2).
  private enum Register {
    static let magic: UInt64 = 0x00
    static let version: UInt64 = 0x04
    static let device: UInt64 = 0x08
    static let vendor: UInt64 = 0x0c
    static let offered: UInt64 = 0x10
    static let offeredSelector: UInt64 = 0x14
    static let taken: UInt64 = 0x20
    static let takenSelector: UInt64 = 0x24
    static let queueSelector: UInt64 = 0x30
    static let queueCapacity: UInt64 = 0x34
    static let queueSize: UInt64 = 0x38
    static let queueReady: UInt64 = 0x44
    static let queueNotify: UInt64 = 0x50
    static let interruptStatus: UInt64 = 0x60
    static let interruptAcknowledge: UInt64 = 0x64
    static let status: UInt64 = 0x70
    static let table: UInt64 = 0x80
    static let available: UInt64 = 0x90
    static let used: UInt64 = 0xa0
    static let sharedMemory: Range<UInt64> = 0xb0..<0xc0
    static let generation: UInt64 = 0xfc
    static let configuration: UInt64 = 0x100
  }

  // MARK: Loads

  /// Handles a load from a register or the configuration space.
  public func load(_ offset: UInt64, length: Int) -> UInt64 {
    queues.withLock {
      if offset >= Register.configuration { return loadConfiguration(offset - Register.configuration, length) }
      // Registers are 32 bits wide and must be accessed as a whole.
      guard length == 4 else { return 0 }
      return UInt64(register(offset))
    }
  }

  private func loadConfiguration(_ offset: UInt64, _ length: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<length { value |= UInt64(device.configuration(at: Int(offset) + index)) << UInt64(index * 8) }
    return value
  }

  private func register(_ offset: UInt64) -> UInt32 {
    switch offset {
    case Register.magic: 0x7472_6976  // "virt"
    case Register.version: 2
    case Register.device: queues.kind.rawValue
    case Register.vendor: 0x746c_7773  // "swlt"
    case Register.offered:
      offeredSelector > 1 ? 0 : UInt32(truncatingIfNeeded: queues.offered >> (UInt64(offeredSelector) * 32))
    case Register.queueCapacity: selectedQueue.map { UInt32(queues[ring: $0].capacity) } ?? 0
    case Register.queueReady: selectedQueue.map { queues[ring: $0].isReady ? 1 : 0 } ?? 0
    case Register.interruptStatus: queues.interruptStatus
    case Register.status: queues.status
    // A shared memory region that does not exist has all ones as size and address.
    case let offset where Register.sharedMemory.contains(offset): .max
    case Register.generation: queues.generation
    default: 0
    }
  }

  private var selectedQueue: Int? {
    let number = Int(queueSelector)
    return queues.contains(number) ? number : nil
  }

  // MARK: Stores

  /// Handles a store to a register.
  public func store(_ offset: UInt64, length: Int, value: UInt64) {
    // No device here has a configuration field that the driver can write.
    guard length == 4, offset < Register.configuration else { return }
    let value = UInt32(truncatingIfNeeded: value)
    if offset == Register.queueNotify {
      let queue = Int(value)
      if queues.withLock({ queues.isRunning && queues.contains(queue) }) { device.queueNotified(queue) }
    } else {
      queues.withLock { setRegister(offset, value) }
    }
  }

  private func setRegister(_ offset: UInt64, _ value: UInt32) {
    switch offset {
    case Register.interruptAcknowledge: queues.interruptStatus &= ~value
    case Register.offeredSelector: offeredSelector = value
    case Register.takenSelector: takenSelector = value
    case Register.taken:
      guard takenSelector < 2 else { return }
      let shift = UInt64(takenSelector) * 32
      queues.setFeatures(UInt64(value) << shift, mask: 0xffff_ffff << shift)
    case Register.queueSelector: queueSelector = value
    case Register.status: value == 0 ? reset() : queues.setStatus(value)
    default: setQueueRegister(offset, value)
    }
  }

  private func reset() {
    queueSelector = 0
    offeredSelector = 0
    takenSelector = 0
    queues.reset(device)
  }

  /// A queue's registers, which cannot change while it is ready.
  private func setQueueRegister(_ offset: UInt64, _ value: UInt32) {
    guard let number = selectedQueue else { return }
    let isReady = queues[ring: number].isReady
    switch offset {
    case Register.queueReady where value & 1 == 0: queues.reset(number, device)
    case _ where isReady: return
    case Register.queueReady: queues.start(number)
    case Register.queueSize: queues[ring: number].size = value
    case Register.table: Self.setLow(&queues[ring: number].table, value)
    case Register.table + 4: Self.setHigh(&queues[ring: number].table, value)
    case Register.available: Self.setLow(&queues[ring: number].available, value)
    case Register.available + 4: Self.setHigh(&queues[ring: number].available, value)
    case Register.used: Self.setLow(&queues[ring: number].used, value)
    case Register.used + 4: Self.setHigh(&queues[ring: number].used, value)
    default: return
    }
  }

  private static func setLow(_ address: inout UInt64, _ value: UInt32) {
    address = address & 0xffff_ffff_0000_0000 | UInt64(value)
  }

  private static func setHigh(_ address: inout UInt64, _ value: UInt32) {
    address = address & 0xffff_ffff | UInt64(value) << 32
  }
}
