/// What may be done with memory.
public struct Access: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let read = Access(rawValue: 1)
  public static let write = Access(rawValue: 2)
  public static let execute = Access(rawValue: 4)
}

/// A guest's page tables: three levels of 4 KiB tables with 512 entries, the geometry that arm64's 39-bit addresses and
/// RISC-V's Sv39 share.
///
/// The tables lie in one run of guest memory, the arena, whose first page is the root; further tables are taken from it in
/// order. The guest's processor reads them. A secure context cannot write them; a program in system mode can, so what stands in
/// them is checked like anything else that a guest hands over, and may mislead that guest alone.
public struct PageTable {
  /// Bytes of a page, and of a table.
  public static let pageSize: UInt64 = 4096
  /// Bytes that an entry of the middle level covers.
  public static let blockSize: UInt64 = 2 << 20
  /// First address that the tables cannot translate: Sv39's lower half is 256 GiB.
  public static let addressLimit: UInt64 = 1 << 38

  /// How a page is mapped.
  public struct Mapping: Equatable, Sendable {
    public var access: Access
    /// Whether the applet (EL0, VU mode) has that access, or only the shim (EL1, VS mode).
    public var isUser: Bool
    /// Device memory: accesses are neither cached nor reordered.
    public var isDevice: Bool

    public init(_ access: Access, isUser: Bool = true, isDevice: Bool = false) {
      self.access = access
      self.isUser = isUser
      self.isDevice = isDevice
    }
  }

  /// Why something cannot be mapped.
  public enum Refusal: Error {
    /// The arena is full: more regions, or more scattered ones, than it was made for.
    case full
    /// An entry leads to a table that the monitor has not made: the guest has written it.
    case foreign
  }

  private let architecture: Architecture
  private let arena: UnsafeMutableBufferPointer<UInt64>
  private let physical: UInt64
  private var used = 1

  /// - Parameters:
  ///   - arena: zeroed memory of whole pages, where the guest sees it from address `physical` on. It must outlive the value.
  ///   - physical: guest-physical address of the arena; page-aligned. This is the root table.
  package init(architecture: Architecture, arena: UnsafeMutableRawBufferPointer, physical: UInt64) {
    self.architecture = architecture
    self.arena = arena.bindMemory(to: UInt64.self)
    self.physical = physical
  }

  /// Takes up other tables of the same arena size whose bytes were copied into this arena.
  package mutating func follow(_ other: PageTable) { used = other.used }

  /// Bytes of arena that mapping any part of `length` bytes of memory can need, which lie in so many contiguous runs.
  public static func arenaSize(covering length: UInt64, runs: UInt64 = 1) -> UInt64 {
    let leaves = length / blockSize + 2 * runs
    let middles = length >> 30 + 2 * runs
    // The root, and room for the tables of eight regions elsewhere.
    return (1 + middles + leaves + 16) * pageSize
  }

  /// Maps addresses to equal guest-physical addresses, or with `nil` or without any access unmaps them, replacing what was
  /// there.
  /// - Parameter range: whole pages below `addressLimit`.
  /// - Throws: `Refusal` where the arena has no page left, or the guest has changed a table on the way; what was mapped until
  ///   then stays.
  public mutating func map(_ range: Range<UInt64>, _ mapping: Mapping?) throws(Refusal) {
    precondition(range.upperBound <= Self.addressLimit && (range.lowerBound | range.upperBound) % Self.pageSize == 0)
    // An entry without access is a readable page on arm64, and a pointer to a table on RISC-V.
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
      // The entries of neighbours differ by their addresses alone.
      var entry = mapping.map { architecture.leaf(address, $0, level: 3) } ?? 0
      let step = mapping.map { architecture.leaf(address + Self.pageSize, $0, level: 3) - entry } ?? 0
      while address < end {
        arena[leaves * 512 + Int(address >> 12) & 511] = entry
        entry &+= step
        address += Self.pageSize
      }
    }
  }

  /// The table, by its number in the arena, that an entry leads to; made where there is none yet. A block that stands in
  /// the way becomes a table of the same mapping.
  private mutating func table(at slot: Int, of parent: Int, level: Int) throws(Refusal) -> Int {
    let entry = arena[parent * 512 + slot]
    if isTable(entry) {
      // An address below the arena comes out as a number far beyond it.
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
    arena[parent * 512 + slot] = architecture.table(physical + UInt64(made) * Self.pageSize)
    return made
  }

  /// The entry for page `index` of a 2 MiB block. One that the guest has written may be any number.
  private func split(_ block: UInt64, _ index: Int) -> UInt64 {
    switch architecture {
    case .arm64: (block | 0b10) &+ UInt64(index) * Self.pageSize
    case .riscv64: block &+ UInt64(index) << 10
    }
  }

  private func isTable(_ entry: UInt64) -> Bool {
    switch architecture {
    // A level 1 or 2 entry: bit 1 tells a table from a block.
    case .arm64: entry & 0b11 == 0b11
    // Valid without any access.
    case .riscv64: entry & 0b1111 == 1
    }
  }

  private func address(of table: UInt64) -> UInt64 {
    switch architecture {
    case .arm64: table & 0x0000_ffff_ffff_f000
    case .riscv64: (table >> 10) << 12
    }
  }
}
