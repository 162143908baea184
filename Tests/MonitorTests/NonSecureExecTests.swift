import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// `exec` and `schedule` of programs in system mode.
struct NonSecureExecTests {
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) }

  /// A load at 0x8000_0044 from an address without memory: the exception reaches the monitor's vector.
  private static func load(_ guest: Guest) -> Int {
    let architecture = guest.architecture
    let ids = architecture.facts.exception
    guest.cpu.setRegister(ids.cause, architecture == .arm64 ? 0x9600_0005 : 13)
    guest.cpu.setRegister(ids.pc, 0x8000_0044)
    guest.cpu.setRegister(ids.address, 0xdead_0000)
    guest.cpu.setRegister(ids.saved, 0x1234)
    return architecture == .arm64
      ? guest.systemCall(APPLET_CALL_EXCEPTION) : guest.sbi(UInt(APPLET_SBI_EXCEPTION), 0, [])
  }

  /// The registers with the result of a call.
  private func result(_ guest: Guest) -> [UInt64] {
    guest.architecture == .arm64
      ? [guest.cpu.register(ARM64.x(0))]
      : [guest.cpu.register(RISCV64.x(10)), guest.cpu.register(RISCV64.x(11))]
  }

  @Test(arguments: both) func eachEntryReturnsTheNextCall(architecture: Architecture) throws {
    let results = Notes<[UInt64]>()
    let program = try Program(architecture)
    let context = program.context
    context.handler = { (_) throws(ExecError) in throw .unknownCall(number: 1) }
    program.kernel.program = { guest in
      if guest.entry > 0 { results(result(guest)) }
      return guest.systemCall(0xff, UInt64(guest.entry), 7, .max)
    }
    for round in 0..<3 as Range<UInt64> {
      #expect(try context.exec() == .call)
      #expect((context.a0, context.a1, context.a2, context.a3) == (0xff, round, 7, .max))
      #expect(context.cause == Cause(architecture))
      #expect(context.mode == (.hypervisor, .system))
      context.ret(round + 40)
    }
    #expect(try context.schedule() == nil)
    #expect(context.calls == 4)
    #expect(results.list == [40, 41, 42].map { architecture == .arm64 ? [$0] : [0, $0] })
  }

  @Test(arguments: both) func aHandlerAnswersAndTheRunContinues(architecture: Architecture) throws {
    let results = Notes<Int64>()
    let program = try Program(architecture)
    program.kernel.script([
      { $0.systemCall(APPLET_CALL_PUT_CHARACTER, 0x41) },
      { guest in
        results(Int64(bitPattern: result(guest).last!))
        return guest.systemCall(APPLET_CALL_NANOTIME)
      },
      { guest in
        results(guest.systemResult)
        return Self.exit(guest)
      },
    ])
    try program.context.schedule()
    try nonSecureHandler(program.context)
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(program.output.pieces() == ["A"])
    #expect(results.list.count == 2 && results.list[1] > 0)
  }

  @Test(arguments: both) func changedRegistersReachTheProgram(architecture: Architecture) throws {
    let id = architecture == .arm64 ? ARM64.x(20) : RISCV64.x(20)
    let program = try Program(architecture)
    program.kernel.script([
      { guest in
        guest.cpu.setRegister(id, 5)
        return guest.systemCall(0xff)
      },
      { guest in
        #expect(guest.cpu.register(id) == 6)
        return guest.spin()
      },
      { guest in
        #expect(guest.cpu.register(id) == 7)
        return Self.exit(guest)
      },
    ])
    let context = program.context
    #expect(try context.exec() == .call)
    #expect(try context.register(20) == 5)
    try context.setRegister(20, 6)
    context.deadline = Fixture.deadlineAfterEntry
    #expect(throws: ExecError.limit(.deadline)) { try context.schedule() }
    // The same for a context whose `run` was stopped or has exceeded a limit.
    context.deadline = nil
    #expect(try context.register(20) == 6)
    try context.setRegister(20, 7)
    #expect(program.run() == .success(.exited(status: 3)))
  }

  @Test(arguments: both) func aStopDuringACallRepeatsIt(architecture: Architecture) throws {
    let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let program = try Program(architecture)
    program.kernel.script([
      { guest in
        guest.cpu.setRegister(pc, 0x8000_0104)
        return guest.systemCall(APPLET_CALL_SLEEP, 60_000_000_000)
      },
      { guest in
        #expect(guest.cpu.register(pc) == 0x8000_0100)
        return Self.exit(guest)
      },
    ])
    let context = program.context
    try context.schedule()
    context.stop()
    #expect(throws: ExecError.stopped) { try nonSecureHandler(context) }
    #expect(try context.exec() == .call)
    #expect(context.a0 == UInt64(APPLET_CALL_EXIT_STATUS) && context.a1 == 3)
  }

  @Test(arguments: both) func anExceptionCanBeRepaired(architecture: Architecture) throws {
    let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let program = try Program(architecture)
    program.kernel.script([
      Self.load,
      { guest in
        #expect(guest.cpu.register(pc) == 0x8000_0044)
        let saved = architecture == .arm64 ? ARM64.x(0) : RISCV64.x(17)
        #expect(guest.cpu.register(saved) == 0x1234)
        return Self.exit(guest)
      },
    ])
    let context = program.context
    #expect(try context.exec() == .fault(.read, address: 0xdead_0000))
    #expect(context.faultAddress == 0xdead_0000)
    #expect(try (context.pc, context.register(architecture.facts.vectorRegister)) == (0x8000_0044, 0x1234))
    #expect(try context.exec() == .call)
  }

  @Test(arguments: both) func aRunContinuesAtTheInstructionOfAnException(architecture: Architecture) throws {
    let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let program = try Program(architecture)
    program.kernel.script([
      { guest in
        let ids = architecture.facts.exception
        guest.cpu.setRegister(pc, 0x8000_f004)
        guest.cpu.setRegister(ids.cause, architecture == .arm64 ? 0x9600_0005 : 13)
        guest.cpu.setRegister(ids.pc, 0x8000_0044)
        guest.cpu.setRegister(ids.address, 0xdead_0000)
        guest.cpu.setRegister(ids.saved, 0x1234)
        return architecture == .arm64
          ? guest.systemCall(APPLET_CALL_EXCEPTION) : guest.sbi(UInt(APPLET_SBI_EXCEPTION), 0, [])
      },
      { guest in
        #expect(guest.cpu.register(pc) == 0x8000_0044)
        let saved = architecture == .arm64 ? ARM64.x(0) : RISCV64.x(17)
        #expect(guest.cpu.register(saved) == 0x1234)
        return guest.spin()
      },
    ])
    guard case .failure(.fault(.read, pc: 0x8000_0044, address: 0xdead_0000)) = program.run() else {
      Issue.record("another end")
      return
    }
    program.context.deadline = Fixture.deadlineAfterEntry
    #expect(program.run() == .failure(.limit(.deadline)))
    // The exception is past.
    #expect(program.context.pc == 0x8000_0044)
  }

  @Test(arguments: both) func firmwareCallsAreNotEvents(architecture: Architecture) throws {
    let program = try Program(architecture)
    let heap = program.start(of: .heap)
    var steps: [(Guest) -> Int] = [
      { $0.systemCall(APPLET_CALL_BLOCK, heap) },
      { guest in
        for (index, value) in [0xff, 77, 78, 79].enumerated() as EnumeratedSequence<[UInt64]> {
          guest.bytes(at: heap + UInt64(index) * 8, count: 8).storeBytes(of: value, as: UInt64.self)
        }
        return guest.systemCall(APPLET_CALL_BY_BLOCK)
      },
      { guest in
        #expect(guest.bytes(at: heap, count: 8).load(as: UInt64.self) == 8)
        return guest.exit(24) { $0.system_event.type = 1 }
      },
    ]
    if architecture == .riscv64 { steps.insert({ $0.sbi(0x4442_434e, 2, [0x0a]) }, at: 0) }
    program.kernel.script(steps)
    let context = program.context
    #expect(try context.schedule() == nil)
    #expect((context.a0, context.a1, context.a2, context.a3) == (0xff, 77, 78, 79))
    context.ret(8 as UInt64)
    // It is turned off permanently.
    for _ in 0..<2 { #expect(try context.exec() == .ended(.shutdown)) }
    #expect(try context.schedule() == .shutdown)
    #expect(program.run() == .success(.shutdown))
    #expect(program.output.pieces() == (architecture == .riscv64 ? ["\n"] : []))
  }

  @Test(arguments: both) func execRequiresOneCPU(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2, [Self.exit])
    #expect(throws: ExecError.host(.notSupported)) { try program.context.exec() }
    #expect(throws: ExecError.host(.notSupported)) { try program.context.schedule() }
  }
}

extension Cause {
  /// That of a call from system mode.
  fileprivate init(_ architecture: Architecture) {
    self.init(code: architecture == .arm64 ? 0x16 : 10, isInterrupt: false)
  }
}
