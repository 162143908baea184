/// The kinds of access to memory that are allowed.
public struct Access: OptionSet, Sendable {
  /// The bits; those of `applet_region.access` in the ABI.
  public let rawValue: UInt8
  /// Access from its bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Loads.
  public static let read = Access(rawValue: 1)
  /// Stores.
  public static let write = Access(rawValue: 2)
  /// Instruction fetches.
  public static let execute = Access(rawValue: 4)
}

/// Why memory cannot be mapped.
public enum PageTableError: Error, CustomStringConvertible {
  /// The arena is full: there are more regions, or more separate ones, than it was sized for.
  case full
  /// An entry refers to a table that the monitor has not created: the guest has changed it.
  case foreign

  /// The error, in one line.
  public var description: String {
    switch self {
    case .full: "there is no memory left for page tables"
    case .foreign: "the guest has written to its page tables"
    }
  }
}

/// A guest's stage-1 page tables: three levels of 4 KiB tables with 512 entries each, which arm64's 39-bit addresses and RISC-V's
/// Sv39 have in common.
///
/// The tables are in one range of guest memory, the arena. Its first page is the root, and further tables are allocated from it
/// in order. A secure context cannot write them. A program in system mode can, so an entry is checked like other input from a
/// guest; a wrong one can only harm that guest.
public struct PageTable {
  /// Size of a page, and of a table, in bytes.
  public static let pageSize: UInt64 = 4096
  /// Size, in bytes, of the range that an entry of the middle level maps.
  public static let blockSize: UInt64 = 2 << 20
  /// First address that the tables cannot translate: the lower half of Sv39 is 256 GiB.
  public static let addressLimit: UInt64 = 1 << 38

  /// How a page is mapped.
  public struct Mapping: Equatable, Sendable {
    /// The access.
    public var access: Access
    /// Whether user mode (EL0, VU mode) has that access, or only the shim in system mode (EL1, VS mode).
    public var isUser: Bool
    /// Device memory: accesses are neither cached nor reordered.
    public var isDevice: Bool

    /// A mapping, by default for user mode and of normal memory.
    public init(_ access: Access, isUser: Bool = true, isDevice: Bool = false) {
      self.access = access
      self.isUser = isUser
      self.isDevice = isDevice
    }
  }

  private let architecture: Architecture
  private let arena: UnsafeMutableBufferPointer<UInt64>
  private let physical: UInt64
  private var used = 1

  /// - Parameters:
  ///   - arena: zeroed memory of whole pages, which the guest has at address `physical`. It must outlive this value.
  ///   - physical: guest-physical address of the arena and of the root table; page-aligned.
  package init(architecture: Architecture, arena: UnsafeMutableRawBufferPointer, physical: UInt64) {
    self.architecture = architecture
    self.arena = arena.bindMemory(to: UInt64.self)
    self.physical = physical
  }

  /// Continues with the tables of another arena of the same size, whose bytes were copied into this one.
  package mutating func follow(_ other: PageTable) { used = other.used }

  /// Size of the arena, in bytes, that is enough to map any part of `length` bytes of memory in this many contiguous ranges.
  package static func arenaSize(covering length: UInt64, runs: UInt64 = 1) -> UInt64 {
    let leaves = length / blockSize + 2 * runs
    let middles = length >> 30 + 2 * runs
    // The root, and space for the tables of eight regions elsewhere.
    return (1 + middles + leaves + 16) * pageSize
  }

  /// Maps addresses to equal guest-physical addresses, or unmaps them if the mapping is nil or has no access. Replaces earlier
  /// mappings.
  /// - Parameter range: whole pages below `addressLimit`.
  /// - Throws: `PageTableError` if the arena is full, or the guest has changed a table on the way; what was mapped until then
  ///   stays mapped.
  public mutating func map(_ range: Range<UInt64>, _ mapping: Mapping?) throws(PageTableError) {
    precondition(range.upperBound <= Self.addressLimit && (range.lowerBound | range.upperBound) % Self.pageSize == 0)
    // An entry without access would be a readable page on arm64, and a pointer to a table on RISC-V.
    let mapping = mapping.flatMap { $0.access.isEmpty ? nil : $0 }
    var address = range.lowerBound
    while address < range.upperBound {
      let middle = try table(at: Int(address >> 30) & 511, of: 0, level: 1)
      let slot = Int(address >> 21) & 511
      if address % Self.blockSize == 0, range.upperBound - address >= Self.blockSize,
        !isTable(arena[middle * 512 + slot])
      {
        arena[middle * 512 + slot] = mapping.map { architecture.leaf(address, $0, level: 2) } ?? 0
        address += Self.blockSize
        continue
      }
      let leaves = try table(at: slot, of: middle, level: 2)
      let end = min(range.upperBound, (address / Self.blockSize + 1) * Self.blockSize)
      // Adjacent entries differ only in their addresses.
      var entry = mapping.map { architecture.leaf(address, $0, level: 3) } ?? 0
      let step = mapping.map { architecture.leaf(address + Self.pageSize, $0, level: 3) - entry } ?? 0
      while address < end {
        arena[leaves * 512 + Int(address >> 12) & 511] = entry
        entry &+= step
        address += Self.pageSize
      }
    }
  }

  /// The number in the arena of the table that an entry refers to; it is created if there is none. If the entry maps a block,
  /// the block is replaced by a table with the same mapping.
  private mutating func table(at slot: Int, of parent: Int, level: Int) throws(PageTableError) -> Int {
    let entry = arena[parent * 512 + slot]
    if isTable(entry) {
      // The subtraction wraps for an address below the arena, to a number far out of range.
      let number = (address(of: entry) &- physical) / Self.pageSize
      guard number > 0, number < UInt64(used) else { throw .foreign }
      return Int(number)
    }
    guard used < arena.count / 512 else { throw .full }
    let made = used
    used += 1
    if entry != 0 {
      for index in 0..<512 { arena[made * 512 + index] = split(entry, index) }
    }
    arena[parent * 512 + slot] = (physical + UInt64(made) * Self.pageSize) >> format.addressShift | format.tableBits
    return made
  }

  /// The entry for page `index` of a 2 MiB block. The guest may have written any value.
  private func split(_ block: UInt64, _ index: Int) -> UInt64 {
    (block | format.pageBits) &+ UInt64(index) * (Self.pageSize >> format.addressShift)
  }

  private func isTable(_ entry: UInt64) -> Bool { entry & format.tableMask == format.tableBits }

  private func address(of table: UInt64) -> UInt64 { (table & format.addressMask) << format.addressShift }

  @inline(__always)
  private var format: Format { architecture.facts.pageTable }

  /// The format of page-table entries, as far as the architectures differ only in values.
  struct Format {
    /// By how many bits the address of a page or table is shifted right in an entry.
    let addressShift: UInt64
    /// The bits of the entry that contain the address.
    let addressMask: UInt64
    /// The bits that distinguish a table of the next level, and their value for one.
    let tableMask: UInt64
    let tableBits: UInt64
    /// The bits that are set in a page's entry and clear in a block's.
    let pageBits: UInt64
  }
}
