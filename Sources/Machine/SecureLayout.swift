import AppletABI

/// Where things lie in a secure context's memory. Virtual and guest-physical addresses are equal.
///
///     start        2 MiB boundary at or below the image
///       image      text, constants, data: as the ELF file asks
///       tree       the device tree: the applet can read it
///       guard      not mapped: one page, and what is missing to 64 KiB
///       stack
///       shim       one page: EL1 or VS mode may execute it
///       frame      one page: EL1 or VS mode may write it
///       tables     page tables, not mapped
///       heap       the rest
///     end          multiple of the host's page size
///       doorbell   one page without memory behind it: a store there leaves the guest (arm64 without SMCCC filter)
///
/// What every start touches lies together, so that a small applet needs one page table of the last level in each of the two
/// stages; each more of them costs the kernel some ten thousand instructions to make, to walk and to free.
public struct SecureLayout: Equatable, Sendable {
  /// All of it: one memory slot.
  public let slot: Range<UInt64>
  /// Pages that the image covers.
  public let image: Range<UInt64>
  /// Pages of the device tree.
  public let deviceTree: Range<UInt64>
  /// Pages of the stack.
  public let stack: Range<UInt64>
  /// Pages of the heap.
  public let heap: Range<UInt64>

  public var shim: UInt64 { stack.upperBound }
  public var frame: UInt64 { shim + PageTable.pageSize }
  /// Room for the page tables.
  public var tables: Range<UInt64> { frame + PageTable.pageSize..<heap.lowerBound }
  public var doorbell: UInt64 { slot.upperBound }

  /// Bytes of memory that an applet gets where its user does not say.
  public static let defaultMemory: UInt64 = 16 << 20
  /// Least memory an applet can have, in bytes.
  public static let leastMemory: UInt64 = 128 << 10
  /// Most memory an applet can have, in bytes.
  public static let mostMemory: UInt64 = 64 << 30

  /// Why an image cannot be laid out.
  public enum Problem: Error, Equatable {
    /// The image starts in the page at address zero, which stays unmapped.
    case zeroPage
    /// The image, with a stack and its guard page, needs more memory: at least this many bytes.
    case needsMemory(UInt64)
    /// The memory would end beyond the address space of `limit` bytes.
    case beyondAddressSpace(limit: UInt64)
  }

  /// - Parameters:
  ///   - image: first and last-plus-one address that any segment covers; not empty.
  ///   - size: bytes of the applet's memory, from `leastMemory` to `mostMemory`; rounded down to pages of 64 KiB.
  ///   - deviceTree: bytes of room for the device tree; rounded up to pages.
  ///   - hostPage: the host's page size in bytes.
  ///   - addressLimit: first guest-physical address that the host cannot give.
  public init(
    image: Range<UInt64>, size: UInt64, deviceTree: UInt64 = PageTable.pageSize, hostPage: UInt64, addressLimit: UInt64
  ) throws(Problem) {
    let limit = min(addressLimit, PageTable.addressLimit)
    let page = PageTable.pageSize
    guard image.upperBound <= limit else { throw .beyondAddressSpace(limit: limit) }
    guard image.lowerBound >= page else { throw .zeroPage }
    let first = image.lowerBound / page * page
    let last = (image.upperBound + page - 1) / page * page
    let start = first / PageTable.blockSize * PageTable.blockSize
    let size = size / 65536 * 65536
    // Sizes beyond the address space fit it no better, and could overflow below.
    guard size <= limit else { throw .beyondAddressSpace(limit: limit) }
    let stack = Self.stackSize(of: size)
    let tree = (min(deviceTree, limit) + page - 1) / page * page
    // Image, device tree and guard page.
    let fixed = last - start + tree + page
    guard fixed + stack <= size else {
      // The stack grows with the memory, up to a limit.
      var least = (fixed + 65535) / 65536 * 65536
      while fixed + Self.stackSize(of: least) > least { least += 65536 }
      throw .needsMemory(least)
    }
    // What is mapped lies in two runs, on either side of the page tables.
    let arena = PageTable.arenaSize(covering: size + 65536, runs: 2)
    let stackEnd = (last + tree + page + stack + 65535) / 65536 * 65536
    let heap = stackEnd + 2 * page + arena
    let end = (heap + size - fixed - stack + hostPage - 1) / hostPage * hostPage
    guard end + hostPage <= limit else { throw .beyondAddressSpace(limit: limit) }
    slot = start..<end
    self.image = first..<last
    self.deviceTree = last..<last + tree
    self.stack = stackEnd - stack..<stackEnd
    self.heap = heap..<end
  }

  private static func stackSize(of memory: UInt64) -> UInt64 { min(256 << 10, memory / 4) }
}
