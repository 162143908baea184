import Platform

/// The state that a virtio device and its transport share: the queues, and the device status (virtio 1.2, 2 "Basic Facilities").
///
/// Locks, in the order in which they are acquired:
///
///     serving   of a queue: held by the one thread that serves it, as long as that takes
///     lock      of the device: rings, status and the device's state; held for a short time
///     moving    of a queue: held during transfers from or to guest memory, without the device's lock
///
/// A reset acquires a queue's `moving` under the device's lock, so that no transfer is in progress when it returns.
///
/// Sendable because of these locks.
public final class VirtioQueues: @unchecked Sendable {
  /// The device type.
  public let kind: VirtioKind
  /// The guest's memory.
  public let memory: DeviceMemory
  /// Features that the device offers, including VIRTIO_F_VERSION_1.
  let offered: UInt64
  /// Features that the driver has accepted.
  var features: UInt64 = 0
  private(set) var status: UInt32 = 0
  /// The interrupt status, until the driver acknowledges it.
  var interruptStatus: UInt32 = 0
  /// Incremented when the configuration changes.
  private(set) var generation: UInt32 = 0
  private let queues: [Queue]
  private let interrupt: any InterruptLine
  /// Called once with an error of the driver: a sentence for the user.
  private let complain: @Sendable (String) -> Void
  private var hasComplained = false
  /// The error that is to be reported when the lock has been released: that may take long.
  private var complaint: String?
  private let lock = Lock()

  private final class Queue {
    var ring: Virtqueue
    /// The last chain, and whether it is still in use: under the device's lock; its buffers under `moving`.
    var chain = DescriptorChain()
    var isTaken = false
    let serving = Lock()
    let moving = Lock()

    init(capacity: UInt16) { ring = Virtqueue(capacity: capacity) }
  }

  /// - Parameters:
  ///   - features: bits that the device type defines.
  ///   - sizes: maximum number of descriptors of each queue.
  ///   - complain: called at most once, on any thread.
  public init(
    _ kind: VirtioKind, features: UInt64, sizes: [UInt16], memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.kind = kind
    offered = features | Self.version1
    queues = sizes.map { Queue(capacity: $0) }
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

  /// The bits of `interruptStatus` (virtio 1.2, 4.2.2).
  private enum Reason {
    static let usedBuffer: UInt32 = 1
    static let configuration: UInt32 = 2
  }

  /// The number of queues.
  public var count: Int { queues.count }

  /// Runs `body` under the device's lock.
  public func withLock<Result>(_ body: () -> Result) -> Result {
    let (result, complaint) = lock.withLock {
      let result = body()
      defer { self.complaint = nil }
      return (result, self.complaint)
    }
    if let complaint { complain(complaint) }
    return result
  }

  // MARK: Serving, without the device's lock

  /// The progress of a device with a chain.
  public enum Progress: Sendable {
    /// It is complete, with this number of bytes written.
    case done(written: Int)
    /// The next `serve` continues with the rest.
    case paused
  }

  /// Serves all chains that are available in a queue now, starting with an incomplete one; for later ones there is another
  /// notification. Only one thread at a time serves a queue; others wait.
  /// - Parameters:
  ///   - resetWaits: whether a reset waits for `work`, which then holds `moving`. False if `work` may wait for the host and only
  ///     reads guest memory: at worst it reads bytes of the next driver.
  ///   - work: executes the request in a chain, or a part of it, without the device's lock, which it must not acquire.
  ///   - finish: called under the device's lock when a chain is complete, unless the driver has reset the queue meanwhile.
  /// - Returns: whether a chain is incomplete.
  @discardableResult
  public func serve(
    _ number: Int, resetWaits: Bool = true, _ work: (inout DescriptorChain) throws(QueueError) -> Progress,
    finish: () -> Void = {}
  ) -> Bool {
    let queue = queues[number]
    return queue.serving.withLock {
      var left = 0
      var hasReturned = false
      var isUnderWay = withLock {
        guard isRunning, queue.ring.isReady else { return false }
        if queue.isTaken { left = 1 }
        do throws(QueueError) { left += Int(try queue.ring.offered()) } catch { fail(queue: number, error) }
        return proceed(number, resetWaits, &left, &hasReturned)
      }
      while isUnderWay {
        let result: Result<Progress, QueueError>
        do throws(QueueError) { result = .success(try work(&queue.chain)) } catch { result = .failure(error) }
        if resetWaits { queue.moving.release() }
        if case .success(.paused) = result {
          return withLock {
            if hasReturned { signalUsed(number) }
            return queue.isTaken
          }
        }
        isUnderWay = withLock {
          // If the driver has reset the queue meanwhile, it does not expect the chain.
          guard queue.isTaken, isRunning else { return false }
          switch result {
          case .success(.done(let written)):
            finish()
            giveBack(number, written: written)
            hasReturned = true
          case .success(.paused): break
          case .failure(let error): fail(queue: number, error)
          }
          return proceed(number, resetWaits, &left, &hasReturned)
        }
      }
      return false
    }
  }

  /// Gets a queue's next chain, unless one is incomplete, and makes resets wait for it; notifies the driver if there is none.
  private func proceed(_ number: Int, _ resetWaits: Bool, _ left: inout Int, _ hasReturned: inout Bool) -> Bool {
    let queue = queues[number]
    if isRunning, left > 0 {
      left -= 1
      if queue.isTaken || take(number) {
        if resetWaits { queue.moving.acquire() }
        return true
      }
    }
    if hasReturned { signalUsed(number) }
    return false
  }

  private func take(_ number: Int) -> Bool {
    let queue = queues[number]
    do throws(QueueError) { queue.isTaken = try queue.ring.take(&queue.chain, memory) } catch {
      fail(queue: number, error)
    }
    return queue.isTaken
  }

  private func giveBack(_ number: Int, written: Int) {
    let queue = queues[number]
    queue.isTaken = false
    queue.ring.giveBack(queue.chain.head, written: written)
  }

  // MARK: Under the device's lock

  /// Whether the driver is ready and the device has not failed.
  public var isRunning: Bool { status & (Status.driverOK | Status.needsReset) == Status.driverOK }

  /// Whether a chain of a queue is in use.
  public func isTaken(_ number: Int) -> Bool { isRunning && queues[number].isTaken }

  /// Runs `body` while no transfer of a queue is in progress, so that it can change what `serve` reads.
  public func withoutMoving(_ number: Int, _ body: () -> Void) { queues[number].moving.withLock(body) }

  /// Fills the next chain of a queue with bytes from the device.
  /// - Returns: number of bytes that fit; 0 if no chain is available.
  public func send(_ number: Int, _ bytes: UnsafeRawBufferPointer) -> Int {
    let queue = queues[number]
    guard isRunning, queue.ring.isReady, take(number) else { return 0 }
    let count = queue.chain.writable.write(bytes)
    giveBack(number, written: count)
    signalUsed(number)
    return count
  }

  /// Whether a chain is available. If not, the driver will send a notification for the next one.
  public func hasBuffer(_ number: Int) -> Bool {
    let queue = queues[number]
    guard isRunning, queue.ring.isReady else { return false }
    do throws(QueueError) {
      if try queue.ring.offered() > 0 { return true }
      queue.ring.setNotifications(true)
      guard try queue.ring.offered() > 0 else { return false }
      queue.ring.setNotifications(false)
      return true
    } catch {
      fail(queue: number, error)
      return false
    }
  }

  /// Interrupts the driver because the configuration has changed.
  public func configurationChanged() {
    generation &+= 1
    if isRunning { raise(Reason.configuration) }
  }

  /// Sends a used buffer notification, unless the driver has disabled them.
  private func signalUsed(_ number: Int) { if queues[number].ring.wantsInterrupt() { raise(Reason.usedBuffer) } }

  /// Stops the device until the driver resets it (virtio 1.2, 2.1.2 DEVICE_NEEDS_RESET).
  private func fail(queue number: Int, _ error: QueueError) {
    status |= Status.needsReset
    raise(Reason.configuration)
    if hasComplained { return }
    hasComplained = true
    complaint = "error of the guest's driver (\(kind.name)): queue \(number) \(error.description)"
  }

  private func raise(_ reason: UInt32) {
    interruptStatus |= reason
    interrupt.pulse()
  }

  // MARK: For the transport, under the device's lock

  func contains(_ number: Int) -> Bool { queues.indices.contains(number) }

  /// The driver's settings of a queue, which cannot change while it is ready.
  subscript(ring number: Int) -> Virtqueue {
    get { queues[number].ring }
    set { queues[number].ring = newValue }
  }

  /// Sets part of the driver's 64 feature bits; they cannot change after FEATURES_OK.
  func setFeatures(_ bits: UInt64, mask: UInt64) {
    if status & Status.featuresOK == 0 { features = features & ~mask | bits }
  }

  /// Sets the driver's status, other than 0.
  func setStatus(_ value: UInt32) {
    // Bits stay set until a reset, and the driver cannot set DEVICE_NEEDS_RESET.
    var new = status | value & ~Status.needsReset
    // FEATURES_OK stays clear if the device does not accept the features.
    if features & ~offered != 0 || features & Self.version1 == 0 { new &= ~Status.featuresOK }
    if new & Status.featuresOK == 0 { new &= ~Status.driverOK }
    status = new
  }

  /// Starts a queue with the driver's settings.
  func start(_ number: Int) {
    do { try queues[number].ring.start(in: memory) } catch { fail(queue: number, error) }
  }

  /// Resets a queue, after transfers in progress.
  func reset(_ number: Int, _ device: any VirtioDevice) {
    let queue = queues[number]
    queue.moving.withLock {
      queue.isTaken = false
      queue.ring.reset()
      device.queueReset(number)
    }
  }

  func reset(_ device: any VirtioDevice) {
    status = 0
    features = 0
    interruptStatus = 0
    for number in queues.indices { reset(number, device) }
    device.reset()
  }
}
