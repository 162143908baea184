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
    // ISS2, in the upper half, decides nothing.
    #expect(Architecture.arm64.trap(cause: syndrome | 0xff_0000_0000, pc: &pc) == trap)
    // SVC leaves it behind itself.
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
    // ECALL leaves it at itself.
    #expect(pc == (trap == .call ? 0x1004 : 0x1000))
  }

  @Test func onlyOneExceptionIsACall() {
    var pc: UInt64 = 0
    #expect((0..<64).filter { Architecture.arm64.trap(cause: $0 << 26, pc: &pc) == .call } == [0x15])
    #expect((0..<64).filter { Architecture.riscv64.trap(cause: $0, pc: &pc) == .call } == [8])
  }

  @Test func aWaitForAnInterruptIsRecognized() {
    #expect(Architecture.arm64.isWaitForInterrupt(0xd503_207f))
    #expect(!Architecture.arm64.isWaitForInterrupt(0xd503_205f))  // WFE
    #expect(Architecture.riscv64.isWaitForInterrupt(0x1050_0073))
    #expect(!Architecture.riscv64.isWaitForInterrupt(0x0000_0073))  // ECALL
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

  @Test func faultsSayWhatTheyAreAbout() {
    for fault in [Fault.read, .write, .execute, .misaligned] { #expect(fault.hasAddress) }
    for fault in [Fault.undefinedInstruction, .privilegedInstruction, .breakpoint, .waitForInterrupt, .other(3)] {
      #expect(!fault.hasAddress)
    }
    #expect(Fault.other(44).description == "exception 44")
  }
}
