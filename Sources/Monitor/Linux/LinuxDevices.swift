import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// The connected sockets of ports, until the ports own them.
final class PortConnections {
  private var numbers: [Int32?]
  private let kernel: any Kernel

  init(_ ports: [LinuxOptions.Port], kernel: any Kernel) {
    numbers = ports.map { if case .connection(let number) = $0.end { number } else { nil } }
    self.kernel = kernel
  }

  /// That of a port, once.
  func take(_ port: Int) -> OwnedFD {
    defer { numbers[port] = nil }
    return OwnedFD(adopting: numbers[port] ?? -1, kernel: kernel)
  }

  deinit { for case let number? in numbers { _ = OwnedFD(adopting: number, kernel: kernel) } }
}

/// The devices of a Linux guest while the machine is created: each is added to the bus, to the machine's description
/// and, if it polls descriptors of the host, to the I/O thread.
struct LinuxDevices {
  private(set) var bus = MMIOBus()
  private(set) var description: MachineDescription
  private(set) var ports: VirtioPorts?
  /// Set if the console's input is a terminal.
  private(set) var terminal: RawTerminal?
  private let options: LinuxOptions
  private let memory: DeviceMemory
  private let interrupts: LinuxInterrupts
  private let loop: IOLoop
  private let output: GuestOutput
  private let kernel: any Kernel
  private let complain: @Sendable (String) -> Void

  init(
    _ description: MachineDescription, options: LinuxOptions, memory: DeviceMemory, interrupts: LinuxInterrupts,
    loop: IOLoop, output: GuestOutput, kernel: any Kernel, complain: @escaping @Sendable (String) -> Void
  ) {
    self.description = description
    self.options = options
    self.memory = memory
    self.interrupts = interrupts
    self.loop = loop
    self.output = output
    self.kernel = kernel
    self.complain = complain
    self.description.interruptController = interrupts.description
    if let plic = interrupts.plic {
      bus.add(plic, at: LinuxLayout.plic..<LinuxLayout.plic + PLIC.windowSize)
    }
  }

  /// Adds the serial port, the virtio console and the console's input, which goes to one of them.
  /// - Parameter onQuit: called when the user types the monitor's escape sequence that ends the run.
  mutating func addConsoles(_ machine: borrowing VirtualMachine, onQuit: @escaping @Sendable () -> Void)
    throws(LinuxError)
  {
    let loop = loop
    let line = interrupts.line(LinuxLayout.serialInterrupt, of: machine)
    let uart = UART(output: output, interrupt: line)
    let range = LinuxLayout.serial..<LinuxLayout.serial + UART.windowSize
    bus.add(uart, at: range)
    description.serial = .init(
      window: .init(range: range, interrupt: .init(number: LinuxLayout.serialInterrupt, isEdge: false)))
    let console = VirtioConsole(
      output: output, memory: memory, interrupt: virtioLine(machine), complain: complain)
    try addVirtio(console, machine)
    uart.onSpace = { loop.wake() }
    console.onSpace = { loop.wake() }

    let terminal = RawTerminal(options.input)
    let target: any ConsoleTarget = options.usesVirtioConsole ? console : uart
    loop.add(
      ConsoleInput(
        descriptor: options.input, isTerminal: terminal != nil, target: target, onQuit: onQuit,
        onSuspend: { terminal?.suspend() }))
    guard let terminal else { return }
    self.terminal = terminal
    let input = options.input
    let resize: @Sendable () -> Void = {
      let size = linux_terminal_size(input)
      if size != 0 {
        console.setSize(columns: UInt16(truncatingIfNeeded: size), rows: UInt16(truncatingIfNeeded: size >> 16))
      }
    }
    resize()
    do throws(Errno) {
      loop.add(try SignalSource(SIGWINCH, kernel: kernel, onSignal: resize))
      loop.add(try SignalSource(SIGCONT, kernel: kernel) { terminal.continued() })
    } catch { throw .host(error) }
  }

  mutating func addEntropy(_ machine: borrowing VirtualMachine) throws(LinuxError) {
    try addVirtio(VirtioEntropy(memory: memory, interrupt: virtioLine(machine), complain: complain), machine)
  }

  mutating func addDisks(_ machine: borrowing VirtualMachine) throws(LinuxError) {
    for (number, disk) in options.disks.enumerated() {
      let device: VirtioBlock
      do {
        device = try VirtioBlock(
          path: disk.path, isReadOnly: disk.isReadOnly, serial: "swiftlet-\(number)", memory: memory,
          interrupt: virtioLine(machine), kernel: kernel, complain: complain)
      } catch { throw .disk(number, error) }
      let window = nextWindow
      try addVirtio(device, machine)
      loop.add(device)
      do {
        try machine.signal(device.event, onStoreOf: 0, at: window.lowerBound + VirtioMMIO.notifyOffset)
      } catch { throw .kvm(error) }
    }
  }

  mutating func addPorts(_ machine: borrowing VirtualMachine, _ connections: PortConnections) throws(LinuxError) {
    guard !options.ports.isEmpty else { return }
    var ports: [GuestPort] = []
    for (number, port) in options.ports.enumerated() {
      if ports.contains(where: { $0.name == port.name }) { throw .port(number, Errno(EEXIST)) }
      switch port.end {
      case .socket(let path):
        do { ports.append(try GuestPort(name: port.name, path: path, kernel: kernel)) } catch {
          throw .port(number, error)
        }
      case .connection: ports.append(GuestPort(name: port.name, connection: connections.take(number)))
      }
    }
    let device = VirtioPorts(
      ports: ports, memory: memory, interrupt: virtioLine(machine), complain: complain)
    try addVirtio(device, machine)
    let loop = loop
    device.onChange = { loop.wake() }
    for port in ports { loop.add(port) }
    self.ports = device
  }

  // MARK: Windows

  private var nextWindow: Range<UInt64> {
    let start = LinuxLayout.virtio + UInt64(description.virtio.count) * LinuxLayout.virtioStep
    return start..<start + VirtioMMIO.windowSize
  }

  private var nextInterrupt: UInt32 {
    LinuxLayout.firstVirtioInterrupt + UInt32(truncatingIfNeeded: description.virtio.count)
  }

  private func virtioLine(_ machine: borrowing VirtualMachine) -> any InterruptLine {
    interrupts.line(nextInterrupt, of: machine)
  }

  private mutating func addVirtio(_ device: any VirtioDevice, _ machine: borrowing VirtualMachine) throws(LinuxError) {
    bus.add(VirtioMMIO(device), at: nextWindow)
    description.virtio.append(
      .init(range: nextWindow, interrupt: .init(number: nextInterrupt, isEdge: true)))
  }
}
