import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Memory that is added, protected and removed between entries.
struct RegionTests {
  private static let place: UInt64 = 0x1_0000_0000
  private static let page = UInt64(linux_page_size())

  private func shared(_ fixture: Fixture, pages: Int = 1) throws -> SharedMemory {
    try SharedMemory(count: pages * Int(Self.page), kernel: fixture.kernel)
  }

  @Test(arguments: Host.all) func addedMemoryIsAccessibleUntilItIsRemoved(host: Host) throws {
    let place = Self.place
    let fixture = try Fixture(
      host,
      [
        {
          $0.store([1, 2, 3], at: place)
          return $0.call(APPLET_CALL_WRITE, place, 3)
        }, { $0.call(APPLET_CALL_GETRANDOM, place, 8) },
      ])
    let memory = try shared(fixture)
    try fixture.context.addRegion(at: place, memory, access: [.read])
    try fixture.context.schedule()
    #expect(Array(memory.bytes[..<3]) == [1, 2, 3])
    try secureHandler(fixture.context)
    // It can be read, but not written to by a call.
    guard case .failure(.badRange(call: 3, address: place, count: 8, .access)) = fixture.run() else {
      Issue.record("another end")
      return
    }
    try fixture.context.protect(place..<place + 4096, [.read, .write])
    fixture.kernel.program = { $0.call(APPLET_CALL_GETRANDOM, place, 8) }
    try fixture.context.schedule()
    try secureHandler(fixture.context)
    try fixture.context.removeRegion(at: place)
    guard case .failure(.badRange(call: 3, address: place, count: 8, .outside)) = fixture.run() else {
      Issue.record("another end")
      return
    }
    #expect(throws: RegionError.missing) { try fixture.context.removeRegion(at: place) }
  }

  @Test(arguments: Host.all) func contextsCanShareMemory(host: Host) throws {
    let first = try Fixture(host)
    let second = try Fixture.context(host, first.kernel)
    let memory = try shared(first)
    try first.context.addRegion(at: Self.place, memory, access: [.read, .write])
    try second.addRegion(at: Self.place * 2, memory, access: [.read])
    try first.context.poke(Self.place &- first.context.memory.layout.slot.lowerBound, [42])
    #expect(memory.bytes[0] == 42)
  }

  @Test(arguments: Host.all) func impossibleChangesHaveNoEffect(host: Host) throws {
    let fixture = try Fixture(host)
    let context = fixture.context
    let memory = try shared(fixture)
    let before = context.memory.regions.map(\.range)
    let own = context.memory.layout.slot.lowerBound
    for (address, access, error) in [
      (Self.place + 1, [.read], .misaligned), (Self.place, [.write, .execute], .writableAndExecutable),
      (own, [.read], .taken), (0, [.read], .taken), (UInt64.max - Self.page + 1, [.read], .taken),
    ] as [(UInt64, Access, RegionError)] {
      #expect(throws: error) { try context.addRegion(at: address, memory, access: access) }
    }
    #expect(throws: RegionError.missing) { try context.protect(Self.place..<Self.place + 4096, [.read]) }
    #expect(throws: RegionError.writableAndExecutable) {
      try context.protect(Fixture.text..<Fixture.text + 4096, [.read, .write, .execute])
    }
    #expect(context.memory.regions.map(\.range) == before)
  }

  @Test(arguments: Host.all) func shadowsGetCopiesOfWritableMemory(host: Host) throws {
    let fixture = try Fixture(host)
    let clone = try fixture.context.clone(on: try KVM.System(kernel: fixture.kernel))
    try fixture.context.setShadows([clone])
    let memory = try shared(fixture)
    memory.bytes[0] = 7
    try fixture.context.addRegion(at: Self.place, memory, access: [.read, .write])
    memory.bytes[0] = 8
    let place = Self.place
    fixture.kernel.program = { guest in
      // The copy has the contents at the time of cloning. Both pass the same byte; otherwise lockstep would end.
      guest.call(APPLET_CALL_EXIT_STATUS, guest.bytes(at: place, count: 1)[0] == 0 ? 1 : 0)
    }
    #expect(clone.memory.regions.contains { $0.range.lowerBound == Self.place })
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  /// Memory that is not writable is shared until it becomes writable: otherwise a copy would see writes of another.
  @Test(arguments: Host.all) func shadowsGetCopiesOfMemoryThatBecomesWritable(host: Host) throws {
    let place = Self.place
    for isCopied in [false, true] {
      let fixture = try Fixture(host)
      let memory = try shared(fixture)
      memory.bytes[0] = 7
      // Shared by a copy that is cloned later, or added to existing copies.
      if isCopied { try fixture.context.addRegion(at: place, memory, access: [.read]) }
      let system = try KVM.System(kernel: fixture.kernel)
      let clones = [try fixture.context.clone(on: system), try fixture.context.clone(on: system)]
      try fixture.context.setShadows(clones)
      if !isCopied { try fixture.context.addRegion(at: place, memory, access: [.read]) }
      memory.bytes[0] = 8
      #expect(clones.allSatisfy { $0.memory.bytes(at: place, count: 1)[0] == 8 })
      // If the change fails for one copy, none is changed.
      fixture.kernel.plan = FaultPlan(call: 1, errno: ENOMEM) { $0 == .ioctl(LINUX_KVM_SET_USER_MEMORY_REGION) }
      #expect(throws: RegionError.kvm(.failed(.setUserMemoryRegion, .noMemory))) {
        try fixture.context.protect(place..<place + Self.page, [.read, .write])
      }
      fixture.kernel.plan = nil
      memory.bytes[0] = 9
      #expect(clones.allSatisfy { $0.memory.bytes(at: place, count: 1)[0] == 9 })
      try fixture.context.protect(place..<place + Self.page, [.read, .write])
      fixture.kernel.program = { guest in
        let byte = guest.bytes(at: place, count: 1)
        byte[0] += 1
        return guest.call(APPLET_CALL_EXIT_STATUS, UInt64(byte[0]))
      }
      #expect(fixture.run() == .success(.exited(status: 10)))
      #expect(memory.bytes[0] == 10)
    }
  }
}
