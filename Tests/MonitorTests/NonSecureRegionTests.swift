import AppletABI
import Applet
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Memory of programs in system mode, which can write their own page tables and turn their MMU off.
struct NonSecureRegionTests {
  private static let place: UInt64 = 0x1_0000_0000
  private static let page = UInt64(linux_page_size())
  private static let readOnly = LINUX_KVM_MEM_READONLY.rawValue

  private func shared(_ program: Program, pages: Int = 1) throws -> SharedMemory {
    try SharedMemory(count: pages * Int(Self.page), kernel: program.kernel)
  }

  /// The VM's slots, by address.
  private func slots(_ program: Program) -> [UInt64: ScriptedKernel.Slot] {
    Dictionary(uniqueKeysWithValues: program.kernel.cpus[0].machine.slots.values.map { ($0.address, $0) })
  }

  @Test(arguments: both) func pageTablesChangedByTheGuestAreSafe(architecture: Architecture) throws {
    let program = try Program(architecture)
    let context = program.context
    try context.addRegion(at: Self.place, try shared(program), access: [.read, .write])
    let register = program.kernel.cpus[0].register(
      architecture == .arm64 ? ARM64.ttbr0EL1 : RISCV64.satp)
    let root = architecture == .arm64 ? register : (register & (1 << 44 - 1)) << 12
    let entries = context.memory.bytes(at: root, count: 4096).bindMemory(to: UInt64.self)
    let before = Array(entries)
    for entry in [0x3, 0x1, 0x0000_ffff_ffff_f003, UInt64.max & ~0x3ff | 1, .max] as [UInt64] {
      for index in entries.indices { entries[index] = entry }
      // An entry that does not refer to a table is a block on this architecture, and is split.
      let isTable = entry & 0b11 == 0b11 && architecture == .arm64 || entry & 0b1111 == 1 && architecture == .riscv64
      guard isTable else { continue }
      let slotsBefore = slots(program)
      #expect(throws: RegionError.tablesChanged) {
        try context.addRegion(at: Self.place * 2, try shared(program), access: [.read])
      }
      #expect(throws: RegionError.tablesChanged) { try context.protect(Self.place..<Self.place + Self.page, [.read]) }
      #expect(throws: RegionError.tablesChanged) { try context.removeRegion(at: Self.place) }
      #expect(slots(program).mapValues { [$0.size, $0.host] } == slotsBefore.mapValues { [$0.size, $0.host] })
      #expect(context.memory.regions.contains { $0.range.lowerBound == Self.place && $0.access == [.read, .write] })
    }
    for (index, entry) in before.enumerated() { entries[index] = entry }
    try context.removeRegion(at: Self.place)
  }

  /// A program that can change its page tables is not restricted by them.
  @Test(arguments: both) func accessOfAProgramIsInItsMemorySlots(architecture: Architecture) throws {
    let program = try Program(architecture)
    let context = program.context
    let memory = try shared(program, pages: 3)
    let (second, end) = (Self.place + Self.page, Self.place + 3 * Self.page)
    try context.addRegion(at: Self.place, memory, access: [.read])
    #expect(slots(program)[Self.place]?.flags == Self.readOnly)
    try context.protect(second..<second + Self.page, [.read, .write])
    let parts = slots(program)
    #expect(parts.keys.filter { $0 >= Self.place }.sorted() == [Self.place, second, second + Self.page])
    #expect(parts[second]?.flags == 0 && parts[second + Self.page]?.flags == Self.readOnly)
    #expect(parts[second].map { $0.host - parts[Self.place]!.host } == Self.page)
    // Memory that it cannot access is not in a slot.
    try context.protect(Self.place..<end, [])
    #expect(slots(program).keys.allSatisfy { $0 < Self.place })
    try context.protect(Self.place..<end, [.read, .write])
    #expect(slots(program)[Self.place]?.size == 3 * Self.page && slots(program)[Self.place]?.flags == 0)
    try context.removeRegion(at: Self.place)
    // The same for its main memory.
    let heap = program.start(of: .heap) / Self.page * Self.page + Self.page
    try context.protect(heap..<heap + Self.page, [.read])
    #expect(slots(program)[heap]?.flags == Self.readOnly && slots(program)[heap]?.size == Self.page)
    #expect(slots(program).count == 3)
    try context.protect(heap..<heap + Self.page, [.read, .write])
    #expect(slots(program).count == 1)
  }

  @Test(arguments: both) func aStoreToReadOnlyMemoryIsAFault(architecture: Architecture) throws {
    let place = Self.place
    let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let program = try Program(
      architecture,
      [
        { guest in
          guest.cpu.setRegister(pc, 0x8000_0100)
          return guest.mmio(place + 8, isWrite: true, [1, 2, 3, 4])
        },
        { guest in
          #expect(guest.cpu.register(pc) == 0x8000_0100)
          return guest.systemCall(APPLET_CALL_EXIT_STATUS, 3)
        },
      ])
    try program.context.addRegion(at: place, try shared(program), access: [.read])
    guard case .failure(.fault(.write, _, address: place + 8)) = program.run() else {
      Issue.record("another end")
      return
    }
    #expect(program.context.pc == 0x8000_0100)
    // The program repeats it.
    try program.context.protect(place..<place + Self.page, [.read, .write])
    #expect(program.run() == .success(.exited(status: 3)))
  }
}
