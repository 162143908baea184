import AppletABI
import Machine
import Testing

/// AArch32 in user mode, which shares arm64's shim, page tables and most registers.
struct AArch32Tests {
  private let architecture = Architecture.aarch32

  @Test func anAppletStartsInUserMode() {
    // M is 0b10000, A, I and F are set; an odd address is one of T32.
    #expect(architecture.start(at: 0x1000_1000) == (0x1000_1000, 0x1d0))
    #expect(architecture.start(at: 0x1000_1001) == (0x1000_1000, 0x1f0))
    #expect(Architecture.arm64.start(at: 0x1001) == (0x1001, 0x3c0))
    #expect(AArch32.isSupported(idAA64PFR0: 0x1122) && !AArch32.isSupported(idAA64PFR0: 0x1111))
    #expect(Architecture.arm64.narrow == .aarch32 && Architecture.riscv64.narrow == nil)
  }

  @Test func namesAreThoseOfTheArchitecture() {
    #expect(architecture.facts.generalRegisters.map { architecture.registerName($0) }.suffix(3) == ["r12", "sp", "lr"])
    #expect(architecture.frameWordName(15) == nil)
    #expect(architecture.frameWordName(Int(APPLET_FRAME_STATUS)) == "cpsr")
    #expect(architecture.frameWordName(Int(APPLET_FRAME_FP) + 31) == "d31")
    #expect(architecture.frameWordName(Int(APPLET_FRAME_FP) + 32) == nil)
    #expect(architecture.exceptionName(.execute)?.description == "prefetch abort")
    #expect(Architecture.arm64.exceptionName(.execute) == nil)
  }

  /// d0 to d31 are the halves of q0 to q15.
  @Test func floatingPointRegistersAreHalvesOfArm64s() {
    let all = architecture.floatingPointRegisters
    #expect(all.count == 18)
    #expect(all[15].id == ARM64.q(15) && all[15].word == Int(APPLET_FRAME_FP) + 30)
    let last = architecture.floatingPointRegister(31)
    #expect(last.id == ARM64.q(15) && last.word == Int(APPLET_FRAME_FP) + 31)
    #expect(Architecture.arm64.floatingPointRegisters.count == 34)
    #expect(Architecture.riscv64.floatingPointRegisters.count == 33)
  }

  /// DDI 0487, D24.2 "ESR_EL1".
  @Test(
    arguments: [
      (0x4600_0000, .call), (0x4400_0000, .call),  // SVC in A32 and T32
      (0x0200_0000, .fault(.undefinedInstruction)), (0x0600_0000, .fault(.waitForInterrupt)),
      (0x0e00_0000, .fault(.privilegedInstruction)), (0x1200_0000, .fault(.privilegedInstruction)),  // CP15
      (0x8200_0004, .fault(.execute)), (0x9200_0044, .fault(.write)), (0xe200_0000, .fault(.breakpoint)),
    ] as [(UInt64, Trap)])
  func exceptionsAreRecognized(syndrome: UInt64, trap: Trap) {
    #expect(architecture.trap(cause: syndrome) == trap)
  }

  @Test func aCallIsAsLongAsItsInstruction() {
    #expect(architecture.callSize(cause: 0x4600_0000) == 4)
    #expect(architecture.callSize(cause: 0x4400_0000) == 2)
    #expect(Architecture.arm64.callSize(cause: 0x5600_0000) == 4)
    #expect(Architecture.riscv64.callSize(cause: 8) == 4)
  }

  @Test func readsOfTheTimerAreRecognized() {
    // MRC p15, 0, r5, c14, c0, 0; MRRC p15, 0 and 1, r5, r6, c14. CV is set and the condition "always".
    let always: UInt64 = 1 << 25 | 1 << 24 | 14 << 20
    let frequency: UInt64 = 0x03 << 26 | always | 14 << 10 | 5 << 5 | 1
    let count: UInt64 = 0x04 << 26 | always | 6 << 10 | 5 << 5 | 14 << 1 | 1
    func read(_ cause: UInt64) -> Architecture.CounterRead? { architecture.counterRead(cause: cause, instruction: 0) }
    #expect(read(frequency) == .frequency(register: 5))
    #expect(read(frequency ^ 1) == nil)  // MCR
    #expect(read(frequency | 1 << 1) == nil)  // CNTKCTL's neighbours
    #expect(read(count) == .countPair(low: 5, high: 6))
    #expect(read(count | 1 << 16) == .countPair(low: 5, high: 6))
    #expect(read(count | 2 << 16) == nil)  // CNTP_CVAL
    #expect(read(count ^ 1) == nil)
    #expect(architecture.mayBeCounterRead(.privilegedInstruction))
  }

  /// An instruction may trap although its condition does not hold; without CV, in T32, the IT bits have the condition.
  @Test func conditionsAreThoseOfTheFlags() {
    func passes(_ condition: UInt64, _ status: UInt64) -> Bool {
      architecture.passesCondition(cause: 1 << 24 | condition << 20, status: status)
    }
    let (n, z, c, v) = (1 << 31, 1 << 30, 1 << 29, 1 << 28) as (UInt64, UInt64, UInt64, UInt64)
    for (condition, holding, failing) in [
      (0, z, 0), (1, 0, z), (2, c, 0), (3, 0, c), (4, n, 0), (5, 0, n), (6, v, 0), (7, 0, v), (8, c, c | z),
      (9, c | z, c), (10, n | v, n), (11, n, n | v), (12, 0, z), (13, n, n | v),
    ] as [(UInt64, UInt64, UInt64)] {
      #expect(passes(condition, holding) && !passes(condition, failing), "condition \(condition)")
    }
    #expect(passes(14, 0) && passes(15, 0))
    // ITSTATE 0b0001_1000: EQ, the last of its block. IT[7:2] is in bits 15 to 10, IT[1:0] in 26 and 25.
    let block: UInt64 = (0b0000_1000 >> 2) << 10
    #expect(architecture.passesCondition(cause: 0, status: block | z))
    #expect(!architecture.passesCondition(cause: 0, status: block))
    #expect(architecture.passesCondition(cause: 0, status: 0))
    #expect(Architecture.arm64.passesCondition(cause: 1 << 24, status: 0))
  }

  @Test func anITBlockAdvances() {
    func bits(_ state: UInt64) -> UInt64 { (state & 3) << 25 | (state >> 2) << 10 }
    for (before, after) in [
      (0b0000_1000, 0), (0b0000_0100, 0b0000_1000), (0b0001_0101, 0b0000_1010), (0b1011_0001, 0b1010_0010), (0, 0),
    ] as [(UInt64, UInt64)] {
      #expect(architecture.statusAfterInstruction(0x8000_01f0 | bits(before)) == 0x8000_01f0 | bits(after))
    }
    #expect(Architecture.arm64.statusAfterInstruction(0x3c0 | bits(0b100)) == 0x3c0 | bits(0b100))
  }

  /// An interrupted applet in AArch32 goes to the vector that zeroes the upper halves of its registers.
  @Test func anInterruptedAppletGoesToItsVector() throws {
    let layout = try SecureLayout(
      image: 0x1000_0000..<0x1000_1000, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 32)
    let settings = architecture.shimTrap(layout, pc: 0x1000_0008, status: 0x1f0)
    #expect(settings.first { $0.id == ARM64.pc }?.value == layout.shim + 0x600)
    #expect(settings.first { $0.id == ARM64.pstate }?.value == 0x3c5)
    // CP15BEN, and neither ITD nor SED.
    let control = RegisterSetting.all { architecture.secureStart(layout, $0) }.first { $0.id == ARM64.sctlrEL1 }?.value
    #expect(control.map { $0 & 0x1a0 } == 0x20)
  }
}
