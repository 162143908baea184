import CLinux
import Devices
import Platform
import Testing

/// The guest side of a virtio device: memory, registers and queues, as a valid or hostile driver uses them.
final class Driver {
  static let base: UInt64 = 0x8000_0000
  static let size = 1 << 20

  let memory: DeviceMemory
  let interrupt = RecordedLine()
  let standardError = Recorder<String>()
  /// Set by `attach`.
  private(set) var transport: VirtioMMIO!
  var device: any VirtioDevice { transport.device }
  private var nextBuffer = base + 0x4_0000
  private var offered: [UInt16] = []
  private var nextDescriptor: [UInt16] = []

  /// A descriptor in the table.
  struct Descriptor {
    var address: UInt64
    var count: UInt32
    var flags: UInt16 = 0
    var next: UInt16 = 0
  }

  static let next: UInt16 = 1
  static let write: UInt16 = 2
  static let indirect: UInt16 = 4

  init() throws {
    memory = try DeviceMemory(at: Self.base, count: Self.size, kernel: LinuxKernel())
  }

  // MARK: Registers

  func register(_ offset: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: transport.load(offset, length: 4)) }
  func set(_ offset: UInt64, _ value: UInt32) { transport.store(offset, length: 4, value: UInt64(value)) }

  /// Initializes a device up to DRIVER_OK with queues of `size` descriptors.
  func attach(_ device: any VirtioDevice, size: UInt32 = 16, features: UInt64 = 1 << 32) {
    transport = VirtioMMIO(device)
    set(0x70, 0)
    set(0x70, 1)
    set(0x70, 3)
    for half in 0..<2 as Range<UInt32> {
      set(0x24, half)
      set(0x20, UInt32(truncatingIfNeeded: features >> UInt64(half * 32)))
    }
    set(0x70, 11)
    offered = []
    nextDescriptor = []
    for queue in 0..<device.queues.count {
      setUp(queue: queue, size: size)
      offered.append(0)
      nextDescriptor.append(0)
    }
    set(0x70, 15)
  }

  func setUp(queue: Int, size: UInt32) {
    set(0x30, UInt32(queue))
    set(0x38, size)
    for (register, address) in [(0x80, table(queue)), (0x90, available(queue)), (0xa0, used(queue))] {
      set(UInt64(register), UInt32(truncatingIfNeeded: address))
      set(UInt64(register) + 4, UInt32(truncatingIfNeeded: address >> 32))
    }
    set(0x44, 1)
  }

  func table(_ queue: Int) -> UInt64 { Self.base + UInt64(queue) * 0x3000 }
  func available(_ queue: Int) -> UInt64 { table(queue) + 0x1000 }
  func used(_ queue: Int) -> UInt64 { table(queue) + 0x2000 }

  // MARK: Memory

  func bytes(_ address: UInt64, _ count: Int) -> UnsafeMutableRawBufferPointer {
    memory.bytes(at: address, count: UInt64(count))!
  }

  /// Space for a buffer.
  func buffer(_ count: Int) -> UInt64 {
    defer { nextBuffer += UInt64(count + 15) / 16 * 16 }
    return nextBuffer
  }

  /// A buffer with these bytes.
  func buffer(_ content: [UInt8]) -> UInt64 {
    let address = buffer(content.count)
    if !content.isEmpty { content.withUnsafeBytes { bytes(address, content.count).copyMemory(from: $0) } }
    return address
  }

  func content(_ address: UInt64, _ count: Int) -> [UInt8] { Array(bytes(address, count)) }

  // MARK: Queues

  func put(_ descriptor: Descriptor, at number: UInt16, queue: Int) {
    let entry = bytes(table(queue) + UInt64(number) * 16, 16)
    entry.storeBytes(of: descriptor.address, as: UInt64.self)
    entry.storeBytes(of: descriptor.count, toByteOffset: 8, as: UInt32.self)
    entry.storeBytes(of: descriptor.flags, toByteOffset: 12, as: UInt16.self)
    entry.storeBytes(of: descriptor.next, toByteOffset: 14, as: UInt16.self)
  }

  /// Makes the head of a chain available.
  func offer(_ head: UInt16, queue: Int) {
    let ring = bytes(available(queue), 0x100)
    ring.storeBytes(of: head, toByteOffset: 4 + Int(offered[queue] & 15) * 2, as: UInt16.self)
    offered[queue] &+= 1
    ring.storeBytes(of: offered[queue], toByteOffset: 2, as: UInt16.self)
  }

  func offerCount(_ count: UInt16, queue: Int) {
    bytes(available(queue), 16).storeBytes(of: count, toByteOffset: 2, as: UInt16.self)
  }

  func notify(_ queue: Int) { set(0x50, UInt32(queue)) }

  /// Makes one chain available, and notifies the device.
  func request(queue: Int, read: [[UInt8]] = [], write: [(UInt64, Int)] = [], notify: Bool = true) {
    var chain: [Descriptor] = read.map { Descriptor(address: buffer($0), count: UInt32($0.count)) }
    chain += write.map { Descriptor(address: $0.0, count: UInt32($0.1), flags: Self.write) }
    let head = nextDescriptor[queue]
    for index in chain.indices {
      let number = (head + UInt16(index)) & 15
      if index < chain.count - 1 {
        chain[index].flags |= Self.next
        chain[index].next = (number + 1) & 15
      }
      put(chain[index], at: number, queue: queue)
    }
    nextDescriptor[queue] = (head + UInt16(chain.count)) & 15
    offer(head, queue: queue)
    if notify { self.notify(queue) }
  }

  func usedCount(_ queue: Int) -> UInt16 { bytes(used(queue), 16).load(fromByteOffset: 2, as: UInt16.self) }

  /// Head and length of a used chain.
  func usedElement(_ index: Int, queue: Int) -> (head: UInt32, written: UInt32) {
    let ring = bytes(used(queue), 0x100)
    return (
      ring.load(fromByteOffset: 4 + index * 8, as: UInt32.self),
      ring.load(fromByteOffset: 8 + index * 8, as: UInt32.self)
    )
  }

  /// Whether the device has requested a reset.
  var hasFailed: Bool { register(0x70) & 64 != 0 }
}

/// An interrupt line that records its changes.
final class RecordedLine: InterruptLine, @unchecked Sendable {
  private let lock = Lock()
  private var recorded = (pulses: 0, isHigh: false)
  var pulses: Int { lock.withLock { recorded.pulses } }
  var isHigh: Bool { lock.withLock { recorded.isHigh } }
  func pulse() { lock.withLock { recorded.pulses += 1 } }
  func setLevel(_ isHigh: Bool) { lock.withLock { recorded.isHigh = isHigh } }
}

/// Records its arguments.
final class Recorder<Value: Sendable>: @unchecked Sendable {
  private let lock = Lock()
  private var recorded: [Value] = []
  var values: [Value] { lock.withLock { recorded } }
  func add(_ value: Value) { lock.withLock { recorded.append(value) } }
}

/// A pipe that gets the guest's output.
final class Pipe {
  let input: Int32
  let output: Int32

  init() {
    var both: [Int32] = [0, 0]
    precondition(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &both) == 0)
    (output, input) = (both[0], both[1])
  }

  deinit {
    close(input)
    close(output)
  }

  /// Its current contents.
  func take() -> String {
    var buffer = [UInt8](repeating: 0, count: 65536)
    let count = recv(output, &buffer, buffer.count, Int32(MSG_DONTWAIT))
    return String(decoding: buffer[..<max(count, 0)], as: UTF8.self)
  }
}
