import Machine

/// The hardware of a guest. Its memory and devices are created from it, and the device tree is generated from it, so that they
/// agree.
///
/// Addresses are guest-physical; ranges are whole pages unless stated otherwise.
public struct MachineDescription: Sendable {
  /// The kind of guest.
  public enum Kind: Sendable {
    /// A secure context: user mode, with the shim.
    case applet
    /// A program in system mode.
    case program
    /// Linux, or another operating system with its boot protocol.
    case linux
  }

  /// The architecture of the guest.
  public var architecture: Architecture
  /// What runs in the VM.
  public var kind: Kind
  /// Memory of the guest, by ascending address; shared memory follows it.
  public var memory: [Range<UInt64>]
  /// Parts of the memory that the guest must not use, by ascending address.
  public var reserved: [ReservedMemory] = []
  /// The CPUs.
  public var cpus: CPUs
  /// nil for none; then no device in `serial` and `virtio` has an interrupt.
  public var interruptController: InterruptController?
  /// The serial port; nil for none.
  public var serial: SerialPort?
  /// virtio devices with the MMIO transport, by ascending address.
  public var virtio: [DeviceWindow] = []
  /// The parameters of the boot.
  public var chosen = Chosen()
  /// nil for no node.
  public var hypervisor: Hypervisor?

  /// A guest with memory and CPUs, and without devices.
  public init(architecture: Architecture, kind: Kind, memory: [Range<UInt64>], cpus: CPUs) {
    self.architecture = architecture
    self.kind = kind
    self.memory = memory
    self.cpus = cpus
  }

  /// A reserved part of the memory (Devicetree Specification, 3.5 "/reserved-memory").
  public struct ReservedMemory: Sendable {
    /// The node's name, without the address.
    public var name: StaticString
    /// Guest-physical addresses.
    public var range: Range<UInt64>
    /// Whether the guest must not map it either (`no-map`).
    public var isUnmapped: Bool

    /// A range of reserved memory.
    public init(name: StaticString, range: Range<UInt64>, isUnmapped: Bool) {
      self.name = name
      self.range = range
      self.isUnmapped = isUnmapped
    }
  }

  /// The CPUs, all of which are alike.
  public struct CPUs: Sendable {
    /// At least 1. CPU n is vCPU n, and `Architecture.cpuID(n)` in the tree.
    public var count: Int
    /// riscv64: the ISA string, such as "rv64imafdc_sstc".
    public var isa: String
    /// riscv64: frequency of the `time` counter, in Hz.
    public var timebase: UInt32
    /// riscv64: block size of the cbo instructions, in bytes; 0 without them (Zicbom, Zicboz).
    public var cacheBlock: UInt32 = 0
    /// riscv64: size, in bytes, of the block that cbo.zero zeroes; 0 without Zicboz.
    public var zeroBlock: UInt32 = 0

    /// CPUs with the defaults of KVM's guests.
    public init(count: Int = 1, isa: String = "rv64imafdc", timebase: UInt32 = 10_000_000) {
      self.count = count
      self.isa = isa
      self.timebase = timebase
    }
  }

  /// The interrupt controller, with the addresses of its parts.
  public enum InterruptController: Equatable, Sendable {
    /// arm64: distributor of 4 KiB, CPU interface of 8 KiB.
    case gicV2(distributor: UInt64, cpuInterface: UInt64)
    /// arm64: distributor of 64 KiB, one redistributor of 128 KiB for each CPU.
    case gicV3(distributor: UInt64, redistributors: UInt64)
    /// riscv64: a PLIC of 64 MiB with a supervisor context for each CPU and interrupt sources 1 to `sources`.
    case plic(base: UInt64, sources: UInt32)
    /// riscv64: an APLIC of `aplicSize` bytes with sources 1 to `sources`, and an IMSIC page for each CPU with identities 1 to
    /// `identities`.
    case aia(aplic: UInt64, aplicSize: UInt64, sources: UInt32, imsics: UInt64, identities: UInt32)
  }

  /// The address range of a device's registers, and its interrupt.
  public struct DeviceWindow: Sendable {
    /// A multiple of 4 bytes.
    public var range: Range<UInt64>
    /// Its interrupt; nil for none.
    public var interrupt: Interrupt?

    /// Registers at these addresses.
    public init(range: Range<UInt64>, interrupt: Interrupt?) {
      self.range = range
      self.interrupt = interrupt
    }
  }

  /// An interrupt line.
  public struct Interrupt: Sendable {
    /// GIC: number of the SPI, from 0 (INTID minus 32). PLIC, APLIC: the source, from 1.
    public var number: UInt32
    /// Whether it is edge-triggered, not level-triggered. A PLIC's binding does not specify it.
    public var isEdge: Bool

    /// An input of the interrupt controller.
    public init(number: UInt32, isEdge: Bool) {
      self.number = number
      self.isEdge = isEdge
    }
  }

  /// A 16550A, with registers one byte apart.
  public struct SerialPort: Sendable {
    /// Its registers and interrupt.
    public var window: DeviceWindow
    /// Frequency of its clock, in Hz.
    public var clock: UInt32 = 1_843_200

    /// A serial port with the usual clock.
    public init(window: DeviceWindow) { self.window = window }
  }

  /// Parameters of the boot (Devicetree Specification, 3.6 "/chosen").
  public struct Chosen: Sendable {
    /// Kernel command line; empty for none.
    public var bootArguments: [UInt8] = []
    /// Addresses of the initrd, in bytes, not pages.
    public var initrd: Range<UInt64>?
    /// Random bytes for the guest's random number generator; empty for none.
    public var rngSeed: [UInt8] = []
    /// arm64, riscv64 Linux: the seed for the kernel's address; nil for none.
    public var kaslrSeed: UInt64?
    /// An applet's name and arguments, each terminated by a zero byte.
    public var arguments: [UInt8] = []

    /// No parameters.
    public init() {}
  }

  /// The node with the guest's interface to the monitor.
  public struct Hypervisor: Sendable {
    /// nil if the guest cannot call.
    public var method: Architecture.CallMethod?
    /// What the time of day (call 2) is ahead of the monotonic clock (call 0x10a), in nanoseconds; nil for no such calls.
    public var clockOffset: Int64?

    /// An interface with this call instruction.
    public init(method: Architecture.CallMethod?) { self.method = method }
  }
}
