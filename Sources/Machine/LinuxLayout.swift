/// Where things lie in a Linux guest's machine, by guest-physical address; the same on both architectures as far as they have
/// the same things.
///
///     0x0100_0000  serial port: a 16550A
///     0x0200_0000  virtio devices, 4 KiB apart
///     0x0800_0000  arm64: GIC distributor, 64 KiB              riscv64: APLIC, 16 KiB
///     0x0801_0000  arm64: GICv2 CPU interface, 8 KiB
///     0x0900_0000  arm64: GICv3 redistributors, 128 KiB each   riscv64: IMSICs, 4 KiB each
///     0x0c00_0000                                              riscv64: PLIC, 64 MiB
///     0x8000_0000  memory
///       kernel       as far from its start as the image asks, as large as the image says
///       tree         device tree, at a 2 MiB boundary
///       initrd       initial file system
///       ...
///     end
///
/// The kernel lies at a 2 MiB boundary (both boot protocols ask for one), and tree and initrd close behind it: arm64 wants
/// the initrd within 32 GiB of the kernel, and what a kernel touches early shares few huge pages so.
public struct LinuxLayout: Equatable, Sendable {
  public static let serial: UInt64 = 0x0100_0000
  public static let virtio: UInt64 = 0x0200_0000
  /// Bytes from one virtio device to the next.
  public static let virtioStep: UInt64 = 0x1000
  public static let distributor: UInt64 = 0x0800_0000
  public static let cpuInterface: UInt64 = 0x0801_0000
  public static let redistributors: UInt64 = 0x0900_0000
  public static let aplic: UInt64 = 0x0800_0000
  public static let aplicSize: UInt64 = 0x4000
  public static let imsics: UInt64 = 0x0900_0000
  public static let plic: UInt64 = 0x0c00_0000
  public static let memoryStart: UInt64 = 0x8000_0000

  /// Numbers of the devices' interrupts: shared ones of a GIC, sources of a PLIC or APLIC.
  public static let serialInterrupt: UInt32 = 1
  public static let firstVirtioInterrupt: UInt32 = 2
  /// Interrupts that the controller has: as many as the PLIC has sources.
  public static let interrupts: UInt32 = 31
  /// Most virtio devices, each with an interrupt of its own.
  public static let mostVirtio = Int(interrupts - firstVirtioInterrupt) + 1
  /// Most processors: those of a GICv2, and what fits the redistributors' and IMSICs' place.
  public static let mostProcessors = 64

  /// All of the memory.
  public let memory: Range<UInt64>
  /// Where the kernel's first byte lies and execution begins.
  public let kernel: Range<UInt64>
  /// Room for the device tree.
  public let tree: Range<UInt64>
  /// Bytes of the initrd; empty where there is none.
  public let initrd: Range<UInt64>

  /// Bytes of room for the device tree.
  public static let treeSize: UInt64 = 64 << 10
  /// Both boot protocols' unit.
  private static let block: UInt64 = 2 << 20
  /// Least and most memory, in bytes: what no Debian kernel does without, and what the host's tables can map.
  public static let leastMemory: UInt64 = 64 << 20
  public static let mostMemory: UInt64 = 512 << 30
  /// Memory where the user does not say.
  public static let defaultMemory: UInt64 = 256 << 20

  /// Why things do not fit.
  public enum Problem: Error, Equatable, Sendable {
    /// The image asks for an address or a size that no memory has.
    case header
    /// Kernel, tree and initrd, with memory to work in, need this many bytes.
    case needsMemory(UInt64)
    /// The memory would end beyond the address space of `limit` bytes.
    case beyondAddressSpace(limit: UInt64)
  }

  /// - Parameters:
  ///   - header: the kernel's.
  ///   - initrdSize: bytes; 0 for none.
  ///   - size: bytes of memory; rounded down to 2 MiB.
  ///   - addressLimit: first guest-physical address that the host cannot give.
  public init(header: KernelHeader, initrdSize: UInt64, size: UInt64, addressLimit: UInt64) throws(Problem) {
    let size = size / Self.block * Self.block
    let start = Self.memoryStart
    let (end, overflow) = start.addingReportingOverflow(size)
    guard !overflow, end <= addressLimit else { throw .beyondAddressSpace(limit: addressLimit) }
    // Beyond this no sum below can overflow.
    let most = Self.mostMemory
    guard header.textOffset <= most, header.imageSize <= most, header.textOffset % 4096 == 0 else { throw .header }
    guard initrdSize <= most else { throw .needsMemory(.max) }
    let kernelStart = start + header.textOffset
    let kernelEnd = kernelStart + header.imageSize
    let treeStart = (kernelEnd + Self.block - 1) / Self.block * Self.block
    let initrdStart = treeStart + Self.treeSize
    let initrdEnd = initrdStart + initrdSize
    // What is left has to hold page tables, and what the initrd unpacks to.
    let needed = max(initrdEnd - start + initrdSize + (16 << 20), Self.leastMemory)
    guard needed <= size else { throw .needsMemory((needed + Self.block - 1) / Self.block * Self.block) }
    memory = start..<end
    kernel = kernelStart..<kernelEnd
    tree = treeStart..<initrdStart
    initrd = initrdStart..<initrdEnd
  }
}
