/// Why there is no layout for a kernel and its initrd.
public enum LinuxLayoutError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The image requests an address or a size that no memory has.
  case header
  /// Kernel, device tree, initrd and memory to work in need at least this many bytes.
  case needsMemory(UInt64)
  /// The memory would end beyond the address space of `limit` bytes.
  case beyondAddressSpace(limit: UInt64)

  /// The error, in one line.
  public var description: String {
    switch self {
    case .header: "the kernel's header has an address or a size beyond any memory"
    case .needsMemory(let bytes): "kernel and initrd need \(bytes) bytes of memory"
    case .beyondAddressSpace(let limit): "the memory would end beyond the address space of \(limit) bytes"
    }
  }
}

/// The layout of a Linux guest's VM, by guest-physical address; the same on both architectures where they have the same
/// devices.
///
///     0x0100_0000  serial port: a 16550A
///     0x0200_0000  virtio devices, 4 KiB apart
///     0x0800_0000  arm64: GIC distributor, 64 KiB              riscv64: APLIC, 16 KiB
///     0x0801_0000  arm64: GICv2 CPU interface, 8 KiB
///     0x0900_0000  arm64: GICv3 redistributors, 128 KiB each   riscv64: IMSICs, 4 KiB each
///     0x0c00_0000                                              riscv64: PLIC, 64 MiB
///     0x8000_0000  memory
///       kernel       at the offset and with the size in the image's header
///       tree         device tree, at a 2 MiB boundary
///       initrd       initrd
///       ...
///     end
///
/// The kernel is at a 2 MiB boundary, as both boot protocols require, followed closely by device tree and initrd: on arm64 the
/// initrd must be within 32 GiB of the kernel, and a kernel's first accesses then touch few huge pages.
public struct LinuxLayout: Equatable, Sendable {
  /// Guest-physical address of the serial port.
  public static let serial: UInt64 = 0x0100_0000
  /// Guest-physical address of the first virtio device.
  public static let virtio: UInt64 = 0x0200_0000
  /// Distance between two virtio devices, in bytes.
  public static let virtioStep: UInt64 = 0x1000
  /// arm64: guest-physical address of the GIC distributor.
  public static let distributor: UInt64 = 0x0800_0000
  /// arm64: guest-physical address of the GICv2 CPU interface.
  public static let cpuInterface: UInt64 = 0x0801_0000
  /// arm64: guest-physical address of the GICv3 redistributors.
  public static let redistributors: UInt64 = 0x0900_0000
  /// riscv64: guest-physical address of the APLIC.
  public static let aplic: UInt64 = 0x0800_0000
  /// riscv64: size of the APLIC, in bytes.
  public static let aplicSize: UInt64 = 0x4000
  /// riscv64: guest-physical address of the IMSICs.
  public static let imsics: UInt64 = 0x0900_0000
  /// riscv64: guest-physical address of the PLIC.
  public static let plic: UInt64 = 0x0c00_0000
  /// Guest-physical address of the memory.
  public static let memoryStart: UInt64 = 0x8000_0000

  /// Interrupt numbers of the devices: SPIs of a GIC, sources of a PLIC or APLIC.
  public static let serialInterrupt: UInt32 = 1
  /// The first virtio device's; the others follow.
  public static let firstVirtioInterrupt: UInt32 = 2
  /// Number of interrupts of the controller: as many as the PLIC has sources.
  public static let interrupts: UInt32 = 31
  /// Maximum number of virtio devices, each with an interrupt of its own.
  public static let maxVirtioDevices = Int(interrupts - firstVirtioInterrupt) + 1
  /// Maximum number of CPUs: as many as fit the address ranges of redistributors and IMSICs.
  public static let maxCPUs = 64

  /// All of the memory.
  public let memory: Range<UInt64>
  /// The kernel; execution starts at its first byte.
  public let kernel: Range<UInt64>
  /// Memory for the device tree.
  public let tree: Range<UInt64>
  /// The initrd; empty if there is none.
  public let initrd: Range<UInt64>

  /// Maximum size of the device tree, in bytes.
  public static let treeSize: UInt64 = 64 << 10
  /// Alignment that both boot protocols require.
  private static let block: UInt64 = 2 << 20
  /// Minimum and maximum memory, in bytes: enough for a Debian kernel, and what the host's tables can map.
  public static let minMemory: UInt64 = 64 << 20
  /// Maximum memory, in bytes.
  public static let maxMemory: UInt64 = 512 << 30
  /// Memory by default, in bytes.
  public static let defaultMemory: UInt64 = 256 << 20

  /// - Parameters:
  ///   - header: of the kernel.
  ///   - initrdSize: size of the initrd, in bytes; 0 for none.
  ///   - size: memory of the guest, in bytes; rounded down to 2 MiB.
  ///   - addressLimit: first guest-physical address that the host does not support.
  public init(header: KernelHeader, initrdSize: UInt64, size: UInt64, addressLimit: UInt64) throws(LinuxLayoutError) {
    let size = size / Self.block * Self.block
    let start = Self.memoryStart
    let (end, overflow) = start.addingReportingOverflow(size)
    guard !overflow, end <= addressLimit else { throw .beyondAddressSpace(limit: addressLimit) }
    // Below this limit no sum here can overflow.
    let limit = Self.maxMemory
    guard header.textOffset <= limit, header.imageSize <= limit, header.textOffset % 4096 == 0 else { throw .header }
    guard initrdSize <= limit else { throw .needsMemory(.max) }
    let kernelStart = start + header.textOffset
    let kernelEnd = kernelStart + header.imageSize
    let treeStart = (kernelEnd + Self.block - 1) / Self.block * Self.block
    let initrdStart = treeStart + Self.treeSize
    let initrdEnd = initrdStart + initrdSize
    // The rest has to hold page tables and the unpacked initrd.
    let needed = max(initrdEnd - start + initrdSize + (16 << 20), Self.minMemory)
    guard needed <= size else { throw .needsMemory((needed + Self.block - 1) / Self.block * Self.block) }
    memory = start..<end
    kernel = kernelStart..<kernelEnd
    tree = treeStart..<initrdStart
    initrd = initrdStart..<initrdEnd
  }
}
