import Machine

/// What a guest's machine consists of. Memory and devices are made from it and the device tree is written from it, so that
/// the two cannot disagree.
///
/// Addresses are guest-physical; ranges are whole pages unless said otherwise.
public struct MachineDescription: Sendable {
  /// What runs on the machine.
  public enum Kind: Sendable {
    /// A secure context: user mode behind the shim.
    case applet
    /// A bare-metal program in system mode.
    case program
    /// Linux, or another operating system that boots the same way.
    case linux
  }

  public var architecture: Architecture
  public var kind: Kind
  /// The memory that the guest may use, by ascending address; memory that it shares behind it.
  public var memory: [Range<UInt64>]
  /// Parts of the memory that the guest must leave alone, by ascending address.
  public var reserved: [ReservedMemory] = []
  public var processors: Processors
  /// nil where the guest has none; then nothing in `serial` and `virtio` has an interrupt.
  public var interruptController: InterruptController?
  public var serial: SerialPort?
  /// virtio devices with the MMIO transport, by ascending address.
  public var virtio: [DeviceWindow] = []
  public var chosen = Chosen()
  /// nil for no node.
  public var hypervisor: Hypervisor?

  public init(architecture: Architecture, kind: Kind, memory: [Range<UInt64>], processors: Processors) {
    self.architecture = architecture
    self.kind = kind
    self.memory = memory
    self.processors = processors
  }

  /// A part of the memory with a use of its own (Devicetree Specification, 3.5 "/reserved-memory").
  public struct ReservedMemory: Sendable {
    /// The node's name, without the address.
    public var name: StaticString
    public var range: Range<UInt64>
    /// Whether the guest must not even map it.
    public var isUnmapped: Bool

    public init(name: StaticString, range: Range<UInt64>, isUnmapped: Bool) {
      self.name = name
      self.range = range
      self.isUnmapped = isUnmapped
    }
  }

  public struct Processors: Sendable {
    /// At least 1. Number n is vCPU n, hart id n, or the MPIDR that `mpidr(n)` gives.
    public var count: Int
    /// riscv64: the ISA string, such as "rv64imafdc_sstc".
    public var isa: String
    /// riscv64: ticks a second of the `time` counter.
    public var timebase: UInt32
    /// riscv64: bytes of the blocks that cbo instructions work on; 0 where there are none (Zicbom, Zicboz).
    public var cacheBlock: UInt32 = 0
    public var zeroBlock: UInt32 = 0

    public init(count: Int = 1, isa: String = "rv64imafdc", timebase: UInt32 = 10_000_000) {
      self.count = count
      self.isa = isa
      self.timebase = timebase
    }

    /// arm64: the affinity fields that KVM gives vCPU n (MPIDR_EL1, arch/arm64/kvm/sys_regs.c `reset_mpidr`).
    public static func mpidr(_ number: Int) -> UInt32 {
      UInt32(truncatingIfNeeded: number & 0xf | (number >> 4 & 0xff) << 8 | (number >> 12 & 0xff) << 16)
    }
  }

  /// The interrupt controller, by the addresses that its parts were given.
  public enum InterruptController: Equatable, Sendable {
    /// arm64: distributor of 4 KiB, CPU interface of 8 KiB.
    case gicV2(distributor: UInt64, cpuInterface: UInt64)
    /// arm64: distributor of 64 KiB, a redistributor of 128 KiB a processor.
    case gicV3(distributor: UInt64, redistributors: UInt64)
    /// riscv64: a PLIC of 64 MiB with a supervisor context a processor, interrupt sources 1 to `sources`.
    case plic(base: UInt64, sources: UInt32)
    /// riscv64: an APLIC of `aplicSize` bytes with sources 1 to `sources`, which forwards to an IMSIC page a processor with
    /// identities 1 to `identities`.
    case aia(aplic: UInt64, aplicSize: UInt64, sources: UInt32, imsics: UInt64, identities: UInt32)
  }

  /// Where a device's registers are, and the interrupt that it raises.
  public struct DeviceWindow: Sendable {
    /// Any multiple of 4 bytes.
    public var range: Range<UInt64>
    public var interrupt: Interrupt?

    public init(range: Range<UInt64>, interrupt: Interrupt?) {
      self.range = range
      self.interrupt = interrupt
    }
  }

  /// A wire to the interrupt controller.
  public struct Interrupt: Sendable {
    /// GIC: the shared interrupt's number from 0 on (INTID less 32). PLIC, APLIC: the source, from 1 on.
    public var number: UInt32
    /// Raised by an edge rather than a level. A PLIC does not say.
    public var isEdge: Bool

    public init(number: UInt32, isEdge: Bool) {
      self.number = number
      self.isEdge = isEdge
    }
  }

  /// A 16550A, registers a byte apart.
  public struct SerialPort: Sendable {
    public var window: DeviceWindow
    /// Hertz of its clock.
    public var clock: UInt32 = 1_843_200

    public init(window: DeviceWindow) { self.window = window }
  }

  /// What is up to the one who starts the machine (Devicetree Specification, 3.6 "/chosen").
  public struct Chosen: Sendable {
    /// Kernel command line; empty for none.
    public var bootArguments = ""
    /// Addresses of the initial file system; bytes, not pages.
    public var initrd: Range<UInt64>?
    /// Random bytes for the guest to start with; empty for none.
    public var rngSeed: [UInt8] = []
    /// arm64, riscv64 Linux: where the kernel places itself; nil for none.
    public var kaslrSeed: UInt64?
    /// An applet's name and arguments, each ended by a zero byte.
    public var arguments: [UInt8] = []

    public init() {}
  }

  /// How the guest calls the monitor: the node that says so.
  public struct Hypervisor: Sendable {
    /// The instruction that calls, in the tree's words.
    public enum Method: Sendable {
      case svc, ecall, hvc, sbi

      public var name: StaticString {
        switch self {
        case .svc: "svc"
        case .ecall: "ecall"
        case .hvc: "hvc"
        case .sbi: "sbi"
        }
      }
    }

    /// nil where the guest cannot call.
    public var method: Method?

    public init(method: Method?) { self.method = method }
  }
}
