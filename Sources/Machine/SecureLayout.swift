/// Why there is no layout for an image.
public enum SecureLayoutError: Error, Equatable, CustomStringConvertible {
  /// The image starts in the page at address zero, which stays unmapped.
  case zeroPage
  /// The image, with a stack and its guard page, needs at least this much memory, in bytes.
  case needsMemory(UInt64)
  /// A host's page is a power of two of bytes, from 4 KiB to 64 KiB.
  case hostPage(UInt64)
  /// The memory would end beyond the address space of `limit` bytes.
  case beyondAddressSpace(limit: UInt64)

  /// The error, in one line.
  public var description: String {
    switch self {
    case .zeroPage: "the image starts in page zero"
    case .hostPage(let bytes): "no host has pages of \(bytes) bytes"
    case .needsMemory(let bytes): "the image needs \(bytes) bytes of memory"
    case .beyondAddressSpace(let limit): "the memory would end beyond the address space of \(limit) bytes"
    }
  }
}

/// The layout of a secure context's memory. Virtual and guest-physical addresses are equal. `.compact`:
///
///     start        2 MiB boundary at or below the image
///       image      text, constants, data: as in the ELF file
///       tree       the device tree, which the applet can read
///       guard      not mapped: one page, and padding to 64 KiB
///       stack
///       shim       one page, which system mode can execute
///       frame      one page, which system mode can write
///       tables     page tables, not mapped
///       heap       the rest
///     end          multiple of the host's page size
///       doorbell   one page without memory: a store there leaves the guest (arm64 without SMCCC filter)
///
/// Everything that a start touches is close together, so that a small applet needs one page table of the last level in each of
/// the two stages. Another one costs about ten thousand instructions in the kernel to allocate, walk and free.
///
/// `.contiguous`, for runtimes that use all memory between their variables and the stack pointer, like GoTEE's applets:
///
///     start        2 MiB boundary at or below the image
///       image      text, constants, data: as in the ELF file
///       heap       up to the stack
///       stack      up to `start` and the memory's size
///       guard      not mapped: one page
///       tree, shim, frame, tables, doorbell: as above
public struct SecureLayout: Equatable, Sendable {
  /// The order of the parts.
  public enum Kind: Sendable {
    /// The stack next to the image, with a guard page below it; the heap is separate.
    case compact
    /// Image, heap and stack in one piece; there is no guard page between heap and stack.
    case contiguous
  }

  /// The order of the parts.
  public let kind: Kind
  /// All memory, as one memory slot.
  public let slot: Range<UInt64>
  /// Pages of the image.
  public let image: Range<UInt64>
  /// Pages of the device tree.
  public let deviceTree: Range<UInt64>
  /// Pages of the stack.
  public let stack: Range<UInt64>
  /// Pages of the heap.
  public let heap: Range<UInt64>

  /// Address of the shim's page.
  public let shim: UInt64
  /// Address of the trap frame's page.
  public var frame: UInt64 { shim + PageTable.pageSize }
  /// Memory for the page tables.
  public var tables: Range<UInt64> {
    frame + PageTable.pageSize..<(kind == .compact ? heap.lowerBound : slot.upperBound)
  }
  /// Address of the doorbell's page.
  public var doorbell: UInt64 { slot.upperBound }

  /// Memory of an applet by default, in bytes.
  public static let defaultMemory: UInt64 = 16 << 20
  /// Minimum memory of an applet, in bytes.
  public static let minMemory: UInt64 = 128 << 10
  /// Maximum memory of an applet, in bytes.
  public static let maxMemory: UInt64 = 64 << 30

  /// - Parameters:
  ///   - image: the range from the lowest to the highest address of the segments; not empty.
  ///   - size: the applet's memory, in bytes, from `minMemory` to `maxMemory`; rounded down to multiples of 64 KiB.
  ///   - deviceTree: maximum size of the device tree, in bytes; rounded up to pages.
  ///   - hostPage: the host's page size, in bytes: 4096, 16384 or 65536.
  ///   - addressLimit: first guest-physical address that the host does not support.
  ///   - kind: the order of the parts.
  public init(
    image: Range<UInt64>, size: UInt64, deviceTree: UInt64 = PageTable.pageSize, hostPage: UInt64,
    addressLimit: UInt64, kind: Kind = .compact
  ) throws(SecureLayoutError) {
    let limit = min(addressLimit, PageTable.addressLimit)
    let page = PageTable.pageSize
    guard [4096, 16384, 65536].contains(hostPage) else { throw .hostPage(hostPage) }
    guard image.upperBound <= limit else { throw .beyondAddressSpace(limit: limit) }
    guard image.lowerBound >= page else { throw .zeroPage }
    let first = image.lowerBound / page * page
    let last = (image.upperBound + page - 1) / page * page
    let start = first / PageTable.blockSize * PageTable.blockSize
    let size = size / 65536 * 65536
    // A size beyond the address space cannot fit, and could overflow below.
    guard size <= limit else { throw .beyondAddressSpace(limit: limit) }
    let stack = Self.stackSize(of: size)
    let tree = (min(deviceTree, limit) + page - 1) / page * page
    // What the size includes beside stack and heap: the image, and in a compact layout device tree and guard page.
    let fixed = last - start + (kind == .compact ? tree + page : 0)
    guard fixed + stack <= size else {
      // The stack grows with the memory, up to a limit.
      var needed = (fixed + 65535) / 65536 * 65536
      while fixed + Self.stackSize(of: needed) > needed { needed += 65536 }
      throw .needsMemory(needed)
    }
    self.kind = kind
    self.image = first..<last
    if kind == .contiguous {
      let top = start + size
      let treeStart = top + page
      let arena = PageTable.arenaSize(covering: size + tree + 4 * page, runs: 2)
      shim = treeStart + tree
      let end = (shim + 2 * page + arena + hostPage - 1) / hostPage * hostPage
      guard end + hostPage <= limit else { throw .beyondAddressSpace(limit: limit) }
      slot = start..<end
      heap = last..<top - stack
      self.stack = top - stack..<top
      self.deviceTree = treeStart..<treeStart + tree
      return
    }
    // The mapped memory is two ranges, before and after the page tables.
    let arena = PageTable.arenaSize(covering: size + 65536, runs: 2)
    let stackEnd = (last + tree + page + stack + 65535) / 65536 * 65536
    let heap = stackEnd + 2 * page + arena
    let end = (heap + size - fixed - stack + hostPage - 1) / hostPage * hostPage
    guard end + hostPage <= limit else { throw .beyondAddressSpace(limit: limit) }
    slot = start..<end
    shim = stackEnd
    self.deviceTree = last..<last + tree
    self.stack = stackEnd - stack..<stackEnd
    self.heap = heap..<end
  }

  /// The stack pointer at the start: the end of the stack. In a contiguous layout it is 64 bytes below, because TamaGo's start-up
  /// code on riscv64 reads its arguments, which are zero, above it.
  public var stackPointer: UInt64 { kind == .contiguous ? stack.upperBound - 64 : stack.upperBound }

  /// What the applet may use, by ascending address.
  public var memory: [Range<UInt64>] {
    kind == .contiguous ? [image.lowerBound..<stack.upperBound] : heap.isEmpty ? [image, stack] : [image, stack, heap]
  }

  private static func stackSize(of memory: UInt64) -> UInt64 { min(256 << 10, memory / 4) }
}
