import Applet
import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// A machine that runs Linux: CPUs on threads of their own, interrupt controller, timer, consoles, disks, an entropy
/// device, and ports to programs on the host.
///
/// Made from options, run once with `run()`, and stopped from any thread through its `stopper`.
public final class LinuxMachine {
  private let cpus: CPUSet
  private let ending: LinuxRun
  private let machine: VirtualMachine
  private let interrupts: LinuxInterrupts
  private let memory: DeviceMemory
  private let bus: MMIOBus
  private let loop: IOLoop
  private let output: GuestOutput
  private let ports: VirtioPorts?
  private let terminal: RawTerminal?
  /// The machine, as the device tree describes it.
  public let description: MachineDescription
  /// The flattened device tree.
  public let deviceTree: [UInt8]

  /// Loads a kernel and creates a machine for it.
  /// - Parameter complain: called, on any thread, with a sentence about each error of the guest's drivers, once for
  ///   each device.
  /// - Throws: `LinuxError`. All resources are released then.
  public init(
    _ options: LinuxOptions, system: borrowing System, architecture: Architecture,
    complain: @escaping @Sendable (String) -> Void
  ) throws(LinuxError) {
    let kernel = system.kernel
    let connections = PortConnections(options.ports, kernel: kernel)
    let (layout, memory, pageSize) = try Self.load(
      options, addressLimit: 1 << UInt64(architecture.facts.defaultAddressBits), architecture: architecture,
      kernel: kernel)
    let limit = min(system.maxCPUs, LinuxLayout.maxCPUs)
    guard (1...limit).contains(options.cpus) else { throw .cpus(max: limit) }
    let machine: VirtualMachine
    do { machine = try system.makeVirtualMachine() } catch { throw .kvm(error) }
    let cpus: CPUSet
    let described: MachineDescription.CPUs
    var unsupported: UInt64?
    do throws(KVMError) {
      if architecture.facts.kernelInjectsAborts { machine.forwardAccessesWithoutSyndrome() }
      try machine.setMemory(slot: 0, address: layout.memory.lowerBound, memory: memory.bytes)
      cpus = try CPUSet(of: machine, count: options.cpus, stopEndsRun: true, architecture: architecture)
      for setting in architecture.bootStart(entry: layout.kernel.lowerBound, deviceTree: layout.tree.lowerBound) {
        try cpus.first.vcpu.setRegister(setting.id, setting.value)
      }
      described = try cpus.first.vcpu.describe(count: cpus.count, architecture)
      if let pageSize, !ARM64.hasPages(of: pageSize, idAA64MMFR0: try cpus.first.vcpu.register(ARM64.idAA64MMFR0)) {
        unsupported = pageSize
      }
    } catch { throw .kvm(error) }
    if let unsupported { throw .pageSize(unsupported) }
    let interrupts = try LinuxInterrupts(machine, cpus, architecture: architecture)
    let run = LinuxRun(cpus.control, architecture: architecture)
    let loop: IOLoop
    do throws(Errno) {
      _ = try checked(linux_kick_install())
      loop = try IOLoop(kernel: kernel)
    } catch { throw .host(error) }
    let output = GuestOutput(
      descriptor: options.output, mustStop: { run.isOver }, onFailure: { run.fail(.output($0)) })

    var description = MachineDescription(
      architecture: architecture, kind: .linux, memory: [layout.memory], cpus: described)
    description.hypervisor = .init(method: nil)
    try description.chosen.set(options, layout)
    var devices = LinuxDevices(
      description, options: options, memory: memory, interrupts: interrupts, loop: loop, output: output,
      kernel: kernel, complain: complain)
    let tree = memory.bytes(of: layout.tree)
    do throws(LinuxError) {
      try devices.addConsoles(machine, onQuit: { run.end(.stopped) })
      try devices.addEntropy(machine)
      try devices.addDisks(machine)
      try devices.addPorts(machine, connections)
      do { _ = try devices.description.writeTree(to: tree, options.deviceTree) } catch { throw .deviceTree(error) }
    } catch {
      Self.takeApart(loop, devices.ports)
      throw error
    }
    deviceTree = Array(treeIn: UnsafeRawBufferPointer(tree))
    let deadline = options.deadline
    loop.setWatch { run.watch(until: deadline) }
    run.control.onEnd { loop.wake() }

    self.cpus = cpus
    ending = run
    self.machine = machine
    self.interrupts = interrupts
    self.memory = memory
    self.loop = loop
    self.output = output
    bus = devices.bus
    ports = devices.ports
    terminal = devices.terminal
    self.description = devices.description
  }

  /// The name of the interrupt controller, for messages.
  public var interruptControllerName: StaticString {
    switch interrupts.description {
    case .gicV2: "GICv2"
    case .gicV3: "GICv3"
    case .plic: "PLIC"
    case .aia: "AIA"
    }
  }

  deinit { Self.takeApart(loop, ports) }

  /// Breaks the reference cycle between the devices and the I/O loop, closes their files and removes their sockets.
  private static func takeApart(_ loop: IOLoop, _ ports: VirtioPorts?) {
    loop.stop()
    ports?.close()
  }

  /// Makes a signal stop the run. Must be called before it begins.
  /// - Throws: the kernel's error.
  public func stop(on signal: Int32, kernel: any Kernel) throws(Errno) {
    let stopper = stopper
    loop.add(try SignalSource(signal, kernel: kernel) { stopper.stop() })
  }

  /// Runs the guest until it powers off, is stopped or fails; CPU 0 on the calling thread. If the guest's console is a
  /// terminal, it is in raw mode during the run.
  /// - Throws: `LinuxError`.
  public func run() throws(LinuxError) -> LinuxOutcome {
    // Before the I/O thread begins, and after it has ended.
    terminal?.makeRaw()
    defer { terminal?.restore() }
    let run = ending
    guard let wasBlocked = cpus.first.entered() else { throw .running }
    do throws(Errno) { try loop.start() } catch { run.fail(.host(error)) }
    cpus.run {
      run.serve($0, bus: bus, output: output)
    } failed: {
      run.fail(.host($0))
    }
    loop.stop()
    cpus.first.left(wasBlocked: wasBlocked)
    // Nothing ends a wait for the console's reader from here on.
    output.flushAtOnce()
    return try run.result()
  }

  /// Stops the machine from any thread.
  public var stopper: Stopper { Stopper(control: cpus.control) }

  /// Ends the run. Other threads use the `stopper`.
  public func stop() { stopper.stop() }

  // MARK: Creation

  /// Lays out and fills the guest's memory.
  /// - Returns: the memory, and the page size of the kernel if its header has it (arm64).
  private static func load(
    _ options: LinuxOptions, addressLimit: UInt64, architecture: Architecture, kernel: any Kernel
  ) throws(LinuxError) -> (LinuxLayout, DeviceMemory, pageSize: UInt64?) {
    let image: KernelImage
    do { image = try KernelImage(path: options.kernel, architecture: architecture, kernel: kernel) } catch {
      throw .kernel(error)
    }
    let initrd: OwnedFD?
    var initrdSize = 0
    if let path = options.initrd {
      do throws(Errno) {
        let file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel)
        initrdSize = try checked(linux_file_size(file.number))
        initrd = consume file
      } catch { throw .initrd(error) }
    } else {
      initrd = nil
    }
    let layout: LinuxLayout
    do {
      layout = try LinuxLayout(
        header: image.header, initrdSize: UInt64(initrdSize), size: options.memory, addressLimit: addressLimit)
    } catch { throw .layout(error, memory: options.memory) }
    // Linux writes to all of its memory descriptors when it starts: on a host with less memory, the OOM killer would
    // end this process.
    let hostMemory = linux_host_memory()
    guard options.memory <= hostMemory else { throw .hostMemory(max: hostMemory) }
    let memory: DeviceMemory
    let page = linux_page_size()
    do {
      // Ranges that fill a table of the host: transparent huge pages, in both stages.
      memory = try DeviceMemory(
        at: layout.memory.lowerBound, count: Int(layout.memory.upperBound - layout.memory.lowerBound),
        alignment: min(page * page / 8, 32 << 20), kernel: kernel)
    } catch { throw .kvm(.failed(.mapMemory, error)) }
    do { try image.load(into: memory.bytes(of: layout.kernel)) } catch { throw .kernel(error) }
    if let initrd {
      let place = memory.bytes(of: layout.initrd)
      let result = linux_transfer(initrd.number, false, place.baseAddress, place.count, 0)
      guard result == place.count else { throw .initrd(Errno(result: result) ?? Errno(EIO)) }
    }
    return (layout, memory, image.header.pageSize)
  }

}

extension DeviceMemory {
  /// The bytes of a range of the layout that this memory was made for.
  fileprivate func bytes(of range: Range<UInt64>) -> UnsafeMutableRawBufferPointer {
    guard let bytes = bytes(at: range.lowerBound, count: range.upperBound - range.lowerBound) else {
      preconditionFailure("the layout's parts are in its memory")
    }
    return bytes
  }
}

extension MachineDescription.Chosen {
  /// Writes command line, initrd and a random seed of the host.
  fileprivate mutating func set(_ options: LinuxOptions, _ layout: LinuxLayout) throws(LinuxError) {
    bootArguments = options.commandLine.osBytes
    if !layout.initrd.isEmpty { initrd = layout.initrd }
    rngSeed = [UInt8](repeating: 0, count: 64)
    var seed: UInt64 = 0
    let results = [
      rngSeed.withUnsafeMutableBytes { buffer in uninterrupted { linux_getrandom(buffer.baseAddress, buffer.count) } },
      withUnsafeMutableBytes(of: &seed) { buffer in uninterrupted { linux_getrandom(buffer.baseAddress, buffer.count) }
      },
    ]
    if let failed = results.first(where: { $0 < 0 }), let errno = Errno(result: failed) { throw .host(errno) }
    kaslrSeed = seed
  }
}
