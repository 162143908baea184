import Applet
import AppletABI
import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Loads an image and makes a context of it: GoTEE's Load.
  /// - Parameters:
  ///   - image: used up: what the guest sees is a copy.
  ///   - secure: whether it is an applet in user mode or a program in system mode.
  ///   - memorySize: bytes of memory; `SecureLayout.leastMemory` to `mostMemory`.
  /// - Throws: `LoadError`.
  public convenience init(
    image: consuming AppletImage, secure: Bool, memorySize: UInt64 = SecureLayout.defaultMemory,
    system: borrowing System, architecture: Architecture, options: Options = Options()
  ) throws(LoadError) {
    if secure {
      try self.init(
        image: image, memorySize: memorySize, system: system, architecture: architecture, options: options)
    } else {
      try self.init(
        program: image, memorySize: memorySize, system: system, architecture: architecture, options: options)
    }
  }

  /// Makes a non-secure context of a bare-metal program: system mode, with an identity map and caches on.
  /// - Throws: `LoadError`.
  convenience init(
    program image: consuming AppletImage, memorySize: UInt64, system: borrowing System, architecture: Architecture,
    options: Options
  ) throws(LoadError) {
    let layout: ProgramLayout
    do {
      layout = try ProgramLayout(
        image: image.range, size: memorySize,
        deviceTree: MachineDescription.treeRoom(
          program: options.argumentSize, processors: options.processors, options.deviceTree),
        hostPage: UInt64(linux_page_size()), addressLimit: 1 << UInt64(system.addressBits(of: architecture)))
    } catch { throw .image(.layout(error, memory: memorySize)) }
    var described = MachineDescription(program: layout, architecture: architecture, arguments: options.argumentBytes)
    described.processors.count = options.processors
    if options.sharesMemory { described.share(Self.sharedRange) }
    described.chosen.rngSeed = [UInt8](repeating: 0, count: 32)
    let seeded = described.chosen.rngSeed.withUnsafeMutableBytes { room in
      uninterrupted { linux_getrandom(room.baseAddress, room.count) }
    }
    // A seed of zeros would pass for one.
    if seeded < 32 { described.chosen.rngSeed = [] }
    var memory: GuestMemory
    do {
      let size = layout.memory.upperBound - layout.memory.lowerBound
      memory = GuestMemory(
        slot: layout.memory, mapping: try SharedMemory(count: Int(size), hugePages: false, kernel: system.kernel))
    } catch { throw .kvm(.failed(.mapMemory, error)) }
    memory.load(image, layout)
    let tables = memory.writeMonitorPages(layout, architecture: architecture)
    let start = architecture.programStart(layout, entry: image.entry)
    try self.init(
      machine: described, memory: memory, tables: tables, deviceTree: layout.deviceTree, start: start,
      system: system, options: options)
    symbols = image.intoSymbols()
  }

  /// Makes a non-secure context of memory that is loaded: the way to guests that boot as Linux does.
  /// - Parameters:
  ///   - machine: what the device tree says; `memory` is made from it, and processors are.
  ///   - memory: with the machine's regions, for what the guest hands over.
  ///   - deviceTree: room for the device tree in the memory, aligned to 8 bytes.
  ///   - start: registers of the first processor.
  ///   - peripherals: interrupt controller and devices; nil for none.
  /// - Throws: `LoadError`.
  public convenience init(
    machine described: MachineDescription, memory: consuming GuestMemory, tables: PageTable? = nil,
    deviceTree: Range<UInt64>, start: [RegisterSetting], peripherals: (any Peripherals)? = nil,
    system: borrowing System, options: Options = Options()
  ) throws(LoadError) {
    let parts: Parts
    do {
      parts = try .nonSecure(
        described: described, memory: memory, tables: tables, start: start, peripherals: peripherals, system: system)
    } catch { throw .kvm(error) }
    let room = parts.memory.bytes(at: deviceTree.lowerBound, count: Int(deviceTree.upperBound - deviceTree.lowerBound))
    do { _ = try parts.described.writeTree(to: room, options.deviceTree) } catch { throw .deviceTree(error) }
    self.init(parts, options: options)
  }

  /// Whether the kernel hands the calls of a program in system mode on: not on arm64 before Linux 6.4.
  package var canCall: Bool { described.hypervisor?.method != nil }
}

extension ExecCtx.Parts {
  /// A machine whose guest starts in system mode.
  fileprivate static func nonSecure(
    described: MachineDescription, memory: consuming GuestMemory, tables: PageTable?, start: [RegisterSetting],
    peripherals: (any Peripherals)?, system: borrowing System
  ) throws(KVMError) -> Self {
    let architecture = described.architecture
    var described = described
    let machine = try system.makeVirtualMachine()
    if try !machine.forwardCalls(architecture) { described.hypervisor?.method = nil }
    let size = Int(memory.slot.upperBound - memory.slot.lowerBound)
    try machine.setMemory(
      slot: 0, address: memory.slot.lowerBound, memory: memory.bytes(at: memory.slot.lowerBound, count: size))
    try peripherals?.prepare(machine)
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    described.processors = try vcpu.describe(count: described.processors.count, architecture)
    try vcpu.prepareForSystemMode(architecture)
    var others: [Processor] = []
    for number in 1..<max(described.processors.count, 1) {
      let processor = Processor(number: number, vcpu: try machine.makeVCPU(number: number, architecture: architecture))
      try processor.vcpu.prepareForSystemMode(architecture)
      others.append(processor)
    }
    try peripherals?.complete(machine)
    for setting in start { try vcpu.setRegister(setting.id, setting.value) }
    do { _ = try checked(linux_kick_install()) } catch { throw .failed(.installKick, error) }
    let processors = Processors(others: others, bus: peripherals?.bus ?? MMIOBus(), architecture: architecture)
    return Self(
      vcpu: vcpu, machine: machine, memory: memory, tables: tables, frame: processors.frame,
      transport: architecture == .arm64 ? .hvc : .sbi, described: described, kernel: system.kernel,
      processors: processors)
  }
}

extension VirtualMachine {
  /// Lets the calls of a program in system mode leave the guest.
  /// - Returns: false before Linux 6.4 on arm64: the kernel answers all calls itself, and the tree promises none.
  fileprivate borrowing func forwardCalls(_ architecture: Architecture) throws(KVMError) -> Bool {
    guard architecture == .arm64 else { return true }
    guard try forwardHypercalls(0...UInt32(APPLET_CALL_LAST)) else { return false }
    return try forwardHypercalls(UInt32(APPLET_CALL_EXCEPTION)...UInt32(APPLET_CALL_SYSTEM_LAST))
  }
}

extension VCPU {
  /// What has to be set before it runs, beside its first registers.
  fileprivate borrowing func prepareForSystemMode(_ architecture: Architecture) throws(KVMError) {
    guard architecture == .riscv64 else { return }
    // Kernels before Linux 6.8 do not have the console, and answer for it themselves.
    try? setRegister(RISCV64.sbiDebugConsole, 1)
  }
}

extension GuestMemory {
  /// Copies a program's segments into place, and names the parts of its memory. All of them are the program's to use as it
  /// likes: access is up to its own page tables.
  fileprivate mutating func load(_ image: borrowing AppletImage, _ layout: ProgramLayout) {
    for segment in image.segments {
      bytes(at: segment.address, count: segment.content.count)
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: image.file.bytes[segment.content]))
    }
    regions = [
      (layout.image, .image), (layout.deviceTree, .deviceTree), (layout.heap, .heap), (layout.stack, .stack),
    ].compactMap { (range: Range<UInt64>, use: MemoryRegion.Use) in
      range.isEmpty ? nil : MemoryRegion(range: range, access: [.read, .write, .execute], use: use)
    }
  }

  /// Writes the monitor's vectors and the identity map.
  fileprivate func writeMonitorPages(_ layout: ProgramLayout, architecture: Architecture) -> PageTable {
    architecture.vectors.withUnsafeBytes {
      bytes(at: layout.vectors, count: Int(PageTable.pageSize)).copyMemory(from: $0)
    }
    let arena = layout.tables
    var tables = PageTable(
      architecture: architecture, arena: bytes(at: arena.lowerBound, count: Int(arena.upperBound - arena.lowerBound)),
      physical: arena.lowerBound)
    // The layout's arena has room for its memory, mapped by blocks.
    do { try tables.map(layout.memory, PageTable.Mapping([.read, .write, .execute], isUser: false)) } catch {
      preconditionFailure("the layout's arena is too small")
    }
    return tables
  }
}
