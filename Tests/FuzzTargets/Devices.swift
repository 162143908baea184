import CLinux
import Devices
import Platform
import Synchronization

extension FuzzTarget {
  /// Devices with a hostile driver: loads and stores of registers, memory that changes, invalid queues.
  static let virtio = FuzzTarget(
    name: "virtio", input: "devices of Linux guests",
    run: { bytes in
      var input = Input(bytes)
      let board = DeviceBoard()
      while !input.isEmpty { board.step(&input) }
    },
    seeds: {
      // One request to each device: queue 0 is set up, with a chain of a header, data and a status, and a notification.
      (0..<4).map { device in
        let window = UInt8(device)
        var seed: [UInt8] = [0, window, 0x70, 0, 0, 0, 0, 0, window, 0x70, 11, 0, 0, 0]
        for queue in 0..<4 as Range<UInt8> {
          seed += [4, window, queue, 4]
          seed += [5, queue, 0, 0, 16, 1, 1] + [5, queue, 1, 1, 0, 3, 2] + [5, queue, 2, 2, 1, 2, 0]
          seed += [6, queue, 0]
        }
        seed += [0, window, 0x70, 15, 0, 0, 0]
        for queue in 0..<4 as Range<UInt8> { seed += [0, window, 0x50, queue, 0, 0, 0, 7, window] }
        return seed + [1, window, 0x60, 0, 8, 5]
      } + [[0, 4, 4, 1, 0, 0, 0, 0, 5, 1, 0xff, 0, 0, 0, 2, 5, 1, 4, 3, 5, 0, 3]]
    })
}

/// An interrupt line without a controller.
private final class Silent: InterruptLine {
  func pulse() {}
  func setLevel(_ isHigh: Bool) {}
}

/// One of each device, and memory that they share with their driver.
final class DeviceBoard {
  private let memory: DeviceMemory
  private let disk = MemoryFile(repeatElement(0x5a, count: 16 << 10))
  private let block: VirtioBlock
  private let console: VirtioConsole
  private let entropy: VirtioEntropy
  private let ports: VirtioPorts
  private let port: GuestPort
  private let uart: UART
  private let plic = PLIC(harts: 3) { hart, _ in hold(hart < 3, "harts are those there are") }
  private let devices: [any MMIODevice]
  /// Size of each address range: the bus passes no other offsets.
  private let windows: [UInt64]
  private static let base: UInt64 = 0x8000_0000
  private static let size: UInt64 = 256 << 10
  private static let null = Int32(truncatingIfNeeded: linux_open("/dev/null", O_RDWR | O_CLOEXEC, 0))
  /// The output of its consoles.
  let output: GuestOutput
  /// Two targets may have a board at the same time, each with a socket of its own.
  private static let boards = Atomic<Int>(0)

  init() {
    let kernel = LinuxKernel()
    // The host's side is not hostile.
    memory = try! DeviceMemory(at: Self.base, count: Int(Self.size), kernel: kernel)
    output = GuestOutput(descriptor: Self.null, mustStop: { true }, onFailure: { _ in })
    let standardError = Counter()
    let complain: @Sendable (String) -> Void = { text in
      hold(!text.isEmpty && !text.contains("\n"), "a complaint is one line")
      standardError.count += 1
      hold(standardError.count <= 4, "a device complains once")
    }
    block = try! VirtioBlock(
      path: disk.path, isReadOnly: false, serial: "fuzz", memory: memory, interrupt: Silent(), kernel: kernel,
      complain: complain)
    console = VirtioConsole(output: output, memory: memory, interrupt: Silent(), complain: complain)
    entropy = VirtioEntropy(memory: memory, interrupt: Silent(), complain: complain)
    let number = Self.boards.wrappingAdd(1, ordering: .relaxed).newValue
    let path = "/tmp/swiftlet-fuzz-\(getpid())-\(number).socket"
    port = try! GuestPort(name: "port", path: path, kernel: kernel)
    ports = VirtioPorts(ports: [port], memory: memory, interrupt: Silent(), complain: complain)
    uart = UART(output: output, interrupt: plic.line(1))
    devices = [VirtioMMIO(block), VirtioMMIO(console), VirtioMMIO(entropy), VirtioMMIO(ports), uart, plic]
    windows = Array(repeating: VirtioMMIO.windowSize, count: 4) + [UART.windowSize, PLIC.windowSize]
  }

  deinit { ports.close() }

  /// Address of a device on the bus, at a distance of the largest address range.
  static func place(_ index: Int) -> UInt64 { UInt64(index + 1) << 26 }

  var bus: MMIOBus {
    var bus = MMIOBus()
    for (index, device) in devices.enumerated() {
      bus.add(device, at: Self.place(index)..<Self.place(index) + windows[index])
    }
    return bus
  }

  private final class Counter: @unchecked Sendable { var count = 0 }

  func step(_ input: inout Input) {
    switch input.byte() & 7 {
    case 0:  // a store to a register
      let (device, window) = device(&input)
      let offset = UInt64(input.byte())
      device.store(offset % window, length: 4, value: UInt64(input.number(UInt32.self)))
    case 1:  // any access
      let (device, window) = device(&input)
      let offset = input.value(near: [0x70, 0x100, 0x1fc, 0x1000, 0x2000, 0x20_0000, 0x3ff_fffc]) % window
      // Exits have 1 to 8 bytes.
      let length = Int(input.byte() & 7) + 1
      if input.byte() & 1 == 0 {
        _ = device.load(offset, length: length)
      } else {
        device.store(offset, length: length, value: input.number())
      }
    case 2:  // memory
      let offset = UInt64(input.number(UInt16.self)) * 4 % (Self.size - 256)
      let content = input.take(Int(input.byte()))
      memory.bytes(at: Self.base + offset, count: UInt64(content.count))?.copyBytes(from: content)
    case 3:  // input of a console
      let bytes = input.take(Int(input.byte() & 31))
      bytes.withUnsafeBytes { input in
        console.receive(input)
        uart.receive(UnsafeRawBufferPointer(rebasing: input.prefix(uart.space)))
      }
      hold(uart.space >= 0, "room is no debt")
    case 4: setUp(device(&input).device, queue: UInt64(input.byte() & 7), bits: input.byte() & 15)
    case 5: describe(&input)
    case 6:  // available chains
      let queue = UInt64(input.byte() & 7)
      let head = input.byte()
      let ring = bytes(available(queue), 0x100)
      let index = ring.load(fromByteOffset: 2, as: UInt16.self)
      ring.storeBytes(of: UInt16(head), toByteOffset: 4 + Int(index & 15) * 2, as: UInt16.self)
      ring.storeBytes(of: index &+ 1, toByteOffset: 2, as: UInt16.self)
    default:  // the I/O thread
      switch input.byte() & 3 {
      case 0: block.ready(.input)
      case 1: _ = port.prepare()
      case 2: console.setSize(columns: input.number(), rows: input.number())
      default: port.ready([])
      }
    }
  }

  private func device(_ input: inout Input) -> (device: any MMIODevice, window: UInt64) {
    let index = Int(input.byte()) % devices.count
    return (devices[index], windows[index])
  }

  private func table(_ queue: UInt64) -> UInt64 { Self.base + queue * 0x4000 }
  private func available(_ queue: UInt64) -> UInt64 { table(queue) + 0x1000 }
  private func bytes(_ address: UInt64, _ count: UInt64) -> UnsafeMutableRawBufferPointer {
    memory.bytes(at: address, count: count)!
  }

  /// A valid driver's setup of a queue.
  private func setUp(_ device: any MMIODevice, queue: UInt64, bits: UInt8) {
    func set(_ offset: UInt64, _ value: UInt64) { device.store(offset, length: 4, value: value & 0xffff_ffff) }
    set(0x30, queue)
    set(0x38, 1 << UInt64(bits))
    for (offset, address) in [(0x80, table(queue)), (0x90, available(queue)), (0xa0, table(queue) + 0x2000)] {
      set(UInt64(offset), address)
      set(UInt64(offset) + 4, address >> 32)
    }
    set(0x44, 1)
  }

  /// A descriptor: table, number, next, size in units of 16 bytes and a rest, flags, kind of address.
  private func describe(_ input: inout Input) {
    let queue = UInt64(input.byte() & 7)
    let number = UInt64(input.byte() & 15)
    let next = UInt16(input.byte())
    let count = UInt32(input.byte())
    let flags = UInt16(input.byte() & 7)
    let kind = input.byte()
    let entry = bytes(table(queue) + number * 16, 16)
    let address =
      kind & 0x80 != 0
      ? input.value(near: [Self.base, Self.base + Self.size, .max]) : Self.base + 0x2_0000 + UInt64(kind) * 512
    entry.storeBytes(of: address, as: UInt64.self)
    entry.storeBytes(of: kind & 1 == 1 ? count : count &* 512, toByteOffset: 8, as: UInt32.self)
    entry.storeBytes(of: flags, toByteOffset: 12, as: UInt16.self)
    entry.storeBytes(of: next, toByteOffset: 14, as: UInt16.self)
  }
}
