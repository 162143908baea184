import Applet
import AppletABI
import KVM
import Machine
import Monitor
import TestSupport
import Testing

/// Loads and stores outside an applet's memory, which a handler answers or refuses.
struct MMIOAccessTests {
  private static let device: UInt64 = 0x1000_0000

  /// An instruction of each architecture, with the same effect: a load of a word, sign-extended, into register 10 from the address in
  /// register 11; or a store of register 10's low word there.
  private static func instruction(_ architecture: Architecture, isStore: Bool) -> UInt32 {
    switch (architecture, isStore) {
    case (.aarch32, _): 0
    case (.arm64, false): 0xb980_016a  // ldrsw x10, [x11]
    case (.arm64, true): 0xb900_016a  // str w10, [x11]
    case (.riscv64, false): 0x0005_a503  // lw a0, (a1)
    case (.riscv64, true): 0x00a5_a023  // sw a0, (a1)
    }
  }

  /// The applet executes it, with the device's address or another one.
  private static func access(_ guest: Guest, isStore: Bool, at address: UInt64 = device) -> Int {
    let isARM = guest.architecture == .arm64
    let instruction = instruction(guest.architecture, isStore: isStore)
    guest.store((0..<4).map { UInt8(truncatingIfNeeded: instruction >> (8 * $0)) }, at: 0x8000_0044)
    guest.frame[10] = 0xabcd_0000_1234_5678
    guest.frame[11] = address
    let cause: UInt64 = isARM ? (isStore ? 0x9200_0044 : 0x9200_0004) : isStore ? 15 : 13
    return guest.trap(cause: cause, address: address, pc: 0x8000_0044)
  }

  private func clones(_ count: Int, of fixture: Fixture) throws {
    let system = try KVM.System(kernel: fixture.kernel)
    var clones: [ExecCtx] = []
    for _ in 0..<count { clones.append(try fixture.context.clone(on: system)) }
    try fixture.context.setShadows(clones)
  }

  @Test(arguments: Host.all, [0, 2]) func aHandlerAnswersOnceForAllCopies(host: Host, shadows: Int) throws {
    let (seen, found) = (Notes<MMIOAccess>(), Notes<[UInt64]>())
    let steps: [(Guest) -> Int] = [
      { Self.access($0, isStore: false) },
      {
        found([$0.frame[10], $0.pc])
        return Self.access($0, isStore: true)
      },
      {
        found([$0.frame[10], $0.pc])
        return $0.call(APPLET_CALL_EXIT, 0)
      },
    ]
    let fixture = try Fixture(host, steps)
    try clones(shadows, of: fixture)
    fixture.context.accessHandler = { (_, access) throws(ExecError) in
      seen(access)
      return 0xffff_ffff_8765_4321
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(
      seen.list == [
        MMIOAccess(address: Self.device, width: 4, operation: .load),
        MMIOAccess(address: Self.device, width: 4, operation: .store(0x1234_5678)),
      ])
    let copy: [[UInt64]] = [
      [0xffff_ffff_8765_4321, 0x8000_0048], [0xabcd_0000_1234_5678, 0x8000_0048],
    ]
    #expect(found.list.sorted { $0[0] > $1[0] } == copy.flatMap { Array(repeating: $0, count: shadows + 1) })
  }

  /// What the handler refuses stays a fault, as does everything without one, an instruction that is no load or store, and an access
  /// to memory that the applet has, but may not use so.
  @Test(arguments: Host.all) func allElseIsAFault(host: Host) throws {
    let asked = Notes<UInt64>()
    func ending(_ handler: ExecCtx.AccessHandler?, _ step: @escaping (Guest) -> Int) throws -> Result<
      Outcome, ExecError
    > {
      let fixture = try Fixture(host, [step])
      fixture.context.accessHandler = handler
      let result = fixture.run()
      if case .failure(.fault) = result { #expect(fixture.context.faultAddress != nil) }
      return result
    }
    let fault = Result<Outcome, ExecError>.failure(.fault(.read, pc: 0x8000_0044, address: Self.device))
    let refuse: ExecCtx.AccessHandler = { (_, access) throws(ExecError) in
      asked(access.address)
      return nil
    }
    let answer: ExecCtx.AccessHandler = { (_, access) throws(ExecError) in
      asked(access.address)
      return 0
    }
    #expect(try ending(nil) { Self.access($0, isStore: false) } == fault)
    #expect(try ending(refuse) { Self.access($0, isStore: false) } == fault)
    #expect(asked.list == [Self.device])
    let text = Result<Outcome, ExecError>.failure(.fault(.write, pc: 0x8000_0044, address: Fixture.constants))
    #expect(try ending(answer) { Self.access($0, isStore: true, at: Fixture.constants) } == text)
    #expect(
      try ending(answer) {
        $0.store([0, 0, 0, 0], at: 0x8000_0044)
        return $0.trap(
          cause: host.architecture == .arm64 ? 0x9200_0004 : 13, address: Self.device, pc: 0x8000_0044)
      } == fault)
    #expect(asked.list == [Self.device])
    let failure: ExecCtx.AccessHandler = { (_, _) throws(ExecError) in throw .stopped }
    #expect(try ending(failure) { Self.access($0, isStore: true) } == .success(.stopped))
  }

  @Test(arguments: Host.all) func execAndScheduleAskToo(host: Host) throws {
    let fixture = try Fixture(
      host,
      [
        { Self.access($0, isStore: false) }, { $0.call(0x500) }, { Self.access($0, isStore: true) }, { $0.call(0x501) },
        { Self.access($0, isStore: false) }, { $0.call(0x502) }, { Self.access($0, isStore: false) },
      ])
    fixture.context.accessHandler = { (_, _) throws(ExecError) in 7 }
    #expect(try fixture.context.exec() == .call)
    #expect(fixture.context.faultAddress == nil)
    try fixture.context.schedule()
    #expect(fixture.context.a0 == 0x501)
    fixture.context.accessHandler = nil
    let shadow = try fixture.context.clone(on: try KVM.System(kernel: fixture.kernel))
    try fixture.context.setShadows([shadow])
    fixture.context.accessHandler = { (_, _) throws(ExecError) in 7 }
    // A shadow is not entered, and has not executed it.
    let pc = shadow.pc
    #expect(try fixture.context.exec() == .call)
    #expect(shadow.pc == pc)
    fixture.context.accessHandler = nil
    #expect(try fixture.context.exec() == .fault(.read, address: Self.device))
    #expect(fixture.context.faultAddress == Self.device)
  }
}
