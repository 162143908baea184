import Applet
import AppletABI
import CLinux
import DeviceTree
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Makes a secure context: user mode behind Swiftlet's shim.
  /// - Parameters:
  ///   - entry: address of the first instruction.
  ///   - memory: laid out and loaded; the context takes it over.
  ///   - system: the host's KVM.
  ///   - architecture: the host's.
  /// - Throws: `LoadError` where the kernel cannot make it, or the layout has too little room for the device tree. Nothing is
  ///   left behind then.
  public convenience init(
    entry: UInt64, memory: consuming GuestMemory, system: borrowing System, architecture: Architecture,
    options: Options = Options()
  ) throws(LoadError) {
    var machine = MachineDescription(
      applet: memory.layout, architecture: architecture, arguments: options.argumentBytes)
    if options.sharesMemory { machine.share(Self.sharedRange) }
    do { try memory.writeTree(of: machine, options.deviceTree) } catch { throw .deviceTree(error) }
    let parts: Parts
    do {
      parts = try .secure(
        entry: entry, memory: memory, system: system, described: machine, transport: options.transport)
    } catch { throw .kvm(error) }
    self.init(parts, options: options)
  }

  /// Loads an image into memory of its own and makes a secure context of it.
  /// - Parameters:
  ///   - image: used up: what the applet sees is a copy.
  ///   - memorySize: bytes of memory for image, heap and stack; `SecureLayout.leastMemory` to `mostMemory`.
  /// - Throws: `LoadError`.
  public convenience init(
    image: consuming AppletImage, memorySize: UInt64 = SecureLayout.defaultMemory, system: borrowing System,
    architecture: Architecture, options: Options = Options()
  ) throws(LoadError) {
    let layout: SecureLayout
    do {
      layout = try SecureLayout(
        image: image.range, size: memorySize,
        deviceTree: MachineDescription.treeRoom(options.argumentSize, options.deviceTree),
        hostPage: UInt64(linux_page_size()), addressLimit: 1 << UInt64(system.addressBits(of: architecture)))
    } catch { throw .image(.layout(error, memory: memorySize)) }
    var memory: GuestMemory
    do { memory = try GuestMemory(layout: layout, kernel: system.kernel) } catch {
      throw .kvm(.failed(.mapMemory, error))
    }
    memory.load(image)
    try self.init(entry: image.entry, memory: memory, system: system, architecture: architecture, options: options)
    symbols = image.intoSymbols()
  }
}

extension ExecCtx.Parts {
  /// A virtual machine whose guest starts behind the shim.
  static func secure(
    entry: UInt64, memory: consuming GuestMemory, system: borrowing System, described: MachineDescription,
    transport wanted: ExecCtx.Transport?
  ) throws(KVMError) -> Self {
    let architecture = described.architecture
    let layout = memory.layout
    let machine = try system.makeVirtualMachine(addressBits: architecture.appletAddressBits)
    let transport: ExecCtx.Transport
    switch (architecture, wanted) {
    case (.riscv64, _): transport = .sbi
    case (.arm64, .mmio?): transport = .mmio
    case (.arm64, _):
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
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    for setting in architecture.secureStart(layout) { try vcpu.setRegister(setting.id, setting.value) }
    do { _ = try checked(linux_kick_install()) } catch { throw .failed(.installKick, error) }

    // The frame's page is inside the mapping, which the context owns until its own end.
    let frame = memory.bytes(at: layout.frame, count: Int(APPLET_FRAME_WORDS) * 8).baseAddress!
      .bindMemory(to: UInt64.self, capacity: Int(APPLET_FRAME_WORDS))
    frame[architecture.stackRegister] = layout.stack.upperBound
    frame[architecture.treeRegister] = layout.deviceTree.lowerBound
    frame[Int(APPLET_FRAME_PC)] = entry
    frame[Int(APPLET_FRAME_STATUS)] = architecture.initialStatus
    frame[Int(APPLET_FRAME_DOORBELL)] = layout.doorbell
    frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_REGISTERS)
    return Self(
      vcpu: vcpu, machine: machine, memory: memory, tables: tables, frame: frame, transport: transport,
      described: described, kernel: system.kernel, processors: nil)
  }
}

extension ExecCtx.Options {
  /// The arguments, each with a zero byte behind it.
  var argumentBytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(argumentSize)
    for argument in arguments {
      bytes.append(contentsOf: argument.utf8)
      bytes.append(0)
    }
    return bytes
  }

  var argumentSize: Int { arguments.reduce(0) { $0 + $1.utf8.count + 1 } }
}

/// Why no context could be made.
public enum LoadError: Error, Equatable {
  case image(ImageError)
  case deviceTree(DeviceTreeError)
  case kvm(KVMError)

  /// What is wrong, in one line.
  public var description: String {
    switch self {
    case .image(let error): error.description
    case .deviceTree(let error): error.description
    case .kvm(let error): error.description
    }
  }
}
