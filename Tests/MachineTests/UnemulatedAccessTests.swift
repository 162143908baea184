import Machine
import Testing

/// What loads and stores access, by their encodings.
struct UnemulatedAccessTests {
  /// As clang assembles them, with a1 = 0x1000, sp = 0x2000 and a register that is not meant 0xbad.
  static let accesses: [(text: String, instruction: UInt32, address: UInt64, isWrite: Bool)] = [
    ("lw a0, 1(a1)", 0x0015_a503, 0x1001, false),
    ("ld a0, -8(a1)", 0xff85_b503, 0xff8, false),
    ("lbu a0, 2047(a1)", 0x7ff5_c503, 0x17ff, false),
    ("lw a0, 16(zero)", 0x0100_2503, 16, false),
    ("sw a0, 1(a1)", 0x00a5_a0a3, 0x1001, true),
    ("sd a0, -8(a1)", 0xfea5_bc23, 0xff8, true),
    ("fld fa0, 8(a1)", 0x0085_b507, 0x1008, false),
    ("fsw fa0, -4(a1)", 0xfea5_ae27, 0xffc, true),
    ("vle8.v v0, (a1)", 0x0205_8007, 0x1000, false),
    ("vse64.v v0, (a1)", 0x0205_f027, 0x1000, true),
    ("lr.w a0, (a1)", 0x1005_a52f, 0x1000, false),
    ("lr.d.aqrl a0, (a1)", 0x1605_b52f, 0x1000, false),
    ("sc.w a0, a0, (a1)", 0x18a5_a52f, 0x1000, true),
    ("amoadd.w a0, a0, (a1)", 0x00a5_a52f, 0x1000, true),
    ("cbo.zero (a1)", 0x0045_a00f, 0x1000, true),
    ("c.lw a0, 4(a1)", 0x41c8, 0x1004, false),
    ("c.lw a0, 64(a1)", 0x41a8, 0x1040, false),
    ("c.ld a0, 248(a1)", 0x7de8, 0x10f8, false),
    ("c.lbu a0, 1(a1)", 0x81c8, 0x1001, false),
    ("c.sh a0, 2(a1)", 0x8da8, 0x1002, true),
    ("c.fld fa0, 8(a1)", 0x2588, 0x1008, false),
    ("c.sw a0, 124(a1)", 0xdde8, 0x107c, true),
    ("c.sd a0, 8(a1)", 0xe588, 0x1008, true),
    ("c.fsd fa0, 8(a1)", 0xa588, 0x1008, true),
    ("c.lwsp a0, 252(sp)", 0x557e, 0x20fc, false),
    ("c.ldsp a0, 504(sp)", 0x757e, 0x21f8, false),
    ("c.fldsp fa0, 8(sp)", 0x2522, 0x2008, false),
    ("c.swsp a0, 252(sp)", 0xdfaa, 0x20fc, true),
    ("c.sdsp a0, 504(sp)", 0xffaa, 0x21f8, true),
    ("c.fsdsp fa0, 8(sp)", 0xa42a, 0x2008, true),
  ]

  private func access(_ instruction: UInt32) -> (address: UInt64, isWrite: Bool)? {
    Architecture.riscv64.access(of: instruction) { $0 == 11 ? 0x1000 : $0 == 2 ? 0x2000 : 0xbad }
  }

  @Test(arguments: accesses.indices)
  func anAccessIsDecoded(number: Int) {
    let expected = Self.accesses[number]
    let found = access(expected.instruction)
    #expect(
      found?.address == expected.address && found?.isWrite == expected.isWrite, "\(expected.text): \(found as Any)")
  }

  /// nop, c.nop, c.addi4spn, c.j, c.jr, ecall, fence, and none at all.
  @Test func otherInstructionsAccessNothing() {
    for instruction: UInt32 in [0x13, 1, 0x0048, 0xa001, 0x8082, 0x73, 0x0ff0_000f, 0, .max] {
      #expect(access(instruction) == nil, "\(instruction)")
    }
  }

  /// Addresses of page tables with three to five levels, of a page of 4 KiB, 2 MiB and 1 GiB; and what has none.
  @Test func addressesAreTranslatedByTheGuestsTables() {
    var memory: [UInt64: UInt64] = [:]
    func physical(_ address: UInt64, _ satp: UInt64) -> UInt64? {
      Architecture.riscv64.physicalAddress(of: address, table: satp) { memory[$0] }
    }
    func entry(_ address: UInt64, _ flags: UInt64) -> UInt64 { (address >> 12) << 10 | flags }
    #expect(physical(0xffff_ffff_8000_0042, 0) == 0xffff_ffff_8000_0042)
    for levels in 3...5 as ClosedRange<UInt64> {
      // Tables at 0x1000, 0x2000 and so on: the first entry of each refers to the next, the last one's third to a page.
      memory = [:]
      for level in 1..<levels { memory[level << 12] = entry((level + 1) << 12, 1) }
      memory[levels << 12 | 2 << 3] = entry(0x8765_4000, 0x1f | 3 << 61)
      // One before the last refers to 2 MiB, two before it to 1 GiB.
      memory[(levels - 1) << 12 | 1 << 3] = entry(0x8020_0000, 0xb)
      memory[(levels - 2) << 12 | 1 << 3] = entry(0xc000_0000, 0x9)
      let satp = (5 + levels) << 60 | 0xffff << 44 | 1
      #expect(physical(0x2042, satp) == 0x8765_4042, "\(levels)")
      #expect(physical(0x2f_e042, satp) == 0x802f_e042 && physical(0x4234_5678, satp) == 0xc234_5678, "\(levels)")
      #expect(physical(0x3042, satp) == nil && physical(0x40_0000, satp) == nil && physical(2 << 30, satp) == nil)
      memory[levels << 12 | 2 << 3] = entry(0x8765_4000, 0x1e)
      #expect(physical(0x2042, satp) == nil, "an entry that is not valid")
      memory[levels << 12 | 2 << 3] = entry(0x9000, 1)
      #expect(physical(0x2042, satp) == nil, "a table in place of a page")
    }
    for mode in [1, 7, 11, 15] as [UInt64] { #expect(physical(0, mode << 60 | 1) == nil) }
    memory = [:]
    #expect(physical(.max, .max >> 4 | 8 << 60) == nil)
  }

  /// Whatever stands where a program was stopped.
  @Test func noInstructionTraps() {
    for high in 0..<UInt32(0x1_0000) {
      for low: UInt32 in [0, 2, 0x07, 0x0f, 0x23, 0x27, 0x2f, 0xe000, 0xf003] {
        _ = Architecture.riscv64.access(of: high << 16 | low) { _ in .max }
        _ = Architecture.riscv64.access(of: high) { _ in .max }
      }
    }
  }
}
