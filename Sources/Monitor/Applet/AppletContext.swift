import Applet
import AppletABI
import CLinux
import DeviceTree
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Makes a secure context: user mode, with Swiftlet's shim in system mode.
  /// - Parameters:
  ///   - entry: address of the first instruction.
  ///   - memory: laid out and loaded. The context owns it from now on.
  ///   - system: the host's KVM.
  ///   - architecture: the guest's: the host's, or `.aarch32`.
  /// - Throws: `LoadError` if the kernel cannot create the VM, or if the layout has not enough space for the device
  ///   tree. All resources are released then.
  public convenience init(
    entry: UInt64, memory: consuming GuestMemory, system: borrowing System, architecture: Architecture,
    options: Options = Options()
  ) throws(LoadError) {
    guard let layout = memory.secureLayout else { throw .memory }
    try options.check(on: system)
    var machine = MachineDescription(
      applet: layout, architecture: architecture, arguments: options.argumentBytes)
    machine.hypervisor?.clockOffset = Clock.realtimeOffset
    if options.sharesMemory { machine.share(Self.sharedRange) }
    do { try memory.writeTree(of: machine, options.deviceTree) } catch { throw .deviceTree(error) }
    let guest: GuestMachine
    let isSupported: Bool
    do {
      guest = try .applet(
        entry: entry, memory: memory, system: system, described: machine, transport: options.transport)
      isSupported = try architecture.isSupported { (id) throws(KVMError) in try guest.cpu.vcpu.register(id) }
    } catch { throw .kvm(error) }
    guard isSupported else { throw .noAArch32 }
    self.init(guest, .applet(AppletMode(architecture)), options: options)
  }

  /// Loads an image into new guest memory and makes a secure context of it.
  /// - Parameters:
  ///   - image: consumed; the applet runs from a copy. Its architecture is the context's.
  ///   - memorySize: bytes of memory for image, heap and stack; `SecureLayout.minMemory` to `maxMemory`.
  /// - Throws: `LoadError`.
  public convenience init(
    image: consuming AppletImage, memorySize: UInt64 = SecureLayout.defaultMemory, system: borrowing System,
    architecture: Architecture, options: Options = Options()
  ) throws(LoadError) {
    try options.check(on: system)
    guard image.architecture == architecture || image.architecture == architecture.narrow else {
      throw .image(.machine(found: image.architecture.facts.elfMachine, expected: architecture))
    }
    let architecture = image.architecture
    let layout: SecureLayout
    do {
      layout = try SecureLayout(
        image: image.range, size: memorySize,
        deviceTree: MachineDescription.maxTreeSize(options.argumentSize, options.deviceTree),
        hostPage: UInt64(linux_page_size()), addressLimit: 1 << UInt64(architecture.facts.defaultAddressBits),
        kind: options.layout ?? image.notes.layout ?? .compact)
    } catch { throw .image(.layout(error, memory: memorySize)) }
    var memory: GuestMemory
    do { memory = try GuestMemory(layout: layout, kernel: system.kernel) } catch {
      throw .kvm(.failed(.mapMemory, error))
    }
    memory.load(image)
    var options = options
    if image.notes.isGo { options.hasCLINT = true }
    try self.init(entry: image.entry, memory: memory, system: system, architecture: architecture, options: options)
    symbols = image.intoSymbols()
  }
}

extension GuestMachine {
  /// A VM whose guest starts in the shim.
  static func applet(
    entry: UInt64, memory: consuming GuestMemory, system: borrowing System, described: MachineDescription,
    transport wanted: ExecCtx.Transport?
  ) throws(KVMError) -> GuestMachine {
    let architecture = described.architecture
    let layout = memory.layout
    let machine = try system.makeVirtualMachine(addressBits: architecture.facts.appletAddressBits)
    let transport: ExecCtx.Transport
    if !architecture.facts.usesSMCCC {
      transport = .sbi
    } else if wanted == .mmio {
      transport = .mmio
    } else {
      if try machine.forwardHypercalls(0...UInt32(APPLET_CALL_LAST)) {
        transport = .hvc
      } else if wanted == .hvc {
        throw .failed(.setDeviceAttribute, .noSuchDevice)
      } else {
        transport = .mmio
      }
    }
    try machine.setMemory(slot: 0, address: layout.slot.lowerBound, memory: memory.mapping.bytes)
    let tables = memory.writeMonitorPages(architecture: architecture, transport: transport)
    let cpus = try CPUSet(of: machine, architecture: architecture)
    try architecture.secureStart(layout) { (setting) throws(KVMError) in
      try cpus.first.vcpu.setRegister(setting.id, setting.value)
    }
    do { _ = try checked(linux_kick_install()) } catch { throw .failed(.installKick, error) }

    // The frame's page is inside the mapping, which the context keeps until it ends.
    let frame = memory.bytes(at: layout.frame, count: Int(APPLET_FRAME_WORDS) * 8).baseAddress!
      .bindMemory(to: UInt64.self, capacity: Int(APPLET_FRAME_WORDS))
    frame[architecture.facts.stackRegister] = layout.stackPointer
    frame[architecture.facts.treeRegister] = layout.deviceTree.lowerBound
    (frame[Int(APPLET_FRAME_PC)], frame[Int(APPLET_FRAME_STATUS)]) = architecture.start(at: entry)
    frame[Int(APPLET_FRAME_DOORBELL)] = layout.doorbell
    frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_REGISTERS)
    return GuestMachine(
      cpus: cpus, machine: machine, memory: memory, tables: tables, frame: frame, transport: transport,
      described: described, kernel: system.kernel)
  }
}

extension ExecCtx.Options {
  /// Checks the options against the host and the memory.
  func check(on system: borrowing System) throws(LoadError) {
    if let number = arguments.firstIndex(where: { $0.hasZero }) { throw .argument(number) }
    guard cpus != 1 else { return }
    let max = system.maxCPUs
    guard (1...max).contains(cpus) else { throw .cpus(max: max) }
  }

  /// The arguments, each with a terminating zero byte.
  var argumentBytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(argumentSize)
    for argument in arguments {
      bytes.append(contentsOf: argument.osBytes)
      bytes.append(0)
    }
    return bytes
  }

  var argumentSize: Int { arguments.reduce(0) { $0 + $1.utf8.count + 1 } }
}

/// Why a context could not be made.
public enum LoadError: Error, Equatable {
  /// The image was rejected.
  case image(ImageError)
  /// The device tree cannot be written.
  case deviceTree(DeviceTreeError)
  /// An error of KVM.
  case kvm(KVMError)
  /// The argument with this number, from 0, contains a zero byte, which would end it early.
  case argument(Int)
  /// No CPU, or more than the host supports for a guest.
  case cpus(max: Int)
  /// The image is for AArch32, which this host's CPUs do not have in user mode.
  case noAArch32
  /// The memory is laid out for another kind of context, or is smaller than its layout.
  case memory

  /// A description, in one line.
  public var description: String {
    switch self {
    case .image(let error): error.description
    case .deviceTree(let error): error.description
    case .kvm(let error): error.description
    case .argument(let number): "argument \(number) has a zero byte in it"
    case .cpus(let max): "a guest can have 1 to \(max) CPUs on this host"
    case .noAArch32: "built for 32-bit Arm (AArch32), which this host's CPUs cannot run: build it for arm64"
    case .memory: "the memory is laid out for another kind of guest"
    }
  }
}
