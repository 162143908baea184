import Machine
import TestSupport
import Testing

/// Page tables in memory of the test, and the expected translations.
private final class Tables {
  let architecture: Architecture
  let physical: UInt64 = 0x40_0000_0000 - 0x1000_0000
  private let arena: UnsafeMutableRawBufferPointer
  var table: PageTable
  var model: [UInt64: PageTable.Mapping] = [:]
  private var blocks: Set<UInt64> = []

  init(_ architecture: Architecture, pages: Int) {
    self.architecture = architecture
    arena = .allocate(byteCount: pages * 4096, alignment: 4096)
    arena.initializeMemory(as: UInt8.self, repeating: 0)
    table = PageTable(architecture: architecture, arena: arena, physical: physical)
  }

  deinit { arena.deallocate() }

  /// Writes an entry, as a guest does that can write the tables. The root's entries come first.
  func forge(_ index: Int, _ entry: UInt64) {
    arena.storeBytes(of: entry, toByteOffset: index * 8, as: UInt64.self)
  }

  /// The entry that refers to a table.
  func entry(to address: UInt64) -> UInt64 {
    architecture == .arm64 ? address & ~0xfff | 0b11 : (address >> 12) << 10 | 1
  }

  func map(_ range: Range<UInt64>, _ mapping: PageTable.Mapping?) throws {
    for block in range.lowerBound >> 21...(range.upperBound - 1) >> 21 { blocks.insert(block) }
    try table.map(range, mapping)
    let stored = mapping.flatMap { $0.access.isEmpty ? nil : $0 }
    for page in stride(from: range.lowerBound, to: range.upperBound, by: 4096) { model[page] = stored }
  }

  func translate(_ address: UInt64) throws -> Translation? {
    let walker = TableWalker(architecture, root: physical) { [arena, physical] word in
      guard word >= physical, word < physical + UInt64(arena.count) else { return nil }
      return arena.load(fromByteOffset: Int(word - physical), as: UInt64.self)
    }
    return try walker.translate(address)
  }

  /// Compares all pages of all 2 MiB blocks that were changed, and of their neighbours.
  func verify(_ comment: Comment) throws {
    for block in blocks.union(blocks.map { $0 + 1 }).union(blocks.filter { $0 > 0 }.map { $0 - 1 }) {
      for page in stride(from: block << 21, to: (block + 1) << 21, by: 4096) {
        let expected = model[page].map { Translation(of: page, $0, architecture) }
        let found = try translate(page)
        guard found == expected else {
          Issue.record("\(comment): 0x\(String(page, radix: 16)) is \(found as Any), not \(expected as Any)")
          return
        }
      }
    }
  }
}

struct PageTableTests {
  private static let mappings: [PageTable.Mapping] = [
    .init([.read]), .init([.read, .write]), .init([.read, .execute]), .init([.execute]),
    .init([.read, .execute], isUser: false), .init([.read, .write], isUser: false),
    .init([.read, .write], isUser: false, isDevice: true),
  ]

  @Test(arguments: [Architecture.arm64, .riscv64], mappings.indices)
  func aPageAndABlockGetTheirMapping(architecture: Architecture, index: Int) throws {
    let tables = Tables(architecture, pages: 8)
    let mapping = Self.mappings[index]
    try tables.map(0x8000_1000..<0x8000_2000, mapping)
    try tables.map(0x8020_0000..<0x8060_0000, mapping)
    try tables.verify("\(mapping)")
    let translation = try #require(try tables.translate(0x8040_0000))
    // Holds for every mapping.
    #expect(!translation.user.isSuperset(of: [.write, .execute]))
    #expect(!translation.privileged.isSuperset(of: [.write, .execute]))
    if !mapping.isUser { #expect(translation.user == []) }
    if mapping.isUser { #expect(!translation.privileged.contains(.execute)) }
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func completeBlocksNeedNoLeafTables(architecture: Architecture) throws {
    // Root and one middle table: sufficient for blocks only.
    let tables = Tables(architecture, pages: 2)
    try tables.map(0x8000_0000..<0x8800_0000, .init([.read, .write]))
    #expect(try tables.translate(0x87ff_f000)?.physical == 0x87ff_f000)
    #expect(throws: PageTableError.full) { try tables.table.map(0x8000_0000..<0x8000_1000, nil) }
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func aBlockIsSplitIfAPartOfItChanges(architecture: Architecture) throws {
    let tables = Tables(architecture, pages: 8)
    try tables.map(0x8000_0000..<0x8040_0000, .init([.read, .execute]))
    try tables.map(0x8000_3000..<0x8000_5000, .init([.read, .write]))
    try tables.map(0x803f_f000..<0x8040_0000, nil)
    try tables.verify("split")
    // The whole block again, now with a leaf table.
    try tables.map(0x8000_0000..<0x8020_0000, .init([.read]))
    try tables.verify("mapped again")
    try tables.map(0x8000_0000..<0x8040_0000, nil)
    try tables.verify("unmapped")
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func anEmptyAccessMapsNothing(architecture: Architecture) throws {
    let tables = Tables(architecture, pages: 8)
    try tables.map(0x8000_0000..<0x8040_1000, .init([]))
    try tables.verify("no access")
    try tables.map(0x8000_0000..<0x8040_0000, .init([.read]))
    try tables.map(0x8000_0000..<0x8020_0000, .init([], isUser: false))
    try tables.verify("access taken away")
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func theEndsOfTheAddressSpaceCanBeMapped(architecture: Architecture) throws {
    let tables = Tables(architecture, pages: 8)
    try tables.map(0..<4096, .init([.read]))
    try tables.map(PageTable.addressLimit - 4096..<PageTable.addressLimit, .init([.read]))
    #expect(try tables.translate(0)?.user == .read)
    #expect(try tables.translate(4096) == nil)
    #expect(try tables.translate(PageTable.addressLimit - 1)?.user == .read)
    #expect(try tables.translate(PageTable.addressLimit) == nil)
    #expect(try tables.translate(.max) == nil)
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func aFullArenaIsAnErrorAndKeepsWhatWasMapped(architecture: Architecture) throws {
    let tables = Tables(architecture, pages: 3)
    try tables.map(0x8000_0000..<0x8000_4000, .init([.read, .write]))
    #expect(throws: PageTableError.full) { try tables.table.map(0x9000_0000..<0x9000_1000, .init([.read])) }
    try tables.verify("after it was full")
  }

  /// A program in system mode can write its tables: the monitor still accesses no other memory.
  @Test(arguments: [Architecture.arm64, .riscv64])
  func anEntryChangedByTheGuestIsRejected(architecture: Architecture) throws {
    let tables = Tables(architecture, pages: 8)
    // The root, a middle table and a leaf table.
    try tables.map(0x8000_0000..<0x8000_4000, .init([.read]))
    let physical = tables.physical
    for address in [0, physical - 4096, physical, physical + 3 * 4096, physical + 8 * 4096, 0xffff_ffff_f000]
      as [UInt64]
    {
      tables.forge(2, tables.entry(to: address))
      #expect(throws: PageTableError.foreign) { try tables.table.map(0x8000_4000..<0x8000_5000, .init([.read])) }
    }
    tables.forge(2, tables.entry(to: physical + 4096))
    for address in [0, physical - 4096, physical + 3 * 4096] as [UInt64] {
      tables.forge(512, tables.entry(to: address))
      #expect(throws: PageTableError.foreign) { try tables.table.map(0x8000_4000..<0x8000_5000, nil) }
    }
    // A block with an invalid address is split like any other.
    for block in [.max & ~0b10, .max, 1 << 63] as [UInt64] {
      tables.forge(512, block)
      if architecture == .riscv64 || block & 0b11 != 0b11 {
        try tables.table.map(0x8000_4000..<0x8000_5000, .init([.read]))
      }
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64], 0..<12)
  func randomMappingsGiveTheExpectedTranslations(architecture: Architecture, seed: Int) throws {
    var random = SeededGenerator(seed: UInt64(seed))
    let tables = Tables(architecture, pages: 64)
    let bases: [UInt64] = [0, 0x3fe0_0000, 0x8000_0000, 0x1_0000_0000]
    for step in 0..<25 {
      let start = bases.randomElement(using: &random)! + .random(in: 0..<1536, using: &random) * 4096
      // One page, some pages, several blocks.
      let limit: UInt64 = [1, 64, 1024].randomElement(using: &random)!
      // Sometimes on block boundaries.
      let isWhole = Bool.random(using: &random)
      let pages = UInt64.random(in: 1...limit, using: &random)
      let end = start + pages * 4096
      let block = PageTable.blockSize
      let range = isWhole ? start / block * block..<(end + block - 1) / block * block : start..<end
      let mapping = Int.random(in: 0..<4, using: &random) == 0 ? nil : Self.mappings.randomElement(using: &random)!
      try tables.map(range, mapping)
      if step % 8 == 0 { try tables.verify("step \(step)") }
    }
    try tables.verify("at the end")
  }
}
