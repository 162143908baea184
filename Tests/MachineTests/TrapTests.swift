import AppletABI
import Machine
import Testing

struct TrapTests {
  /// Syndromes as DDI 0487, D24.2 "ESR_EL1" composes them: class in bits 31 to 26, IL in bit 25, ISS below.
  @Test(
    arguments: [
      (0x5600_0000, .call), (0x5600_ffff, .call),  // SVC, any immediate
      (0x0200_0000, .fault(.undefinedInstruction)),
      (0x07e0_0000, .fault(.waitForInterrupt)),  // WFI or WFE
      (0x6232_c001, .fault(.privilegedInstruction)),  // MRS of a system register
      (0x8200_0004, .fault(.execute)), (0x8200_000f, .fault(.execute)),  // translation, permission
      (0x8200_0010, .fault(.hardware)),  // external abort of a fetch
      (0x8a00_0000, .fault(.misaligned)),  // PC
      (0x9a00_0000, .fault(.misaligned)),  // SP
      (0x9200_0004, .fault(.read)), (0x9200_0007, .fault(.read)), (0x9200_000f, .fault(.read)),
      (0x9200_0044, .fault(.write)), (0x9200_0047, .fault(.write)), (0x9200_004f, .fault(.write)),
      (0x9200_0021, .fault(.misaligned)), (0x9200_0061, .fault(.misaligned)),
      (0x9200_0010, .fault(.hardware)), (0x9200_0050, .fault(.hardware)),
      (0xbe00_0011, .fault(.hardware)),  // SError
      (0xf200_0000, .fault(.breakpoint)), (0xf200_1234, .fault(.breakpoint)),  // BRK
      (0x1e00_0000, .fault(.other(7))),  // floating point
      (0xb200_0000, .fault(.other(0x2c))), (0xcb00_0000, .fault(.other(0x32))),
    ] as [(UInt64, Trap)])
  func arm64(syndrome: UInt64, trap: Trap) {
    var pc: UInt64 = 0x1000
    #expect(Architecture.arm64.trap(cause: syndrome, pc: &pc) == trap)
    // ISS2, in the upper half, is ignored.
    #expect(Architecture.arm64.trap(cause: syndrome | 0xff_0000_0000, pc: &pc) == trap)
    // After SVC it is past the instruction.
    #expect(pc == 0x1000)
  }

  /// Privileged specification, table "Supervisor cause register values".
  @Test(
    arguments: [
      (8, .call), (0, .fault(.misaligned)), (1, .fault(.execute)), (2, .fault(.undefinedInstruction)),
      (3, .fault(.breakpoint)), (4, .fault(.misaligned)), (5, .fault(.read)), (6, .fault(.misaligned)),
      (7, .fault(.write)), (12, .fault(.execute)), (13, .fault(.read)), (15, .fault(.write)), (18, .fault(.hardware)),
      (19, .fault(.hardware)), (22, .fault(.privilegedInstruction)), (9, .fault(.other(9))), (10, .fault(.other(10))),
      (1 << 63 | 5, .fault(.other(1 << 63 | 5))), (.max, .fault(.other(.max))),
    ] as [(UInt64, Trap)])
  func riscv64(cause: UInt64, trap: Trap) {
    var pc: UInt64 = 0x1000
    #expect(Architecture.riscv64.trap(cause: cause, pc: &pc) == trap)
    // ECALL does not advance it.
    #expect(pc == (trap == .call ? 0x1004 : 0x1000))
  }

  @Test func onlyOneExceptionIsACall() {
    var pc: UInt64 = 0
    #expect((0..<64).filter { Architecture.arm64.trap(cause: $0 << 26, pc: &pc) == .call } == [0x11, 0x15])
    #expect((0..<64).filter { Architecture.riscv64.trap(cause: $0, pc: &pc) == .call } == [8])
  }

  @Test func aWaitForAnInterruptIsRecognized() {
    #expect(Architecture.arm64.facts.waitForInterrupt == 0xd503_207f)
    #expect(Architecture.riscv64.facts.waitForInterrupt == 0x1050_0073)
  }

  @Test func readsOfTheCounterAreRecognized() {
    let arm = Architecture.arm64
    // mrs x5, cntvct_el0: op0 3, op1 3, CRn 14, CRm 0, op2 2, Rt 5, direction 1.
    let virtualCount: UInt64 = 0x6200_0000 | 3 << 20 | 2 << 17 | 3 << 14 | 14 << 10 | 5 << 5 | 1
    #expect(arm.counterRead(cause: virtualCount, instruction: 0) == .count(register: 5))
    #expect(arm.counterRead(cause: virtualCount ^ 2 << 17, instruction: 0) == .frequency(register: 5))
    #expect(arm.counterRead(cause: virtualCount ^ 1, instruction: 0) == nil)  // a write
    #expect(arm.counterRead(cause: virtualCount | 1 << 1, instruction: 0) == nil)  // CRm 1
    #expect(arm.counterRead(cause: virtualCount & ~(0x3f << 26), instruction: 0) == nil)
    let riscv = Architecture.riscv64
    #expect(riscv.counterRead(cause: 2, instruction: 0xc010_2573) == .count(register: 10))  // rdtime a0
    #expect(riscv.counterRead(cause: 2, instruction: 0xc010_1573) == nil)  // csrrw
    #expect(riscv.counterRead(cause: 2, instruction: 0xc010_a573) == nil)  // with a mask in ra
    #expect(riscv.counterRead(cause: 2, instruction: 0xc000_2573) == nil)  // rdcycle
  }

  /// HVC, SMC, ERET, MRS of SCTLR_EL1, MSR of VBAR_EL1, MSR DAIFSet; SRET, WFI, SFENCE.VMA, and CSRs of VS mode. For
  /// comparison, instructions of user mode, and words that are not instructions.
  @Test func instructionsOfSystemModeAreRecognized() {
    let arm: [UInt32] = [0xd400_0002, 0xd400_0003, 0xd69f_03e0, 0xd538_1000, 0xd518_c000, 0xd503_42df]
    for instruction in arm { #expect(Architecture.arm64.isPrivileged(instruction: instruction)) }
    // SVC, BRK, UDF, NOP, ISB, DC CVAU, MRS of CNTVCT_EL0.
    for instruction: UInt32 in [0xd400_0001, 0xd420_0000, 0, 0xd503_201f, 0xd503_3fdf, 0xd50b_7b20, 0xd53b_e040] {
      #expect(!Architecture.arm64.isPrivileged(instruction: instruction))
    }
    for instruction: UInt32 in [0x1020_0073, 0x1050_0073, 0x1200_0073, 0x1000_2573, 0x1055_1073] {
      #expect(Architecture.riscv64.isPrivileged(instruction: instruction))
    }
    // ECALL, EBREAK, RDTIME, FRCSR, ADDI, and no instruction.
    for instruction: UInt32 in [0x73, 0x10_0073, 0xc010_2573, 0x30_2573, 0x13, 0] {
      #expect(!Architecture.riscv64.isPrivileged(instruction: instruction))
    }
  }

  /// The extension ID of SBI's functions, in a7; the legacy ones are any applet's small numbers.
  @Test func callsOfSystemModeAreRecognized() {
    func isSystemCall(_ id: UInt64, _ architecture: Architecture = .riscv64) -> Bool {
      architecture.isSystemCall { $0 == 17 ? id : 0x10 }
    }
    for name in ["TIME", "sPI", "RFNC", "HSM", "SRST", "PMU", "DBCN", "SUSP", "CPPC", "NACL", "STA"] {
      let id = name.utf8.reduce(0) { $0 << 8 | UInt64($1) }
      #expect(isSystemCall(id) && !isSystemCall(id, .arm64) && !isSystemCall(id, .aarch32), "\(name)")
    }
    #expect(isSystemCall(0x10) && isSystemCall(UInt64(APPLET_SBI_EXTENSION)))
    for id in Array(0...8) + [.max, 0x1_0000_0010] as [UInt64] { #expect(!isSystemCall(id), "\(id)") }
  }
}
