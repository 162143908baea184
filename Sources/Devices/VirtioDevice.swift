import Platform

/// A virtio device with the MMIO transport (virtio 1.2, 4.2 "Virtio Over MMIO", version 2): the registers, and what all
/// devices have in common. A subclass is one device.
///
/// One lock a device: the guest's processors and the I/O thread enter through `load`, `store` and `withLock`, and what a
/// subclass overrides runs inside, but for `notifiedOutside`: what waits for the host would keep them all waiting.
open class VirtioDevice: MMIODevice, @unchecked Sendable {
  /// Device types (virtio 1.2, 5 "Device Types").
  public enum Kind: UInt32, Sendable {
    case block = 2
    case console = 3
    case entropy = 4

    public var name: StaticString {
      switch self {
      case .block: "disk"
      case .console: "console"
      case .entropy: "random numbers"
      }
    }
  }

  public final let kind: Kind
  /// Features that the device offers, VIRTIO_F_VERSION_1 among them.
  private final let offered: UInt64
  /// Features that the driver has taken.
  public final private(set) var features: UInt64 = 0
  public final let memory: DeviceMemory
  private final let interrupt: any InterruptLine
  /// Told once of a driver that broke the rules: a sentence for the user.
  private final let complain: @Sendable (String) -> Void
  private final let lock = Lock()

  public final var queues: [Virtqueue]
  /// For the request that is being served.
  public final var chain = DescriptorChain()
  private final var status: UInt32 = 0
  private final var interruptStatus: UInt32 = 0
  private final var generation: UInt32 = 0
  private final var queueSelector: UInt32 = 0
  private final var offeredSelector: UInt32 = 0
  private final var takenSelector: UInt32 = 0
  private final var hasComplained = false
  /// Changes whenever the driver takes a queue back: chains that were taken before are nobody's.
  private final var epoch: UInt32 = 0

  /// Bytes of a device's registers and configuration.
  public static let windowSize: UInt64 = 0x200

  /// - Parameters:
  ///   - features: bits that the device type defines.
  ///   - queueSizes: most descriptors of each queue.
  ///   - complain: called at most once, on any thread.
  public init(
    _ kind: Kind, features: UInt64, queueSizes: [UInt16], memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.kind = kind
    offered = features | Self.version1
    queues = queueSizes.map { Virtqueue(capacity: $0) }
    self.memory = memory
    self.interrupt = interrupt
    self.complain = complain
  }

  /// VIRTIO_F_VERSION_1.
  private static let version1: UInt64 = 1 << 32

  /// The device status field (virtio 1.2, 2.1).
  private enum Status {
    static let driverOK: UInt32 = 4
    static let featuresOK: UInt32 = 8
    static let needsReset: UInt32 = 64
  }

  // MARK: What a subclass says and does

  /// A byte of the device's configuration; 0 beyond it.
  open func configuration(at offset: Int) -> UInt8 { 0 }

  /// The driver has offered buffers on a queue.
  open func notified(queue: Int) {}

  /// The same, outside the lock, and whatever state the device is in: for queues that are served by `serveOutside`.
  open func notifiedOutside(queue: Int) {}

  /// The driver is ready: queues may be used from now on.
  open func started() {}

  /// The driver has reset the device.
  open func stopped() {}

  /// The driver takes a queue back, by itself or with the device: what was taken from it is given back no more.
  open func forget(queue: Int) {}

  // MARK: For subclasses and the I/O thread

  /// Runs `body` while no processor reaches the device.
  public final func withLock<Result>(_ body: () -> Result) -> Result { lock.withLock(body) }

  /// Whether the driver is ready, and the device has not failed.
  public final var isRunning: Bool { status & (Status.driverOK | Status.needsReset) == Status.driverOK }

  /// Serves every chain that a queue offers at this moment: those that come later bring a notification of their own.
  /// - Parameter body: consumes `chain` and answers the number of bytes written to it.
  public final func serve(queue: Int, _ body: () throws(QueueError) -> Int) {
    guard isRunning, queues[queue].isReady else { return }
    do throws(QueueError) {
      var left = try queues[queue].offered()
      guard left > 0 else { return }
      while left > 0, try queues[queue].take(&chain, memory) {
        let written = try body()
        queues[queue].giveBack(chain.head, written: written)
        left -= 1
      }
    } catch { fail(queue: queue, error) }
    tell(queue: queue)
  }

  /// Serves a queue as `serve` does, but outside the lock while `body` works, which may take its time. By one thread at a time
  /// for each queue.
  /// - Parameter chain: for the request that is being served.
  /// - Returns: whether the driver is ready.
  @discardableResult
  public final func serveOutside(
    queue: Int, _ chain: inout DescriptorChain, _ body: (inout DescriptorChain) throws(QueueError) -> Int
  ) -> Bool {
    var (left, taken): (UInt16, UInt32) = (0, 0)
    let isReady = withLock {
      guard queues.indices.contains(queue), isRunning, queues[queue].isReady else { return false }
      taken = epoch
      do throws(QueueError) { left = try queues[queue].offered() } catch { fail(queue: queue, error) }
      if left > 0 { takeOutside(queue, &chain, &left) }
      return true
    }
    while left > 0 {
      var (written, failure): (Int, QueueError?) = (0, nil)
      do throws(QueueError) { written = try body(&chain) } catch { failure = error }
      withLock {
        // Nobody waits for the answer where the driver has reset the device meanwhile.
        guard epoch == taken, isRunning else { return left = 0 }
        if let failure {
          left = 0
          return fail(queue: queue, failure)
        }
        queues[queue].giveBack(chain.head, written: written)
        left -= 1
        if left > 0 { takeOutside(queue, &chain, &left) }
        if left == 0 { tell(queue: queue) }
      }
    }
    return isReady
  }

  /// Takes the next chain of those on offer; none is left where that fails.
  private final func takeOutside(_ queue: Int, _ chain: inout DescriptorChain, _ left: inout UInt16) {
    do throws(QueueError) {
      if try !queues[queue].take(&chain, memory) { left = 0 }
    } catch {
      left = 0
      fail(queue: queue, error)
    }
  }

  /// Tells the driver, if it wants to know, that chains of a queue have come back.
  public final func tell(queue: Int) { if queues[queue].wantsInterrupt() { raise(1) } }

  /// Fills the next chain of a queue with bytes from the device.
  /// - Returns: how many bytes the driver got; 0 where it offers no chain.
  public final func send(queue: Int, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard isRunning, queues[queue].isReady else { return 0 }
    do throws(QueueError) {
      guard try queues[queue].take(&chain, memory) else { return 0 }
    } catch {
      fail(queue: queue, error)
      return 0
    }
    let count = chain.writable.write(bytes)
    queues[queue].giveBack(chain.head, written: count)
    tell(queue: queue)
    return count
  }

  /// Whether the driver offers a chain. Where it does not, its next one brings a notification.
  public final func hasBuffer(queue: Int) -> Bool {
    guard isRunning, queues[queue].isReady else { return false }
    do throws(QueueError) {
      if try queues[queue].offered() > 0 { return true }
      queues[queue].setNotifications(true)
      guard try queues[queue].offered() > 0 else { return false }
      queues[queue].setNotifications(false)
      return true
    } catch {
      fail(queue: queue, error)
      return false
    }
  }

  /// Gives a chain back to which nothing was written.
  public final func finish(queue: Int, _ head: UInt16) {
    queues[queue].giveBack(head, written: 0)
    tell(queue: queue)
  }

  /// Tells the driver that the configuration has changed.
  public final func configurationChanged() {
    generation &+= 1
    if isRunning { raise(2) }
  }

  /// Stops the device until the driver resets it (virtio 1.2, 2.1.2 DEVICE_NEEDS_RESET).
  public final func fail(queue: Int, _ error: QueueError) {
    status |= Status.needsReset
    raise(2)
    if hasComplained { return }
    hasComplained = true
    complain("the guest's driver broke the device (\(kind.name)): its queue \(queue) \(error.description)")
  }

  private final func raise(_ reason: UInt32) {
    interruptStatus |= reason
    interrupt.pulse()
  }

  // MARK: Registers

  public final func load(_ offset: UInt64, length: Int) -> UInt64 {
    lock.withLock {
      if offset >= Register.configuration { return loadConfiguration(offset - Register.configuration, length) }
      // Registers are 32 bits wide, and accessed so.
      guard length == 4 else { return 0 }
      return UInt64(register(offset))
    }
  }

  public final func store(_ offset: UInt64, length: Int, value: UInt64) {
    // No device here has a configuration that the driver writes.
    guard length == 4, offset < Register.configuration else { return }
    lock.withLock { setRegister(offset, UInt32(truncatingIfNeeded: value)) }
    if offset == Register.queueNotify { notifiedOutside(queue: Int(UInt32(truncatingIfNeeded: value))) }
  }

  private final func loadConfiguration(_ offset: UInt64, _ length: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<length { value |= UInt64(configuration(at: Int(offset) + index)) << UInt64(index * 8) }
    return value
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

  /// Where a queue's driver tells of new buffers: an offset into the window; the value is the queue's number.
  public static var notifyOffset: UInt64 { Register.queueNotify }

  private final func register(_ offset: UInt64) -> UInt32 {
    switch offset {
    case Register.magic: 0x7472_6976  // "virt"
    case Register.version: 2
    case Register.device: kind.rawValue
    case Register.vendor: 0x746c_7773  // "swlt"
    case Register.offered: Self.half(offered, offeredSelector)
    case Register.queueCapacity: selectedQueue.map { UInt32(queues[$0].capacity) } ?? 0
    case Register.queueReady: selectedQueue.map { queues[$0].isReady ? 1 : 0 } ?? 0
    case Register.interruptStatus: interruptStatus
    case Register.status: status
    // A region of shared memory that does not exist has all ones as its size and address.
    case let offset where Register.sharedMemory.contains(offset): .max
    case Register.generation: generation
    default: 0
    }
  }

  private static func half(_ value: UInt64, _ selector: UInt32) -> UInt32 {
    selector > 1 ? 0 : UInt32(truncatingIfNeeded: value >> (UInt64(selector) * 32))
  }

  private final var selectedQueue: Int? {
    let number = Int(queueSelector)
    return queues.indices.contains(number) ? number : nil
  }

  private final func setRegister(_ offset: UInt64, _ value: UInt32) {
    switch offset {
    case Register.queueNotify:
      let queue = Int(value)
      if isRunning, queues.indices.contains(queue) { notified(queue: queue) }
    case Register.interruptAcknowledge: interruptStatus &= ~value
    case Register.offeredSelector: offeredSelector = value
    case Register.takenSelector: takenSelector = value
    case Register.taken:
      // Settled once the driver has said so.
      guard status & Status.featuresOK == 0, takenSelector < 2 else { return }
      let shift = UInt64(takenSelector) * 32
      features = features & ~(0xffff_ffff << shift) | UInt64(value) << shift
    case Register.queueSelector: queueSelector = value
    case Register.status: setStatus(value)
    default: setQueueRegister(offset, value)
    }
  }

  /// A queue's registers, which are settled while it is ready.
  private final func setQueueRegister(_ offset: UInt64, _ value: UInt32) {
    guard let number = selectedQueue else { return }
    if offset == Register.queueReady {
      if value & 1 == 0 {
        epoch &+= 1
        forget(queue: number)
        queues[number].reset()
      } else if !queues[number].isReady {
        do { try queues[number].start(in: memory) } catch { fail(queue: number, error) }
      }
      return
    }
    guard !queues[number].isReady else { return }
    switch offset {
    case Register.queueSize: queues[number].size = value
    case Register.table: Self.setLow(&queues[number].table, value)
    case Register.table + 4: Self.setHigh(&queues[number].table, value)
    case Register.available: Self.setLow(&queues[number].available, value)
    case Register.available + 4: Self.setHigh(&queues[number].available, value)
    case Register.used: Self.setLow(&queues[number].used, value)
    case Register.used + 4: Self.setHigh(&queues[number].used, value)
    default: break
    }
  }

  private static func setLow(_ address: inout UInt64, _ value: UInt32) {
    address = address & 0xffff_ffff_0000_0000 | UInt64(value)
  }

  private static func setHigh(_ address: inout UInt64, _ value: UInt32) {
    address = address & 0xffff_ffff | UInt64(value) << 32
  }

  private final func setStatus(_ value: UInt32) {
    if value == 0 { return reset() }
    let wasRunning = isRunning
    // What is set stays set until the reset; the device's own bit is not the driver's to set.
    var new = status | value & ~Status.needsReset
    // The driver reads back whether the device accepts the features it took.
    if features & ~offered != 0 || features & Self.version1 == 0 { new &= ~Status.featuresOK }
    if new & Status.featuresOK == 0 { new &= ~Status.driverOK }
    status = new
    if isRunning, !wasRunning { started() }
  }

  private final func reset() {
    epoch &+= 1
    status = 0
    features = 0
    interruptStatus = 0
    queueSelector = 0
    offeredSelector = 0
    takenSelector = 0
    for index in queues.indices {
      forget(queue: index)
      queues[index].reset()
    }
    stopped()
  }
}
