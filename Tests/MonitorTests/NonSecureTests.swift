import AppletABI
import Applet
import CLinux
import KVM
import Machine
import Platform
import TestSupport
import Testing

@testable import Monitor

/// A program in system mode on a scripted kernel.
final class Program {
  let kernel: ScriptedKernel
  let context: ExecCtx
  let output: Capture
  let architecture: Architecture

  init(
    _ architecture: Architecture, cpus: Int = 1, arguments: [String] = ["os.elf"], input: Int32 = -1,
    hasFilter: Bool = true, firmwareCalls: [ClosedRange<UInt32>] = [], kernel given: ScriptedKernel? = nil,
    _ steps: [(Guest) -> Int] = []
  ) throws {
    self.architecture = architecture
    kernel = given ?? ScriptedKernel(architecture)
    kernel.runsApplets = false
    kernel.hasFilter = hasFilter
    output = try Capture()
    var options = ExecCtx.Options()
    options.arguments = arguments
    options.input = input
    options.output = output.descriptor
    options.cpus = cpus
    options.firmwareCalls = firmwareCalls
    context = try ExecCtx(
      image: try Fixture.image(architecture, kernel), secure: false, memorySize: 1 << 20,
      system: try System(kernel: kernel), architecture: architecture, options: options)
    kernel.script(steps)
  }

  func run() -> Result<Outcome, ExecError> { Result { () throws(ExecError) in try context.run() } }

  /// The first address of a region.
  func start(of use: MemoryRegion.Use) -> UInt64 {
    context.memory.regions.first { $0.use == use }!.range.lowerBound
  }
}

let both = [Architecture.arm64, .riscv64]
private let notSupported: [Architecture: Int64] = [.arm64: -1, .riscv64: -2]

/// Calls of programs in system mode, and how their runs end.
struct NonSecureTests {
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) }

  @Test(arguments: both) func aProgramStartsInSystemModeWithMMUAndCachesOn(architecture: Architecture) throws {
    let program = try Program(architecture)
    #expect(!program.context.isSecure && program.context.isNonSecure)
    #expect(program.context.mode == (.hypervisor, .system))
    #expect(throws: KVMError.failed(.createVM, .notSupported)) {
      try program.context.clone(on: try System(kernel: program.kernel))
    }
    let cpu = program.kernel.cpus[0]
    let tree = program.start(of: .deviceTree)
    switch architecture {
    case .arm64:
      #expect(cpu.register(ARM64.pstate) == 0x3c5)
      #expect(cpu.register(ARM64.pc) == 0x8000_0040)
      #expect(cpu.register(ARM64.x(0)) == tree)
      #expect(cpu.register(ARM64.sctlrEL1) & 0x1005 == 0x1005)  // I, C, M
      #expect(cpu.machine.forwarded == [0..<0x10b, 0x1000..<0x1003])
    case .aarch32: Issue.record("it has no system mode")
    case .riscv64:
      #expect(cpu.register(RISCV64.pc) == 0x8000_0040)
      #expect(cpu.register(RISCV64.x(11)) == tree)
      #expect(cpu.register(RISCV64.satp) >> 60 == 8)
    }
    #expect(program.kernel.violations.isEmpty)
  }

  @Test(arguments: both) func aProgramMakesCalls(architecture: Architecture) throws {
    let results = Notes<Int64>()
    let feed = try Feed("input", isEnded: true)
    var heap: UInt64 = 0
    func noting(_ step: @escaping (Guest) -> Int) -> (Guest) -> Int {
      return { guest in
        results(guest.systemResult)
        return step(guest)
      }
    }
    let program = try Program(architecture, arguments: ["os.elf", "a"], input: feed.descriptor)
    heap = program.start(of: .heap)
    program.kernel.script([
      { guest in
        guest.store(Array("hello\n".utf8), at: heap)
        return guest.systemCall(APPLET_CALL_WRITE, heap, 6)
      },
      noting { $0.systemCall(APPLET_CALL_READ, heap, 16) },
      noting { $0.systemCall(APPLET_CALL_ARGUMENTS, heap + 16, 64) },
      noting { $0.systemCall(APPLET_CALL_YIELD) },
      noting { $0.systemCall(APPLET_CALL_REGION, 99, heap) },
      noting { $0.systemCall(APPLET_CALL_NANOTIME) },
      noting { $0.systemCall(APPLET_CALL_GETRANDOM, heap + 64, 16) },
      Self.exit,
    ])
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list.prefix(5) == [6, 5, 9, 0, -2])
    #expect(results.list[5] > 0)
    #expect(program.output.pieces() == ["hello\n"])
    #expect(Array(program.context.memory.bytes(at: heap, count: 5)) == Array("input".utf8))
    #expect(program.context.calls == 8)
  }

  @Test(arguments: both) func anUnknownCallIsNotSupported(architecture: Architecture) throws {
    let results = Notes<Int64>()
    let numbers: [UInt64] = [6, 0xff, 0x106 - 6, 0x1000 + 2]
    var steps: [(Guest) -> Int] = numbers.map { number in
      { guest in
        if guest.entry > 0 { results(guest.systemResult) }
        return guest.systemCall(number, 1, 2, 3)
      }
    }
    steps[2] = { guest in
      results(guest.systemResult)
      return guest.systemCall(7)
    }
    steps.append { guest in
      results(guest.systemResult)
      return Self.exit(guest)
    }
    let program = try Program(architecture, steps)
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list.count == 4)
    // The last is a call by block without a block.
    #expect(results.list.allSatisfy { $0 == notSupported[architecture] }, "\(results.list)")
  }

  @Test(arguments: both) func inaccessibleMemoryEndsTheRun(architecture: Architecture) throws {
    for (address, count) in [(0x1000, 8), (.max - 3, 8), (0x8000_0000, 1 << 40)] as [(UInt64, UInt64)] {
      let program = try Program(architecture, [{ $0.systemCall(APPLET_CALL_GETRANDOM, address, count) }])
      #expect(
        program.run()
          == .failure(.badRange(call: UInt64(APPLET_CALL_GETRANDOM), address: address, count: count, .outside)))
    }
  }

  @Test(arguments: both) func aCallByBlockMakesTheCallInTheBlock(architecture: Architecture) throws {
    let results = Notes<Int64>()
    let program = try Program(architecture)
    let heap = program.start(of: .heap)
    func word(_ guest: Guest, _ index: UInt64) -> UInt64 {
      guest.bytes(at: heap + index * 8, count: 8).load(as: UInt64.self)
    }
    var steps: [(Guest) -> Int] = [0, heap + 8, 0x8010_0000, .max - 31].map { address in
      { guest in
        if guest.entry > 0 { results(guest.systemResult) }
        return guest.systemCall(APPLET_CALL_BLOCK, address)
      }
    }
    steps += [
      { guest in
        results(guest.systemResult)
        return guest.systemCall(APPLET_CALL_BLOCK, heap)
      },
      { guest in
        results(guest.systemResult)
        for (index, value) in [UInt64(APPLET_CALL_REGION), 77, heap + 64].enumerated() {
          guest.bytes(at: heap + UInt64(index) * 8, count: 8).storeBytes(of: value, as: UInt64.self)
        }
        return guest.systemCall(APPLET_CALL_BY_BLOCK)
      },
      { guest in
        results(Int64(bitPattern: word(guest, 0)))
        guest.bytes(at: heap, count: 8).storeBytes(of: 0x999, as: UInt64.self)
        return guest.systemCall(APPLET_CALL_BY_BLOCK)
      },
      { guest in
        results(Int64(bitPattern: word(guest, 0)))
        return Self.exit(guest)
      },
    ]
    program.kernel.script(steps)
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [-22, -22, -22, -22, 0, -2, notSupported[architecture]!])
  }

  @Test(arguments: both) func powerOffAndResetAreOutcomes(architecture: Architecture) throws {
    for (event, outcome) in [(1, .shutdown), (2, .reset)] as [(UInt32, Outcome)] {
      let program = try Program(architecture, [{ $0.exit(24) { $0.system_event.type = event } }])
      #expect(program.run() == .success(outcome))
      // This is permanent.
      #expect(program.run() == .success(outcome))
    }
    let program = try Program(architecture, [{ $0.exit(24) { $0.system_event.type = 7 } }])
    #expect(program.run() == .failure(.unexpectedExit(.systemEvent(type: 7))))
  }

  @Test(arguments: both) func anExceptionOfAProgramIsReported(architecture: Architecture) throws {
    let program = try Program(architecture)
    program.kernel.script([
      { guest in
        let ids = architecture.facts.exception
        guest.cpu.setRegister(ids.cause, architecture == .arm64 ? 0x9600_0005 : 13)
        guest.cpu.setRegister(ids.pc, 0x8000_0044)
        guest.cpu.setRegister(ids.address, 0xdead_0000)
        return architecture == .arm64
          ? guest.systemCall(APPLET_CALL_EXCEPTION) : guest.sbi(UInt(APPLET_SBI_EXCEPTION), 0, [])
      }
    ])
    #expect(program.run() == .failure(.fault(.read, pc: 0x8000_0044, address: 0xdead_0000)))
    #expect(program.context.pc == 0x8000_0044)
  }

  @Test(arguments: both) func accessesWithoutADeviceEndTheRun(architecture: Architecture) throws {
    for isWrite in [false, true] {
      let program = try Program(architecture, [{ $0.mmio(0x900_0000, isWrite: isWrite, [1, 0]) }])
      #expect(
        program.run()
          == .failure(.unexpectedExit(.mmio(address: 0x900_0000, length: 2, isWrite: isWrite, value: 1))))
    }
  }

  /// Accesses that KVM does not emulate are the program's fault, with the address where that is known.
  @Test(arguments: both, [false, true])
  func accessesThatKVMDoesNotEmulateEndTheRun(architecture: Architecture, isWrite: Bool) throws {
    let program = try Program(architecture)
    let heap = program.start(of: .heap)
    program.kernel.script([
      { guest in
        guest.cpu.setRegister(architecture.facts.programCounter, heap)
        // lr.w, amoadd.w
        let instruction: UInt32 = isWrite ? 0x00a5_a52f : 0x1005_a52f
        guest.store(withUnsafeBytes(of: instruction.littleEndian) { Array($0) }, at: heap)
        guest.cpu.setRegister(RISCV64.x(11), 0x4000_0000)
        return guest.unemulatedAccess(0x4000_0000, isWrite: isWrite)
      }
    ])
    #expect(program.run() == .failure(.fault(isWrite ? .write : .read, pc: heap, address: 0x4000_0000)))
  }

  @Test func aMisalignedAccessThatKVMDoesNotEmulateEndsTheRun() throws {
    let program = try Program(.riscv64)
    let end = program.context.memory.regions.first { $0.use == .stack }!.range.upperBound
    program.kernel.script([
      { guest in
        // c.lw a0, 4(a1), in the last bytes of a region
        guest.store([0xc8, 0x41] as [UInt8], at: end - 2)
        guest.cpu.setRegister(RISCV64.pc, end - 2)
        guest.cpu.setRegister(RISCV64.x(11), 0x4000_0001)
        return guest.unemulatedAccess(0, isWrite: false, isMisaligned: true)
      }
    ])
    #expect(program.run() == .failure(.fault(.misaligned, pc: end - 2, address: 0x4000_0005)))
  }

  /// riscv64: the instruction is found by the program's own page tables. Without one, it is a jump that failed.
  @Test(arguments: [(nil, .write), (0x4000_0000, .execute), (0, .execute)] as [(UInt64?, Fault)])
  func instructionsAreFoundByTheProgramsTables(page: UInt64?, fault: Fault) throws {
    let program = try Program(.riscv64)
    let heap = program.start(of: .heap)
    let pc: UInt64 = 0xffff_ffc0_0000_5004
    program.kernel.script([
      { guest in
        func store(_ word: UInt64, at address: UInt64) {
          guest.store(withUnsafeBytes(of: word.littleEndian) { Array($0) }, at: address)
        }
        func entry(_ address: UInt64, _ flags: UInt64) -> UInt64 { (address >> 12) << 10 | flags }
        // Three tables, and a page with amoadd.w a0, a0, (a1).
        store(entry(heap + 0x1000, 1), at: heap + 0x100 * 8)
        store(entry(heap + 0x2000, 1), at: heap + 0x1000)
        store(page == 0 ? 0 : entry(page ?? heap + 0x3000, 0xcb), at: heap + 0x2000 + 5 * 8)
        store(0x00a5_a52f << 32, at: heap + 0x3000)
        guest.cpu.setRegister(RISCV64.satp, 8 << 60 | heap >> 12)
        guest.cpu.setRegister(RISCV64.pc, pc)
        guest.cpu.setRegister(RISCV64.x(11), 0x4000_0000)
        return guest.unemulatedAccess(0, isWrite: true)
      }
    ])
    #expect(program.run() == .failure(.fault(fault, pc: pc, address: fault == .write ? 0x4000_0000 : pc)))
  }

  /// Before Linux 5.5 nothing says where.
  @Test func withoutTheCapabilityTheFaultHasNoAddress() throws {
    let kernel = ScriptedKernel(.arm64)
    kernel.forwardsAccesses = false
    let program = try Program(.arm64, kernel: kernel, [{ $0.unemulatedAccess(0x4000_0000, isWrite: false) }])
    guard case .failure(.fault(.read, _, address: nil)) = program.run() else {
      Issue.record("no fault")
      return
    }
  }

  @Test(arguments: both) func aStoppedProgramCanBeRunAgain(architecture: Architecture) throws {
    let program = try Program(
      architecture,
      [{ $0.spin() }, { $0.systemCall(APPLET_CALL_SLEEP, 60_000_000_000) }, Self.exit])
    program.context.deadline = Fixture.deadlineAfterEntry
    #expect(program.run() == .failure(.limit(.deadline)))
    program.context.deadline = Fixture.deadlineAfterEntry
    #expect(program.run() == .failure(.limit(.deadline)))
    program.context.deadline = nil
    program.context.stop()
    #expect(program.run() == .success(.stopped))
  }

  @Test(arguments: both) func cpusRunOnThreadsAndEndTogether(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 3)
    program.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (2, 0): guest.systemCall(APPLET_CALL_PUT_CHARACTER, 0x41)
      case (2, 1): Self.exit(guest)
      default: guest.spin()
      }
    }
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(program.output.pieces() == ["A"])
    #expect(program.kernel.cpus.count == 3)
    if architecture == .arm64 {
      // The other CPUs wait for CPU_ON (KVM_ARM_VCPU_POWER_OFF).
      #expect(program.kernel.cpus.map { $0.features & 1 } == [0, 1, 1])
    }
  }

  @Test func withoutTheFilterTheTreeHasNoCallMethod() throws {
    let program = try Program(.arm64, hasFilter: false)
    let tree = program.context.memory.bytes(at: program.start(of: .deviceTree), count: 4096)
    #expect(!String(decoding: tree, as: UTF8.self).contains("swiftlet,calls"))
    let usual = try Program(.arm64)
    let other = usual.context.memory.bytes(at: usual.start(of: .deviceTree), count: 4096)
    #expect(String(decoding: other, as: UTF8.self).contains("swiftlet,calls"))
  }

  // MARK: SBI

  /// Without the filter, calls to the firmware would never reach the embedder's handler.
  @Test func firmwareCallsNeedAKernelThatForwardsThem() throws {
    #expect(throws: LoadError.kvm(.failed(.setDeviceAttribute, .noSuchDevice))) {
      _ = try Program(.arm64, hasFilter: false, firmwareCalls: [0xc600_0000...0xc600_0001])
    }
  }

  /// GoTEE's sbi.Handler.
  @Test(arguments: both, [false, true]) func anEmbedderAnswersFirmwareCalls(architecture: Architecture, byHand: Bool)
    throws
  {
    let isARM = architecture == .arm64
    let results = Notes<Int64>()
    let calls = Notes<FirmwareCall>()
    let number: UInt64 = isARM ? 0xc600_0001 : 0x0900_0001
    func firmware(_ guest: Guest) -> Int {
      isARM ? guest.systemCall(number, 5, 6, 7) : guest.sbi(UInt(number), 2, [5, 6, 7])
    }
    let program = try Program(
      architecture, firmwareCalls: [0xc600_0000...0xc600_0001],
      [
        firmware,
        { guest in
          results(guest.systemResult)
          return firmware(guest)
        },
        { guest in
          results(guest.systemResult)
          return firmware(guest)
        },
        { guest in
          results(guest.systemResult)
          return guest.systemCall(6)
        },
        { guest in
          results(guest.systemResult)
          return Self.exit(guest)
        },
      ])
    program.context.firmwareHandler = { _, call throws(ExecError) in
      calls(call)
      switch calls.list.count {
      case 1: return FirmwareResult(value: 42)
      case 2: return FirmwareResult(error: -3, value: 1)
      default: return nil
      }
    }
    if byHand {
      // The calls to the firmware are answered on the way.
      for expected in [6, UInt64(APPLET_CALL_EXIT_STATUS)] {
        try program.context.schedule()
        #expect(program.context.a0 == expected)
        program.context.ret(notSupported[architecture]!)
      }
    } else {
      #expect(program.run() == .success(.exited(status: 3)))
    }
    #expect(results.list.prefix(3) == [42, -3, notSupported[architecture]!])
    #expect(byHand || results.list[3] == notSupported[architecture])
    let call = FirmwareCall(number: number, function: isARM ? 0 : 2, arguments: (5, 6, 7))
    #expect(calls.list == [call, call, call])
  }

  private static let debugConsole: UInt = 0x4442_434e

  @Test func theDebugConsoleRejectsOtherMemory() throws {
    let results = Notes<Int64>()
    let program = try Program(.riscv64)
    let heap = program.start(of: .heap)
    func step(_ function: UInt, _ arguments: UInt64...) -> (Guest) -> Int {
      { guest in
        if guest.entry > 0 { results(guest.systemResult) }
        return guest.sbi(Self.debugConsole, function, arguments)
      }
    }
    program.kernel.script([
      { guest in
        guest.store(Array("text\n".utf8), at: heap)
        return guest.sbi(Self.debugConsole, 0, [5, heap, 0])
      },
      step(0, 5, heap, 1), step(0, 5, 0x1000, 0), step(0, .max, 8, 0), step(0, 1 << 40, heap, 0), step(1, 5, heap, 0),
      step(2, 0x0a), step(9),
      { guest in
        results(guest.systemResult)
        return guest.sbi(0x10, 3, [UInt64(APPLET_SBI_EXTENSION)])
      },
      { guest in
        results(guest.systemResult)
        return guest.sbi(0x10, 3, [0x0800_0007])
      },
      { guest in
        results(guest.systemResult)
        return guest.sbi(0x0900_0000, 0, [])
      },
      { guest in
        results(guest.systemResult)
        return Self.exit(guest)
      },
    ])
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [5, -3, -3, -3, -3, 0, 0, -2, 1, 0, -2])
    #expect(program.output.pieces() == ["text\n", "\n"])
  }

  @Test func theDebugConsoleReadsWithoutWaiting() throws {
    let results = Notes<Int64>()
    let feed = try Feed("typed")
    let program = try Program(.riscv64, input: feed.descriptor)
    let heap = program.start(of: .heap)
    func step(_ arguments: UInt64..., before: @escaping () -> Void = {}) -> (Guest) -> Int {
      { guest in
        if guest.entry > 0 { results(guest.systemResult) }
        before()
        return guest.sbi(Self.debugConsole, 1, arguments)
      }
    }
    let output = program.output
    let prompts = Notes<String>()
    program.kernel.script([
      { $0.sbi(Self.debugConsole, 2, [0x24]) },
      step(3, 0x1000, 0), step(3, heap, 1), step(.max, 8, 0), step(3, heap, 0), step(0, heap, 0), step(8, heap + 3, 0),
      step(8, heap + 5, 0, before: { prompts.list = output.pieces() }), step(8, heap + 5, 0, before: { feed.close() }),
      { guest in
        results(guest.systemResult)
        return Self.exit(guest)
      },
    ])
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [0, -3, -3, -3, 3, 0, 2, 0, 0])
    #expect(Array(program.context.memory.bytes(at: heap, count: 5)) == Array("typed".utf8))
    #expect(prompts.list == ["$"])
  }

  @Test(arguments: both) func theTreeHasARandomSeed(architecture: Architecture) throws {
    let trees = try (0..<2).map { _ in try Program(architecture).context.deviceTree }
    #expect(String(decoding: trees[0], as: UTF8.self).contains("rng-seed"))
    #expect(trees[0] != trees[1])
  }

  /// Random calls of a program lead to an outcome.
  @Test(arguments: both, 0..<3) func arbitraryCallsNeverTrap(architecture: Architecture, seed: Int) throws {
    final class Source { var random: SeededGenerator; init(_ seed: UInt64) { random = SeededGenerator(seed: seed) } }
    let source = Source(UInt64(seed))
    let feed = try Feed(isEnded: true)
    let program = try Program(architecture, input: feed.descriptor)
    let heap = program.start(of: .heap)
    let addresses: [UInt64] = [0, heap, heap + 8, 0x800f_fff8, 0x8010_0000, 1 << 38, .max, .max - 7, 1 << 63]
    func argument() -> UInt64 {
      addresses.randomElement(using: &source.random)! &+ .random(in: 0..<16, using: &source.random)
    }
    program.kernel.program = { guest in
      let exits = 0...9
      switch Int.random(in: exits, using: &source.random) {
      case 0:
        return guest.mmio(argument(), isWrite: Bool.random(using: &source.random), [1, 2, 3, 4])
      case 1 where architecture == .riscv64:
        return guest.sbi(
          [0x10, 1, 2, Self.debugConsole, 0x0800_0001, 0x0900_0000].randomElement(using: &source.random)!,
          UInt.random(in: 0...4, using: &source.random), [argument(), argument(), argument() & 1])
      case 2:
        return guest.systemCall(APPLET_CALL_EXCEPTION)
      case 3:
        return guest.systemCall(
          [APPLET_CALL_BLOCK, APPLET_CALL_BY_BLOCK].randomElement(using: &source.random)!, argument())
      default:
        let number = source.random.next() % 0x107
        guard number != UInt64(APPLET_CALL_SLEEP) else { return guest.exit(99) }
        return guest.systemCall(
          number, argument(), source.random.next() >> UInt64.random(in: 0..<64, using: &source.random))
      }
    }
    for _ in 0..<500 {
      switch program.run() {
      case .failure(let error): #expect(!error.description.contains("\n"))
      case .success(.exited): return
      case .success(let outcome): Issue.record("\(outcome), which nobody asked for")
      }
      _ = (program.context.description, program.context.cause, program.output.pieces())
    }
  }
}
