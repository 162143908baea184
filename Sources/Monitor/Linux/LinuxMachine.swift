import Applet
import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// A machine that runs Linux: processors on threads of their own, interrupt controller, timer, consoles, disks, random
/// numbers, and channels to programs on the host.
///
/// Made from options, run once with `run()`, and stopped from any thread with `stop()`.
public final class LinuxMachine: @unchecked Sendable {
  private let processors: LinuxRun
  private let machine: VirtualMachine
  private let interrupts: LinuxInterrupts
  private let memory: DeviceMemory
  private let bus: MMIOBus
  private let loop: IOLoop
  private let output: GuestOutput
  private let ports: VirtioPorts?
  private let input: Int32
  /// What the guest is told of its machine.
  public let description: MachineDescription
  /// The flattened device tree that says so.
  public let deviceTree: [UInt8]

  /// Loads a kernel and makes a machine for it.
  /// - Parameter complain: told, on any thread, of what the guest's drivers do wrong: a sentence, once a device.
  /// - Throws: `LinuxError`. Nothing is left behind then.
  public init(
    _ options: LinuxOptions, system: borrowing System, architecture: Architecture,
    complain: @escaping @Sendable (String) -> Void
  ) throws(LinuxError) {
    let kernel = system.kernel
    let (layout, memory) = try Self.load(
      options, addressLimit: 1 << UInt64(system.addressBits(of: architecture)), architecture: architecture,
      kernel: kernel)
    // Four where the kernel does not say (api.rst 4.7).
    let said = system.check(.maximumVCPUs)
    let most = min(said > 0 ? said : 4, LinuxLayout.mostProcessors)
    guard options.processors <= most else { throw .processors(most: most) }
    let machine: VirtualMachine
    do { machine = try system.makeVirtualMachine() } catch { throw .kvm(error) }
    var vcpus: [LinuxRun.Processor] = []
    do throws(KVMError) {
      try machine.setMemory(slot: 0, address: layout.memory.lowerBound, memory: memory.bytes)
      for number in 0..<options.processors {
        vcpus.append(LinuxRun.Processor(try machine.makeVCPU(number: number, architecture: architecture)))
      }
      for setting in architecture.linuxStart(layout) { try vcpus[0].vcpu.setRegister(setting.id, setting.value) }
    } catch { throw .kvm(error) }
    let interrupts = try LinuxInterrupts(machine, vcpus, architecture: architecture)
    let run = LinuxRun(processors: vcpus)
    let loop: IOLoop
    do throws(Errno) {
      _ = try checked(linux_kick_install())
      loop = try IOLoop(kernel: kernel)
    } catch { throw .host(error) }
    let output = GuestOutput(
      descriptor: options.output, giveUp: { run.isOver }, onFailure: { run.fail(.output($0)) })

    let described: MachineDescription.Processors
    do { described = try vcpus[0].vcpu.describe(count: vcpus.count, architecture) } catch { throw .kvm(error) }
    var description = MachineDescription(
      architecture: architecture, kind: .linux, memory: [layout.memory], processors: described)
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
      try devices.addPorts(machine)
      do { _ = try devices.description.writeTree(to: tree, options.deviceTree) } catch { throw .deviceTree(error) }
    } catch {
      Self.takeApart(loop, devices.ports)
      throw error
    }
    deviceTree = Array(treeIn: UnsafeRawBufferPointer(tree))
    let deadline = options.deadline
    loop.setWatch { run.watch(until: deadline) }
    run.onEnd = { loop.wake() }

    processors = run
    self.machine = machine
    self.interrupts = interrupts
    self.memory = memory
    self.loop = loop
    self.output = output
    bus = devices.bus
    ports = devices.ports
    input = options.input
    self.description = devices.description
  }

  /// The interrupt controller, for messages.
  public var interruptControllerName: StaticString {
    switch interrupts.description {
    case .gicV2: "GICv2"
    case .gicV3: "GICv3"
    case .plic: "PLIC"
    case .aia: "AIA"
    }
  }

  deinit { Self.takeApart(loop, ports) }

  /// Lets go of devices, which know the I/O loop as it knows them: their files are closed, their sockets removed.
  private static func takeApart(_ loop: IOLoop, _ ports: VirtioPorts?) {
    loop.stop()
    ports?.close()
  }

  /// Lets a signal stop the run; before it begins.
  /// - Throws: the kernel's error.
  public func stop(on signal: Int32, kernel: any Kernel) throws(Errno) {
    let run = processors
    loop.add(try SignalSource(signal, kernel: kernel) { run.end(.stopped) })
  }

  /// Runs the guest until it powers off, is stopped, or fails; the first processor on the calling thread. A terminal that is
  /// the guest's console is in raw mode meanwhile.
  /// - Throws: `LinuxError`.
  public func run() throws(LinuxError) -> LinuxOutcome {
    let terminal = RawTerminal(input)
    defer { _ = terminal }
    let (run, bus, output) = (processors, bus, output)
    do throws(Errno) { try loop.start() } catch { run.fail(.host(error)) }
    var threads: [Thread] = []
    for processor in run.processors.dropFirst() {
      do throws(Errno) { threads.append(try Thread { run.serve(processor, bus: bus, output: output) }) } catch {
        processor.control.ended()
        run.fail(.host(error))
      }
    }
    run.serve(run.processors[0], bus: bus, output: output)
    defer {
      loop.stop()
      // Nothing ends a wait for a reader any more.
      output.flushAtOnce()
      // Each has said its last word: what it holds it lets go of.
      for thread in threads { thread.join() }
    }
    return try run.result()
  }

  /// Ends the run, wherever it is; from any thread.
  public func stop() { processors.end(.stopped) }

  // MARK: Making it

  /// Lays out and fills the guest's memory.
  private static func load(
    _ options: LinuxOptions, addressLimit: UInt64, architecture: Architecture, kernel: any Kernel
  ) throws(LinuxError) -> (LinuxLayout, DeviceMemory) {
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
    // What Linux writes of each page at its start is more than such a host has, whose kernel would kill this process.
    let most = linux_host_memory()
    guard options.memory <= most else { throw .hostMemory(most: most) }
    let memory: DeviceMemory
    let page = linux_page_size()
    do {
      // Blocks that a whole table of the host's maps: transparent huge pages, on either side.
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
    return (layout, memory)
  }

}

extension DeviceMemory {
  /// The bytes of a part of the layout that this memory was made for.
  fileprivate func bytes(of range: Range<UInt64>) -> UnsafeMutableRawBufferPointer {
    guard let bytes = bytes(at: range.lowerBound, count: range.upperBound - range.lowerBound) else {
      preconditionFailure("the layout's parts lie in its memory")
    }
    return bytes
  }
}

extension MachineDescription.Chosen {
  /// Fills in command line, initrd, and random numbers of the host's.
  fileprivate mutating func set(_ options: LinuxOptions, _ layout: LinuxLayout) throws(LinuxError) {
    bootArguments = options.commandLine
    if !layout.initrd.isEmpty { initrd = layout.initrd }
    rngSeed = [UInt8](repeating: 0, count: 64)
    var seed: UInt64 = 0
    let results = [
      rngSeed.withUnsafeMutableBytes { room in uninterrupted { linux_getrandom(room.baseAddress, room.count) } },
      withUnsafeMutableBytes(of: &seed) { room in uninterrupted { linux_getrandom(room.baseAddress, room.count) } },
    ]
    if let failed = results.first(where: { $0 < 0 }), let errno = Errno(result: failed) { throw .host(errno) }
    kaslrSeed = seed
  }
}
