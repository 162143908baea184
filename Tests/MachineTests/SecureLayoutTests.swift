import Machine
import Testing

struct SecureLayoutTests {
  private static let pages: [UInt64] = [4096, 16384, 65536]

  @Test(arguments: pages, [128 << 10, 1 << 20, 16 << 20, 1 << 30, 64 << 30] as [UInt64])
  func rangesOfTheLayoutDoNotOverlap(hostPage: UInt64, size: UInt64) throws {
    for image in [0x1000..<0x1001, 0x8000_0000..<0x8000_1234, 0x8020_3456..<0x8020_5000] as [Range<UInt64>] {
      let layout = try SecureLayout(image: image, size: size, hostPage: hostPage, addressLimit: 1 << 40)
      // The slot is valid for KVM: whole pages of the host.
      #expect(layout.slot.lowerBound % hostPage == 0)
      #expect(layout.slot.upperBound % hostPage == 0)
      #expect(layout.doorbell % hostPage == 0)
      // In this order, without gaps except the guard page.
      #expect(layout.slot.lowerBound <= layout.image.lowerBound)
      #expect(layout.image.lowerBound <= image.lowerBound && image.upperBound <= layout.image.upperBound)
      #expect(layout.image.upperBound == layout.deviceTree.lowerBound)
      #expect((4096..<4096 + 65536).contains(layout.stack.lowerBound - layout.deviceTree.upperBound))
      #expect(layout.shim == layout.stack.upperBound)
      #expect(layout.frame == layout.shim + 4096)
      #expect(layout.tables.lowerBound == layout.frame + 4096)
      #expect(layout.heap.lowerBound == layout.tables.upperBound)
      #expect(layout.slot.upperBound == layout.heap.upperBound)
      #expect(layout.doorbell == layout.slot.upperBound)
      for address in [layout.image.lowerBound, layout.heap.lowerBound, layout.stack.lowerBound, layout.shim] {
        #expect(address % 4096 == 0)
      }
      // The applet gets the requested memory: image, tree, a guard page, stack and heap, and less than a page of the
      // host more.
      let fixed = layout.deviceTree.upperBound - layout.slot.lowerBound + 4096
      #expect((size..<size + hostPage).contains(fixed + UInt64(layout.stack.count + layout.heap.count)))
      #expect(layout.stack.count >= min(size / 4, 256 << 10))
    }
  }

  @Test(arguments: pages, [128 << 10, 1 << 20, 16 << 20, 1 << 30, 64 << 30] as [UInt64])
  func aContiguousLayoutIsOnePieceUpToTheStack(hostPage: UInt64, size: UInt64) throws {
    for image in [0x1000..<0x1001, 0x8000_0000..<0x8000_1234, 0x9801_0000..<0x9801_4567] as [Range<UInt64>] {
      let layout = try SecureLayout(
        image: image, size: size, hostPage: hostPage, addressLimit: 1 << 40, kind: .contiguous)
      #expect(layout.slot.lowerBound % hostPage == 0 && layout.slot.upperBound % hostPage == 0)
      #expect(layout.image.upperBound == layout.heap.lowerBound)
      #expect(layout.heap.upperBound == layout.stack.lowerBound)
      // The stack ends where the applet's memory does, as GoTEE's has it.
      #expect(layout.stack.upperBound == layout.slot.lowerBound + size)
      #expect(layout.stackPointer == layout.stack.upperBound - 64)
      #expect(layout.memory == [layout.image.lowerBound..<layout.stack.upperBound])
      // A guard page, then the monitor's pages.
      #expect(layout.deviceTree.lowerBound == layout.stack.upperBound + 4096)
      #expect(layout.shim == layout.deviceTree.upperBound && layout.frame == layout.shim + 4096)
      #expect(layout.tables == layout.frame + 4096..<layout.slot.upperBound)
    }
  }

  @Test func aContiguousLayoutThatDoesNotFitIsRefused() throws {
    func layout(_ image: Range<UInt64>, _ size: UInt64) throws(SecureLayoutError) -> SecureLayout {
      try SecureLayout(image: image, size: size, hostPage: 4096, addressLimit: 1 << 36, kind: .contiguous)
    }
    let image = 0x9801_0000..<0x9821_0001 as Range<UInt64>
    #expect(throws: SecureLayoutError.needsMemory(0x26_0000)) { try layout(image, 0x25_0000) }
    #expect(try layout(image, 0x26_0000).heap.count == 0xf000)
    let last = 1 << 36 - 0x100_0000..<1 << 36 - 0xff_0000 as Range<UInt64>
    #expect(throws: SecureLayoutError.beyondAddressSpace(limit: 1 << 36)) { try layout(last, 16 << 20) }
    #expect(try layout(last, 15 << 20).doorbell + 4096 <= 1 << 36)
    for size in [0, 1, 1 << 62, .max] as [UInt64] {
      #expect(throws: SecureLayoutError.self) { try layout(image, size) }
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64], pages)
  func theTablesFitEveryPage(architecture: Architecture, hostPage: UInt64) throws {
    for (size, kind) in [
      (128 << 10, .compact), (4 << 20, .compact), (40 << 20, .compact), (128 << 10, .contiguous),
      (4 << 20, .contiguous), (40 << 20, .contiguous), (1 << 30, .contiguous),
    ] as [(UInt64, SecureLayout.Kind)] {
      let layout = try SecureLayout(
        image: 0xbfe0_0000..<0xbfe0_1000, size: size, hostPage: hostPage, addressLimit: 1 << 40, kind: kind)
      let arena = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.tables.count, alignment: 4096)
      defer { arena.deallocate() }
      arena.initializeMemory(as: UInt8.self, repeating: 0)
      var tables = PageTable(architecture: architecture, arena: arena, physical: layout.tables.lowerBound)
      for page in stride(from: layout.slot.lowerBound, through: layout.doorbell, by: 4096)
      where !layout.tables.contains(page) {
        try tables.map(page..<page + 4096, .init([.read]))
      }
      // Plus eight regions elsewhere, each with two tables of its own.
      for index in 0..<8 as Range<UInt64> {
        let start = 0x10_0000_0000 + index << 30
        try tables.map(start..<start + 4096, .init([.read]))
      }
    }
  }

  @Test(arguments: pages)
  func aSmallAppletFitsInOneBlock(hostPage: UInt64) throws {
    let layout = try SecureLayout(
      image: 0x8000_0000..<0x8000_9000, size: SecureLayout.defaultMemory, hostPage: hostPage, addressLimit: 1 << 38)
    // Image, stack, shim, frame and the three tables that are needed.
    #expect(layout.tables.lowerBound + 3 * 4096 <= 0x8020_0000)
    #expect(layout.shim == 0x8005_0000)
  }

  @Test func anImageInPageZeroIsRejected() {
    #expect(throws: SecureLayoutError.zeroPage) {
      try SecureLayout(image: 0..<0x2000, size: 16 << 20, hostPage: 4096, addressLimit: 1 << 40)
    }
    #expect(throws: SecureLayoutError.zeroPage) {
      try SecureLayout(image: 0xfff..<0x2000, size: 16 << 20, hostPage: 4096, addressLimit: 1 << 40)
    }
  }

  @Test func anImageThatDoesNotFitReportsItsNeeds() throws {
    for kibibytes in stride(from: 4, to: 3000, by: 20) as StrideTo<UInt64> {
      for start in [0x8000_0000, 0x8000_5000, 0x801f_f000] as [UInt64] {
        let image = start..<start + kibibytes << 10
        for size in [128 << 10, 400 << 10, 1 << 20] as [UInt64] {
          var least: UInt64 = 0
          do {
            _ = try SecureLayout(image: image, size: size, hostPage: 4096, addressLimit: 1 << 40)
            continue
          } catch {
            guard case .needsMemory(let needed) = error else { throw error }
            least = needed
          }
          // This much is sufficient, and less is not.
          #expect(least > size)
          _ = try SecureLayout(image: image, size: least, hostPage: 4096, addressLimit: 1 << 40)
          #expect(throws: SecureLayoutError.needsMemory(least)) {
            try SecureLayout(image: image, size: least - 65536, hostPage: 4096, addressLimit: 1 << 40)
          }
        }
      }
    }
  }

  @Test(arguments: pages)
  func memoryBeyondTheAddressSpaceIsRejected(hostPage: UInt64) throws {
    let problem = SecureLayoutError.beyondAddressSpace(limit: 1 << 36)
    for image in [
      1 << 36..<1 << 36 + 1, 1 << 36 - 4096..<1 << 36, .max - 8191 ..< .max, 0x8000_0000 ..< .max,
    ] as [Range<UInt64>] {
      #expect(throws: problem) {
        try SecureLayout(image: image, size: 16 << 20, hostPage: hostPage, addressLimit: 1 << 36)
      }
    }
    // Sv39's lower half ends at 2^38, whatever the host supports.
    #expect(throws: SecureLayoutError.beyondAddressSpace(limit: 1 << 38)) {
      try SecureLayout(image: 1 << 38..<1 << 38 + 1, size: 16 << 20, hostPage: hostPage, addressLimit: 1 << 48)
    }
    // The highest address that fits has its doorbell below the limit.
    var start: UInt64 = 1 << 36 - 0x200_0000
    func layout() throws(SecureLayoutError) -> SecureLayout {
      try SecureLayout(image: start..<start + 1, size: 2 << 20, hostPage: hostPage, addressLimit: 1 << 36)
    }
    while let fitting = try? layout() {
      #expect(fitting.doorbell + hostPage <= 1 << 36)
      start += 0x20_0000
    }
    #expect(start == 1 << 36 - 0x20_0000)
    #expect(throws: problem) { try layout() }
  }

  @Test func aHostsPageIsOneThatThereIs() {
    for hostPage in [0, 1, 4095, 4097, 8192, 1 << 17, 1 << 63, .max] as [UInt64] {
      #expect(throws: SecureLayoutError.hostPage(hostPage)) {
        try SecureLayout(image: 0x1000..<0x2000, size: 1 << 20, hostPage: hostPage, addressLimit: 1 << 40)
      }
    }
  }

  @Test func sizesOfAnyKindNeverTrap() {
    for size in [0, 1, 4095, 65535, 1 << 62, .max - 1, .max] as [UInt64] {
      for image in [0x1000..<0x2000, 1 << 38 - 8192..<1 << 38 - 4096] as [Range<UInt64>] {
        #expect(throws: SecureLayoutError.self) {
          try SecureLayout(image: image, size: size, hostPage: 4096, addressLimit: 1 << 40)
        }
      }
    }
  }
}
