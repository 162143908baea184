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

/// Clones and lockstep, by scripted guests: each test runs its copies after one another and at the same time.
struct LockstepTests {
  private struct Mode: CustomTestStringConvertible, Sendable {
    let host: Host
    let isParallel: Bool
    var testDescription: String { host.testDescription + (isParallel ? ", in parallel" : "") }
    static let all = Host.all.flatMap { [Mode(host: $0, isParallel: false), Mode(host: $0, isParallel: true)] }
  }

  /// A context with shadows, whose copies do what the script says: it is asked with the copy's number, the primary's being 0.
  private func copies(_ mode: Mode, shadows: Int, _ script: @escaping (Int, Guest) -> Int) throws -> Fixture {
    let fixture = try Fixture(mode.host)
    // Copies that are not found to differ go on as if nothing were: not for ever.
    fixture.kernel.mostEntries = 1000
    let system: KVM.System = try KVM.System(kernel: fixture.kernel)
    let first = try #require(fixture.kernel.processors.last).number
    var clones: [ExecCtx] = []
    for _ in 0..<shadows { clones.append(try fixture.context.clone(on: system)) }
    try fixture.context.setShadows(clones, parallel: mode.isParallel)
    fixture.kernel.program = { script($0.processor.number - first, $0) }
    return fixture
  }

  /// Register 5 of the trap frame, as people call it.
  private func name(_ host: Host) -> String { host.architecture == .arm64 ? "x5" : "t0" }

  @Test(arguments: Host.all) func aCloneIsEqualAndGoesItsOwnWay(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(0x500, 1, 2) }])
    let context = fixture.context
    try context.schedule()
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, [1, 2, 3])
    let clone = try context.clone(on: try KVM.System(kernel: fixture.kernel))
    #expect(ExecCtx.equal(context, clone))
    #expect((clone.a0, clone.a1, clone.a2) == (0x500, 1, 2))
    #expect(Array(clone.memory.bytes(at: Fixture.variables, count: 3)) == [1, 2, 3])
    // Its memory and its registers are its own.
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, [9])
    #expect(clone.memory.bytes(at: Fixture.variables, count: 1)[0] == 1)
    context.ret(7 as UInt64)
    #expect(clone.a0 == 0x500)
    #expect(!ExecCtx.equal(context, clone))
  }

  @Test(arguments: Mode.all, [1, 2, 3]) private func copiesAreGivenTheSame(mode: Mode, shadows: Int) throws {
    let fixture = try copies(mode, shadows: shadows) { _, guest in
      switch guest.entry {
      case 0: guest.call(APPLET_CALL_GETRANDOM, Fixture.variables, 32)
      case 1: guest.call(APPLET_CALL_PUT_CHARACTER, 0x61)
      default: guest.call(APPLET_CALL_EXIT, 7)
      }
    }
    #expect(fixture.run() == .success(.exited(status: 7)))
    let random = fixture.bytes(at: Fixture.variables, count: 32)
    #expect(random != [UInt8](repeating: 0, count: 32))
    for shadow in fixture.context.shadows {
      #expect(Array(shadow.memory.bytes(at: Fixture.variables, count: 32)) == random)
    }
    // What is written is written once.
    #expect(fixture.output.pieces() == ["a"])
    #expect(fixture.context.lockstepReport.calls == 3)
    #expect(fixture.context.lockstepReport.repairs == [UInt64](repeating: 0, count: shadows + 1))
  }

  @Test(arguments: Mode.all) private func aRegisterThatDiffersEndsTheRun(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      if guest.entry == 1 { guest.frame[5] = copy == 1 ? 9 : 8 }
      return guest.call(guest.entry == 0 ? APPLET_CALL_YIELD : APPLET_CALL_PUT_CHARACTER, 0x61)
    }
    #expect(
      fixture.run() == .failure(.lockstep(.register(name(mode.host), copy: 1, value: 9, primary: 8))))
    #expect(fixture.output.pieces() == [])
  }

  @Test(arguments: Mode.all) private func aByteThatDiffersEndsTheRun(mode: Mode) throws {
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

  @Test(arguments: Mode.all) private func anExceptionOfOneCopyAloneEndsTheRun(mode: Mode) throws {
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
      // Repaired, it agrees from then on.
      if guest.entry == 2, guest.frame[5] != 8 { return guest.call(APPLET_CALL_EXIT, 99) }
      return guest.entry < 2 ? guest.call(APPLET_CALL_YIELD) : guest.call(APPLET_CALL_EXIT, 3)
    }
    #expect(fixture.run() == .success(.exited(status: 3)))
    var repairs: [UInt64] = [0, 0, 0]
    repairs[faulty] = 1
    #expect(fixture.context.lockstepReport.repairs == repairs)
  }

  @Test(arguments: Mode.all) private func threeOpinionsHaveNoMajority(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 2) { copy, guest in
      guest.frame[5] = UInt64(copy)
      return guest.call(APPLET_CALL_YIELD)
    }
    guard case .failure(.lockstep(.register(name(mode.host), _, _, primary: 0))) = fixture.run() else {
      Issue.record("another end")
      return
    }
  }

  @Test(arguments: Mode.all) private func anAnswerReachesAllCopies(mode: Mode) throws {
    let fixture = try copies(mode, shadows: 1) { _, guest in
      guest.entry == 0 ? guest.call(0x500) : guest.call(APPLET_CALL_EXIT, guest.result)
    }
    fixture.context.handler = { (context) throws(ExecError) in
      if context.a0 == 0x500 { context.ret(5 as UInt64) } else { try secureHandler(context) }
    }
    #expect(fixture.run() == .success(.exited(status: 5)))
  }

  /// Two pieces that touch in the guest lie anywhere in this process.
  @Test(arguments: Mode.all) private func aBufferAcrossTwoPiecesIsRefused(mode: Mode) throws {
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
    let first = try #require(fixture.kernel.processors.last).number
    fixture.kernel.processors[first].setRegister(ARM64.tpidrEL0, 0x1234)
    let system: KVM.System = try KVM.System(kernel: fixture.kernel)
    try fixture.context.setShadows([try fixture.context.clone(on: system), try fixture.context.clone(on: system)])
    #expect(fixture.kernel.processors.allSatisfy { $0.register(ARM64.tpidrEL0) == 0x1234 })
    fixture.kernel.program = { guest in
      guest.processor.setRegister(ARM64.tpidrEL0, guest.processor.number == first + 1 ? 9 : 0x5678)
      if guest.entry == 0, guest.processor.number == first + 1 { guest.frame[5] = 1 }
      return guest.call(guest.entry == 0 ? APPLET_CALL_YIELD : APPLET_CALL_EXIT, 0)
    }
    let seen = Notes<UInt64>()
    fixture.context.handler = { (context) throws(ExecError) in
      seen(fixture.kernel.processors[first + 1].register(ARM64.tpidrEL0))
      try secureHandler(context)
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list.first == 0x5678)
    fixture.context.handler = nil
  }

  /// Whoever is asked about a limit finds every copy out of its guest, and what is changed then holds.
  @Test(arguments: Mode.all) private func copiesAreOutOfTheirGuestsWhenALimitPasses(mode: Mode) throws {
    let inside = Inside()
    let results = Notes<UInt64>()
    let fixture = try copies(mode, shadows: 1) { copy, guest in
      guard guest.entry > 0 else {
        inside.count.add(1, ordering: .sequentiallyConsistent)
        defer { inside.count.subtract(1, ordering: .sequentiallyConsistent) }
        return guest.spin(pc: 0x8000_0048)
      }
      if copy == 0 { results(guest.frame[5]) }
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    context.deadline = Clock.monotonic + 20_000_000
    context.limitHandler = { (context, _) in
      results(UInt64(inside.count.load(ordering: .sequentiallyConsistent)))
      results(context.pc)
      context.setRegister(5, 0x77)
      return 5_000_000_000
    }
    let ending = fixture.run()
    #expect(results.list == [0, 0x8000_0048, 0x77])
    // One after the other, the shadow has not been interrupted, and in this kernel a guest amid its code has other registers.
    if mode.isParallel { #expect(ending == .success(.exited(status: 0))) }
  }

  private final class Inside: Sendable { let count = Atomic<Int>(0) }
}
