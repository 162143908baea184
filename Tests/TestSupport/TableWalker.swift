import Machine

/// A translation of an address, and the permitted access.
public struct Translation: Equatable, Sendable {
  public var physical: UInt64
  /// EL0, VU mode.
  public var user: Access
  /// EL1, VS mode.
  public var privileged: Access
  public var isDevice: Bool

  public init(physical: UInt64, user: Access, privileged: Access, isDevice: Bool = false) {
    self.physical = physical
    self.user = user
    self.privileged = privileged
    self.isDevice = isDevice
  }

  /// The expected translation of a page that is mapped to itself. Privileged code can access an applet's pages on arm64
  /// (PSTATE.PAN is clear), but not on riscv64 (sstatus.SUM is clear), and cannot execute them on either.
  public init(of page: UInt64, _ mapping: PageTable.Mapping, _ architecture: Architecture) {
    var access = mapping.access
    // Memory that is writable or, on arm64, executable is readable, too.
    if architecture == .arm64 || access.contains(.write) { access.insert(.read) }
    let privileged: Access = architecture == .arm64 ? access.subtracting(.execute) : []
    self.init(
      physical: page, user: mapping.isUser ? access : [], privileged: mapping.isUser ? privileged : access,
      isDevice: architecture == .arm64 && mapping.isDevice)
  }
}

/// Walks page tables as CPUs do, with the settings of secure contexts: arm64's 39-bit addresses with 4 KiB pages, and
/// Sv39. It is based on the manuals, not on the code that creates the tables.
public struct TableWalker {
  /// An entry that is invalid for the CPU, or unexpected in these tables.
  public struct BadEntry: Error, CustomStringConvertible {
    public let description: String
    init(_ what: String, _ entry: UInt64, level: Int) {
      description = "\(what): level \(level) entry 0x\(String(entry, radix: 16))"
    }
  }

  private let architecture: Architecture
  private let root: UInt64
  private let read: (UInt64) -> UInt64?

  /// - Parameters:
  ///   - root: guest-physical address of the root table.
  ///   - read: the 64-bit word at a guest physical address; nil if there is no memory.
  public init(_ architecture: Architecture, root: UInt64, read: @escaping (UInt64) -> UInt64?) {
    self.architecture = architecture
    self.root = root
    self.read = read
  }

  /// - Returns: nil if the address is not mapped.
  public func translate(_ address: UInt64) throws -> Translation? {
    // arm64: TTBR0 covers 2^39 bytes from zero. Sv39: bits 63 to 39 must equal bit 38.
    let limit: UInt64 = architecture == .arm64 ? 1 << 39 : 1 << 38
    guard address < limit else { return nil }
    var table = root
    for level in 1...3 {
      let shift = UInt64(39 - 9 * level)
      let slot = table + (address >> shift & 511) * 8
      guard let entry = read(slot) else { throw BadEntry("table outside memory", slot, level: level) }
      switch architecture {
      case .arm64, .aarch32:
        guard entry & 1 == 1 else { return nil }
        if entry & 2 == 2, level < 3 {
          guard entry >> 48 == 0, entry & 0xffc == 0 else {
            throw BadEntry("attributes in a table", entry, level: level)
          }
          table = entry & 0x0000_ffff_ffff_f000
          continue
        }
        guard entry & 2 == (level == 3 ? 2 : 0) else { throw BadEntry("reserved type", entry, level: level) }
        return try armLeaf(entry, level, offset: address & (1 << shift - 1))
      case .riscv64:
        guard entry & 1 == 1 else { return nil }
        guard entry >> 54 == 0 else { throw BadEntry("reserved bits", entry, level: level) }
        if entry & 0b1110 == 0 {
          guard level < 3, entry & 0b1111_0000 == 0 else { throw BadEntry("no leaf, no table", entry, level: level) }
          table = (entry >> 10) << 12
          continue
        }
        return try riscvLeaf(entry, level, offset: address & (1 << shift - 1))
      }
    }
    return nil
  }

  /// DDI 0487, D8.3 to D8.4.
  private func armLeaf(_ entry: UInt64, _ level: Int, offset: UInt64) throws -> Translation {
    let output = entry & 0x0000_ffff_ffff_f000
    let size: UInt64 = 1 << UInt64(39 - 9 * level)
    guard output % size == 0 else { throw BadEntry("block at an odd address", entry, level: level) }
    guard entry >> 10 & 1 == 1 else { throw BadEntry("access flag clear", entry, level: level) }
    // Bits 63 to 55 and 51 to 48, bit 52 (contiguous), 11 (not global), 5 (not secure).
    guard entry & 0xff9f_0000_0000_0820 == 0 else { throw BadEntry("unwanted bits", entry, level: level) }
    let (attribute, shareable) = (entry >> 2 & 7, entry >> 8 & 3)
    guard attribute == 1 || attribute == 0 && shareable == 3 else { throw BadEntry("memory type", entry, level: level) }
    let isUser = entry >> 6 & 1 == 1
    let isReadOnly = entry >> 7 & 1 == 1
    let (userNever, privilegedNever) = (entry >> 54 & 1 == 1, entry >> 53 & 1 == 1)
    var user: Access = []
    if isUser { user = isReadOnly ? .read : [.read, .write] }
    if !userNever { user.insert(.execute) }  // whatever AP[1] says
    var privileged: Access = isReadOnly ? .read : [.read, .write]
    if !privilegedNever, !(isUser && !isReadOnly) { privileged.insert(.execute) }
    return Translation(
      physical: output + offset / 4096 * 4096, user: user, privileged: privileged, isDevice: attribute == 1)
  }

  /// Privileged specification 10.3.2 and 10.4.
  private func riscvLeaf(_ entry: UInt64, _ level: Int, offset: UInt64) throws -> Translation {
    let output = (entry >> 10) << 12
    let size: UInt64 = 1 << UInt64(39 - 9 * level)
    guard output % size == 0 else { throw BadEntry("superpage at an odd address", entry, level: level) }
    let (canRead, canWrite, canExecute) = (entry >> 1 & 1 == 1, entry >> 2 & 1 == 1, entry >> 3 & 1 == 1)
    guard canRead || !canWrite else { throw BadEntry("writable but not readable", entry, level: level) }
    guard entry >> 6 & 1 == 1, !canWrite || entry >> 7 & 1 == 1 else {
      throw BadEntry("accessed or dirty clear", entry, level: level)
    }
    guard entry >> 5 & 1 == 0, entry >> 8 & 3 == 0 else { throw BadEntry("unwanted bits", entry, level: level) }
    var access: Access = []
    if canRead { access.insert(.read) }
    if canWrite { access.insert(.write) }
    if canExecute { access.insert(.execute) }
    let isUser = entry >> 4 & 1 == 1
    return Translation(
      physical: output + offset / 4096 * 4096, user: isUser ? access : [], privileged: isUser ? [] : access)
  }
}
