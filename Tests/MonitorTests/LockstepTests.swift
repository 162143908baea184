import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import Synchronization
import TestSupport
import Testing

/// Clones and lockstep with scripted guests. Each test runs its copies sequentially and in parallel.
struct LockstepTests {
  private struct Mode: CustomTestStringConvertible, Sendable {
    let host: Host
    let isParallel: Bool
    var testDescription: String { host.testDescription + (isParallel ? ", in parallel" : "") }
    static let all = Host.all.flatMap { [Mode(host: $0, isParallel: false), Mode(host: $0, isParallel: true)] }
  }

  /// A context with shadows whose copies execute a script, which gets the number of the copy; 0 is the primary.
  private func copies(_ mode: Mode, shadows: Int, _ script: @escaping (Int, Guest) -> Int) throws -> Fixture {
    let fixture = try Fixture(mode.host)
    // Copies whose difference is not detected would continue forever.
    fixture.kernel.mostEntries = 1000
    let system: KVM.System = try KVM.System(kernel: fixture.kernel)
    let first = try #require(fixture.kernel.cpus.last).number
    var clones: [ExecCtx] = []
    for _ in 0..<shadows { clones.append(try fixture.context.clone(on: system)) }
    try fixture.context.setShadows(clones, parallel: mode.isParallel)
    fixture.kernel.program = { script($0.cpu.number - first, $0) }
    return fixture
  }

  /// Register 5 of the trap frame, by name.
  private func name(_ host: Host) -> String { host.architecture == .arm64 ? "x5" : "t0" }

  @Test(arguments: Host.all) func aCloneIsEqualAndIndependent(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(0x500, 1, 2) }])
    let context = fixture.context
    try context.schedule()
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, [1, 2, 3])
    let clone = try context.clone(on: try KVM.System(kernel: fixture.kernel))
    #expect(ExecCtx.equal(context, clone))
    #expect((clone.a0, clone.a1, clone.a2) == (0x500, 1, 2))
    #expect(Array(clone.memory.bytes(at: Fixture.variables, count: 3)) == [1, 2, 3])
    // It has memory and registers of its own.
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, [9])
    #expect(clone.memory.bytes(at: Fixture.variables, count: 1)[0] == 1)
    context.ret(7 as UInt64)
    #expect(clone.a0 == 0x500)
    #expect(!ExecCtx.equal(context, clone))
  }

  @Test(arguments: Mode.all, [1, 2, 3]) private func copiesGetTheSameValues(mode: Mode, shadows: Int) throws {
    let fixture = try copies(mode, shadows: shadows) { _, guest in
      switch guest.entry {
      case 0: guest.call(APPLET_CALL_GETRANDOM, Fixture.variables, 32)
      case 1: guest.call(APPLET_CALL_PUT_CHARACTER, 0x61)
      default: guest.call(APPLET_CALL_EXIT_STATUS, 7)
      }
    }
    #expect(fixture.run() == .success(.exited(status: 7)))
    let random = fixture.bytes(at: Fixture.variables, count: 32)
    #expect(random != [UInt8](repeating: 0, count: 32))
    for shadow in fixture.context.shadows {
      #expect(Array(shadow.memory.bytes(at: Fixture.variables, count: 32)) == random)
    }
    // Output is written once.
    #expect(fixture.output.pieces() == ["a"])
    #expect(fixture.context.lockstepReport.calls == 3)
    #expect(fixture.context.lockstepReport.repairs == [UInt64](repeating: 0, count: shadows + 1))
  }

  @Test(arguments: Mode.all) private func aDifferentRegisterEndsTheRun(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      if guest.entry == 1 { guest.frame[5] = copy == 1 ? 9 : 8 }
      return guest.call(guest.entry == 0 ? APPLET_CALL_YIELD : APPLET_CALL_PUT_CHARACTER, 0x61)
    }
    #expect(
      fixture.run() == .failure(.lockstep(.register(name(mode.host), copy: 1, value: 9, primary: 8))))
    #expect(fixture.output.pieces() == [])
  }

  @Test(arguments: Mode.all) private func aDifferentInputByteEndsTheRun(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      guest.store("abc".utf8, at: Fixture.variables)
      if copy == 1 { guest.store("x".utf8, at: Fixture.variables + 2) }
      return guest.call(APPLET_CALL_WRITE, Fixture.variables, 3)
    }
    #expect(
      fixture.run()
        == .failure(.lockstep(.input(address: Fixture.variables + 2, copy: 1, value: 0x78, primary: 0x63))))
    #expect(fixture.output.pieces() == [])
  }

  @Test(arguments: Mode.all) private func anExceptionOfOneCopyEndsTheRun(mode: Mode) throws {
    let cause: UInt64 = mode.host.architecture == .arm64 ? 0x9200_0047 : 15
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      copy == 1
        ? guest.trap(cause: cause, address: 0x10, pc: Fixture.text) : guest.call(APPLET_CALL_PUT_CHARACTER, 0x61)
    }
    guard case .failure(.lockstep(.event(copy: 1, .fault, primary: .call))) = fixture.run() else {
      Issue.record("another end")
      return
    }
  }

  @Test(arguments: Mode.all, [0, 1, 2]) private func theMajorityRepairsAFaultyCopy(mode: Mode, faulty: Int) throws {
    let fixture = try copies(mode, shadows: 2) { copy, guest in
      if guest.entry == 1 { guest.frame[5] = copy == faulty ? 9 : 8 }
      // After the repair it agrees.
      if guest.entry == 2, guest.frame[5] != 8 { return guest.call(APPLET_CALL_EXIT_STATUS, 99) }
      return guest.entry < 2 ? guest.call(APPLET_CALL_YIELD) : guest.call(APPLET_CALL_EXIT_STATUS, 3)
    }
    #expect(fixture.run() == .success(.exited(status: 3)))
    var repairs: [UInt64] = [0, 0, 0]
    repairs[faulty] = 1
    #expect(fixture.context.lockstepReport.repairs == repairs)
  }

  /// As GoTEE's example injects faults.
  @Test(arguments: Mode.all) private func aShadowsHandlerIsCalledAfterEachOfItsEntries(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 2) { _, guest in
      guest.call(guest.entry < 3 ? APPLET_CALL_YIELD : APPLET_CALL_EXIT_STATUS, 3)
    }
    let calls = Notes<UInt64>()
    let (context, shadow) = (fixture.context, fixture.context.shadows[1])
    shadow.handler = { primary throws(ExecError) in
      calls(primary === context ? primary.a0 : 0)
      // What it changes is found to differ.
      if calls.list.count == 2 { try shadow.setRegister(5, 99) }
    }
    #expect(fixture.run() == .success(.exited(status: 3)))
    let numbers = [APPLET_CALL_YIELD, APPLET_CALL_YIELD, APPLET_CALL_YIELD, APPLET_CALL_EXIT_STATUS]
    #expect(calls.list == numbers.map { UInt64($0) })
    #expect(context.lockstepReport.repairs == [0, 0, 1])
  }

  @Test(arguments: Mode.all) private func whatAShadowsHandlerThrowsEndsTheRun(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { _, guest in guest.call(APPLET_CALL_YIELD) }
    fixture.context.shadows[0].handler = { _ throws(ExecError) in throw .unknownCall(number: 7) }
    #expect(fixture.run() == .failure(.unknownCall(number: 7)))
  }

  @Test(arguments: Mode.all) private func threeDifferentCopiesHaveNoMajority(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 2) { copy, guest in
      guest.frame[5] = UInt64(copy)
      return guest.call(APPLET_CALL_YIELD)
    }
    guard case .failure(.lockstep(.register(name(mode.host), _, _, primary: 0))) = fixture.run() else {
      Issue.record("another end")
      return
    }
  }

  @Test(arguments: Mode.all) private func aResultReachesAllCopies(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { _, guest in
      guest.entry == 0 ? guest.call(0x500) : guest.call(APPLET_CALL_EXIT_STATUS, guest.result)
    }
    fixture.context.handler = { (context) throws(ExecError) in
      if context.a0 == 0x500 { context.ret(5 as UInt64) } else { try secureHandler(context) }
    }
    #expect(fixture.run() == .success(.exited(status: 5)))
  }

  /// Two regions that are adjacent in the guest need not be in this process.
  @Test(arguments: Mode.all) private func aBufferAcrossTwoMappingsIsRejected(mode: Mode) throws {
    let place: UInt64 = 0x1_0000_0000
    let page = UInt64(linux_page_size())
    let fixture = try copies(mode, shadows: 2) { _, guest in guest.call(APPLET_CALL_WRITE, place + page - 4, page) }
    for number in 0..<2 as Range<UInt64> {
      let memory = try SharedMemory(count: Int(page), kernel: fixture.kernel)
      try fixture.context.addRegion(at: place + number * page, memory, access: [.read, .write])
    }
    #expect(
      fixture.run()
        == .failure(.badRange(call: UInt64(APPLET_CALL_WRITE), address: place + page - 4, count: page, .outside)))
  }

  /// TPIDR_EL0 is not in the trap frame.
  @Test func theThreadPointerIsCopiedAndRepaired() throws {
    let mode = Mode.all[0]
    let fixture = try Fixture(mode.host)
    let first = try #require(fixture.kernel.cpus.last).number
    fixture.kernel.cpus[first].setRegister(ARM64.tpidrEL0, 0x1234)
    let system: KVM.System = try KVM.System(kernel: fixture.kernel)
    try fixture.context.setShadows([try fixture.context.clone(on: system), try fixture.context.clone(on: system)])
    #expect(fixture.kernel.cpus.allSatisfy { $0.register(ARM64.tpidrEL0) == 0x1234 })
    fixture.kernel.program = { guest in
      guest.cpu.setRegister(ARM64.tpidrEL0, guest.cpu.number == first + 1 ? 9 : 0x5678)
      if guest.entry == 0, guest.cpu.number == first + 1 { guest.frame[5] = 1 }
      return guest.call(guest.entry == 0 ? APPLET_CALL_YIELD : APPLET_CALL_EXIT, 0)
    }
    let seen = Notes<UInt64>()
    fixture.context.handler = { (context) throws(ExecError) in
      seen(fixture.kernel.cpus[first + 1].register(ARM64.tpidrEL0))
      try secureHandler(context)
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list.first == 0x5678)
    fixture.context.handler = nil
  }

  /// When a limit handler is called, every copy is out of the guest, and changes by the handler take effect.
  @Test(arguments: Mode.all) private func copiesAreOutOfTheGuestInALimitHandler(mode: Mode) throws {
    let state = SpinState()
    let results = Notes<UInt64>()
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      // The timer of lockstep interrupts a guest, too: it spins until the limit has passed.
      guard state.hasPassed.load(ordering: .sequentiallyConsistent) else {
        state.inside.add(1, ordering: .sequentiallyConsistent)
        defer { state.inside.subtract(1, ordering: .sequentiallyConsistent) }
        return guest.spin(pc: 0x8000_0048)
      }
      if copy == 0 { results(guest.frame[5]) }
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    context.deadline = Fixture.deadlineAfterEntry
    context.limitHandler = { (context, _) in
      results(UInt64(state.inside.load(ordering: .sequentiallyConsistent)))
      state.hasPassed.store(true, ordering: .sequentiallyConsistent)
      results(context.pc)
      try? context.setRegister(5, 0x77)
      return 5_000_000_000
    }
    let ending = fixture.run()
    #expect(results.list == [0, 0x8000_0048, 0x77])
    // When run sequentially, the shadow has not been interrupted; in this kernel a guest in its own code has other
    // registers.
    if mode.isParallel { #expect(ending == .success(.exited(status: 0))) }
  }

  private final class SpinState: Sendable {
    /// How many copies are in their guests.
    let inside = Atomic<Int>(0)
    let hasPassed = Atomic<Bool>(false)
  }
}
