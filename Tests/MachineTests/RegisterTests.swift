import Machine
import Testing

/// KVM's register ids, compared with numbers that a C compiler computes from the kernel's headers (arch/arm64 and
/// arch/riscv, include/uapi/asm/kvm.h).
struct RegisterTests {
  @Test(
    arguments: [
      (ARM64.x(0), 0x6030_0000_0010_0000), (ARM64.x(1), 0x6030_0000_0010_0002), (ARM64.x(30), 0x6030_0000_0010_003c),
      (ARM64.x(31), 0x6030_0000_0010_003e), (ARM64.sp, 0x6030_0000_0010_003e), (ARM64.pc, 0x6030_0000_0010_0040),
      (ARM64.pstate, 0x6030_0000_0010_0042), (ARM64.spEL1, 0x6030_0000_0010_0044),
      (ARM64.elrEL1, 0x6030_0000_0010_0046), (ARM64.spsrEL1, 0x6030_0000_0010_0048),
      (ARM64.esrEL1, 0x6030_0000_0013_c290), (ARM64.farEL1, 0x6030_0000_0013_c300),
      (ARM64.tpidrEL0, 0x6030_0000_0013_de82), (ARM64.tpidrEL1, 0x6030_0000_0013_c684),
      (ARM64.sctlrEL1, 0x6030_0000_0013_c080), (ARM64.cpacrEL1, 0x6030_0000_0013_c082),
      (ARM64.ttbr0EL1, 0x6030_0000_0013_c100), (ARM64.tcrEL1, 0x6030_0000_0013_c102),
      (ARM64.mairEL1, 0x6030_0000_0013_c510), (ARM64.vbarEL1, 0x6030_0000_0013_c600),
      (ARM64.cntkctlEL1, 0x6030_0000_0013_c708), (ARM64.q(0), 0x6040_0000_0010_0054),
      (ARM64.q(31), 0x6040_0000_0010_00d0), (ARM64.fpsr, 0x6020_0000_0010_00d4), (ARM64.fpcr, 0x6020_0000_0010_00d5),
      (Architecture.arm64.facts.counter, 0x6030_0000_0013_df1a),
    ] as [(UInt64, UInt64)])
  func arm64(id: UInt64, literal: UInt64) { #expect(id == literal) }

  @Test(
    arguments: [
      (RISCV64.pc, 0x8030_0000_0200_0000), (RISCV64.x(1), 0x8030_0000_0200_0001), (RISCV64.x(4), 0x8030_0000_0200_0004),
      (RISCV64.x(10), 0x8030_0000_0200_000a), (RISCV64.x(31), 0x8030_0000_0200_001f),
      (RISCV64.mode, 0x8030_0000_0200_0020), (RISCV64.sstatus, 0x8030_0000_0300_0000),
      (RISCV64.stvec, 0x8030_0000_0300_0002), (RISCV64.sscratch, 0x8030_0000_0300_0003),
      (RISCV64.sepc, 0x8030_0000_0300_0004), (RISCV64.scause, 0x8030_0000_0300_0005),
      (RISCV64.satp, 0x8030_0000_0300_0008), (RISCV64.scounteren, 0x8030_0000_0300_0009),
      (RISCV64.stval, 0x8030_0000_0300_0006), (RISCV64.isa, 0x8030_0000_0100_0000),
      (RISCV64.cacheBlockSize, 0x8030_0000_0100_0001), (RISCV64.zeroBlockSize, 0x8030_0000_0100_0005),
      (RISCV64.sbiDebugConsole, 0x8030_0000_0800_0009), (RISCVExtensions.register(1), 0x8030_0000_0701_0001),
      (RISCV64.timebase, 0x8030_0000_0400_0000),
      (Architecture.riscv64.facts.counter, 0x8030_0000_0400_0001), (RISCV64.f(0), 0x8030_0000_0600_0000),
      (RISCV64.f(31), 0x8030_0000_0600_001f), (RISCV64.fcsr, 0x8020_0000_0600_0020),
    ] as [(UInt64, UInt64)])
  func riscv64(id: UInt64, literal: UInt64) { #expect(id == literal) }

  @Test func generalRegistersAreThoseOfTheManuals() {
    for number in Architecture.arm64.facts.generalRegisters {
      #expect(Architecture.arm64.generalRegister(number) == ARM64.x(number))
    }
    for number in Architecture.riscv64.facts.generalRegisters {
      #expect(Architecture.riscv64.generalRegister(number) == RISCV64.x(number))
    }
    #expect(Architecture.arm64.systemRegisters[31].id == ARM64.spEL1)
    #expect(Architecture.riscv64.systemRegisters[1].id == RISCV64.x(2))
  }

  /// As in KVM's reset_mpidr: sixteen CPUs in a cluster.
  @Test(arguments: [(0, 0, 0), (15, 15, 15), (16, 0x100, 16), (4096, 0x1_0000, 4096)] as [(Int, UInt64, UInt64)])
  func cpusHaveTheirFirmwareNumbers(number: Int, mpidr: UInt64, hart: UInt64) {
    #expect(Architecture.arm64.cpuID(number) == mpidr)
    #expect(Architecture.riscv64.cpuID(number) == hart)
  }

  @Test func coreRegistersHaveDistinctIds() {
    let arm = Architecture.arm64.coreRegisters
    #expect(arm.map(\.word) == Array(0...33))
    #expect(arm[31].id == 0x6030_0000_0010_003e)
    #expect(arm[32].id == 0x6030_0000_0010_0040)
    let riscv = Architecture.riscv64.coreRegisters
    #expect(riscv.map(\.word) == Array(1...32))
    #expect(riscv[0].id == 0x8030_0000_0200_0001)
    #expect(riscv[31].id == 0x8030_0000_0200_0000)
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func floatingPointRegistersDoNotOverlapInTheFrame(architecture: Architecture) {
    var words: Set<Int> = []
    for register in architecture.floatingPointRegisters {
      let size = 1 << Int(register.id >> 52 & 15)
      for word in register.word..<register.word + (size + 7) / 8 {
        #expect(words.insert(word).inserted, "word \(word) is used twice")
        #expect(word >= 40 && word < 128)
        #expect(architecture.frameWordName(word) != nil)
      }
    }
    #expect(architecture.floatingPointRegisters.count == (architecture == .arm64 ? 34 : 33))
  }

  @Test func registerNamesAreThoseOfTheAssembler() {
    #expect(
      Architecture.arm64.facts.generalRegisters.map(Architecture.arm64.registerName).joined(separator: " ")
        == (0...30).map { "x\($0)" }.joined(separator: " ") + " sp")
    #expect(
      Architecture.riscv64.facts.generalRegisters.map(Architecture.riscv64.registerName).joined(separator: " ")
        == "ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6")
    #expect(Architecture.arm64.registerName(Architecture.arm64.facts.stackRegister) == "sp")
    #expect(Architecture.riscv64.registerName(Architecture.riscv64.facts.stackRegister) == "sp")
    #expect(Architecture.arm64.registerName(Architecture.arm64.callRegister) == "x0")
    #expect(Architecture.riscv64.registerName(Architecture.riscv64.callRegister) == "a0")
  }

  @Test func elfMachinesAreThoseOfTheStandard() {
    #expect(Architecture.arm64.facts.elfMachine == 183)
    #expect(Architecture.riscv64.facts.elfMachine == 243)
  }
}
