import Applet
import AppletABI
import CLinux
import DeviceTree
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Loads an image and makes a context of it, as GoTEE's Load does.
  /// - Parameters:
  ///   - image: consumed; the guest runs from a copy.
  ///   - secure: whether it is an applet in user mode or a program in system mode.
  ///   - memorySize: bytes of memory; `SecureLayout.minMemory` to `maxMemory`.
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

  /// Makes a non-secure context of a bare-metal program: system mode, with an identity map and caches enabled.
  /// - Throws: `LoadError`.
  convenience init(
    program image: consuming AppletImage, memorySize: UInt64, system: borrowing System, architecture: Architecture,
    options: Options
  ) throws(LoadError) {
    try options.check(on: system)
    guard image.architecture == architecture else {
      let found = image.architecture.facts.elfMachine
      throw .image(
        image.architecture == architecture.narrow ? .narrowProgram : .machine(found: found, expected: architecture))
    }
    let layout: ProgramLayout
    do {
      layout = try ProgramLayout(
        image: image.range, size: memorySize,
        deviceTree: MachineDescription.maxTreeSize(
          program: options.argumentSize, cpus: options.cpus, options.deviceTree),
        hostPage: UInt64(linux_page_size()), addressLimit: 1 << UInt64(architecture.facts.defaultAddressBits))
    } catch { throw .image(.layout(error, memory: memorySize)) }
    var described = MachineDescription(program: layout, architecture: architecture, arguments: options.argumentBytes)
    described.cpus.count = options.cpus
    described.hypervisor?.clockOffset = Clock.realtimeOffset
    if options.sharesMemory { described.share(Self.sharedRange) }
    described.chosen.rngSeed = [UInt8](repeating: 0, count: 32)
    let seeded = described.chosen.rngSeed.withUnsafeMutableBytes { buffer in
      uninterrupted { linux_getrandom(buffer.baseAddress, buffer.count) }
    }
    // A seed of zeros would be taken for a real one.
    if seeded < 32 { described.chosen.rngSeed = [] }
    let size = Int(layout.memory.upperBound - layout.memory.lowerBound)
    let mapping: SharedMemory
    do { mapping = try SharedMemory(count: size, hugePages: false, kernel: system.kernel) } catch {
      throw .kvm(.failed(.mapMemory, error))
    }
    var memory: GuestMemory
    do { memory = try GuestMemory(slot: layout.memory, mapping: mapping) } catch { throw .memory }
    memory.load(image, layout)
    let tables = memory.writeMonitorPages(layout, architecture: architecture)
    let start = architecture.programStart(layout, entry: image.entry)
    try self.init(
      machine: described, memory: memory, tables: tables, deviceTree: layout.deviceTree, start: start,
      system: system, options: options)
    symbols = image.intoSymbols()
  }

  /// Makes a non-secure context from memory that is loaded already, for guests that are booted like Linux.
  /// - Parameters:
  ///   - machine: the description for the device tree; its memory and CPUs are filled in here.
  ///   - memory: with the regions that calls may refer to.
  ///   - deviceTree: the range of memory for the device tree, aligned to 8 bytes.
  ///   - start: initial registers of CPU 0.
  /// - Throws: `LoadError`.
  public convenience init(
    machine described: MachineDescription, memory: consuming GuestMemory, tables: PageTable? = nil,
    deviceTree: Range<UInt64>, start: [RegisterSetting],
    system: borrowing System, options: Options = Options()
  ) throws(LoadError) {
    let max = system.maxCPUs
    guard (1...max).contains(described.cpus.count) else { throw .cpus(max: max) }
    guard memory.secureLayout == nil, !deviceTree.isEmpty, deviceTree.lowerBound % 8 == 0,
      memory.slot.lowerBound <= deviceTree.lowerBound, deviceTree.upperBound <= memory.slot.upperBound
    else { throw .memory }
    let guest: GuestMachine
    do {
      guest = try .program(
        described: described, memory: memory, tables: tables, start: start, system: system,
        firmwareCalls: options.firmwareCalls)
    } catch { throw .kvm(error) }
    let buffer = guest.memory.bytes(
      at: deviceTree.lowerBound, count: Int(deviceTree.upperBound - deviceTree.lowerBound))
    do { _ = try guest.described.writeTree(to: buffer, options.deviceTree) } catch { throw .deviceTree(error) }
    self.init(guest, .program(ProgramMode(cpus: guest.cpus.count)), options: options)
  }

  /// Whether the kernel forwards calls of a program in system mode; on arm64 it does since Linux 6.4.
  package var canCall: Bool { guest.described.hypervisor?.method != nil }
}

extension GuestMachine {
  /// A VM whose guest starts in system mode.
  fileprivate static func program(
    described: MachineDescription, memory: consuming GuestMemory, tables: PageTable?, start: [RegisterSetting],
    system: borrowing System, firmwareCalls: [ClosedRange<UInt32>]
  ) throws(KVMError) -> GuestMachine {
    let architecture = described.architecture
    var described = described
    let machine = try system.makeVirtualMachine()
    if try !machine.forwardCalls(architecture) { described.hypervisor?.method = nil }
    if architecture.facts.kernelInjectsAborts { machine.forwardAccessesWithoutSyndrome() }
    if architecture.facts.usesSMCCC {
      for calls in firmwareCalls where try !machine.forwardHypercalls(calls) {
        throw .failed(.setDeviceAttribute, .noSuchDevice)
      }
    }
    let size = Int(memory.slot.upperBound - memory.slot.lowerBound)
    try machine.setMemory(
      slot: 0, address: memory.slot.lowerBound, memory: memory.bytes(at: memory.slot.lowerBound, count: size))
    let cpus = try CPUSet(of: machine, count: described.cpus.count, architecture: architecture)
    described.cpus = try cpus.first.vcpu.describe(count: cpus.count, architecture)
    for number in 0..<cpus.count { try cpus[number].vcpu.prepareForSystemMode(architecture) }
    for setting in start { try cpus.first.vcpu.setRegister(setting.id, setting.value) }
    do { _ = try checked(linux_kick_install()) } catch { throw .failed(.installKick, error) }
    return GuestMachine(
      cpus: cpus, machine: machine, memory: memory, tables: tables, frame: nil,
      transport: architecture.facts.usesSMCCC ? .hvc : .sbi, described: described, kernel: system.kernel)
  }
}

extension VirtualMachine {
  /// Makes the kernel forward calls of a program in system mode.
  /// - Returns: false on arm64 before Linux 6.4: the kernel answers all calls itself, and the device tree describes
  ///   none.
  fileprivate borrowing func forwardCalls(_ architecture: Architecture) throws(KVMError) -> Bool {
    guard architecture.facts.usesSMCCC else { return true }
    guard try forwardHypercalls(0...UInt32(APPLET_CALL_LAST)) else { return false }
    return try forwardHypercalls(UInt32(APPLET_CALL_EXCEPTION)...UInt32(APPLET_CALL_SYSTEM_LAST))
  }
}

extension VCPU {
  /// Sets what must be set before the first run, except for the initial registers.
  fileprivate borrowing func prepareForSystemMode(_ architecture: Architecture) throws(KVMError) {
    guard let console = architecture.facts.debugConsole else { return }
    // Kernels before Linux 6.8 do not have this extension, and do not forward it.
    try? setRegister(console, 1)
  }
}

extension GuestMemory {
  /// Copies a program's segments into memory and adds regions. The program has full access to all of them: its own page
  /// tables restrict it.
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
    // The layout reserves enough memory for a map of its memory in blocks.
    do { try tables.map(layout.memory, PageTable.Mapping([.read, .write, .execute], isUser: false)) } catch {
      preconditionFailure("the layout has too few pages for tables")
    }
    return tables
  }
}
