import Machine
import Testing

/// Decoding of loads and stores, against clang's encodings.
struct LoadStoreTests {
  /// Register n has the value 0x1_0000_0000 + n * 0x1_0001; the instruction is at 0x4000_0000.
  private func decode(_ architecture: Architecture, _ instruction: UInt32) -> LoadStore? {
    architecture.loadStore(instruction: instruction, pc: 0x4000_0000, status: 0) { Self.register($0) }
  }

  private static func register(_ number: Int) -> UInt64 { 0x1_0000_0000 + UInt64(number) * 0x1_0001 }

  /// What a load or store does, in short.
  struct Effect: Equatable, Sendable {
    var isStore = false
    var address: UInt64
    var width: Int
    var registers: [Int]
    /// What is loaded where each byte is 0x80.
    var loaded: UInt64 = 0
    var writeBack: [UInt64] = []
    var length: UInt64 = 4

    static func load(
      _ address: UInt64, _ width: Int, _ registers: Int..., loaded: UInt64 = 0x8080_8080_8080_8080,
      writeBack: UInt64? = nil, length: UInt64 = 4
    ) -> Effect {
      Effect(
        address: address, width: width, registers: registers, loaded: loaded,
        writeBack: writeBack.map { [$0] } ?? [], length: length)
    }

    static func store(
      _ address: UInt64, _ width: Int, _ registers: Int..., writeBack: UInt64? = nil, length: UInt64 = 4
    ) -> Effect {
      Effect(
        isStore: true, address: address, width: width, registers: registers,
        writeBack: writeBack.map { [$0] } ?? [], length: length)
    }
  }

  private func check(_ architecture: Architecture, _ text: String, _ instruction: UInt32, _ effect: Effect?) {
    guard let found = decode(architecture, instruction) else {
      #expect(effect == nil, "\(text)")
      return
    }
    #expect(Self.effect(found) == effect, "\(text)")
  }

  private static func effect(_ found: LoadStore) -> Effect {
    Effect(
      isStore: found.isStore, address: found.address, width: found.width,
      registers: [found.register] + (found.second.map { [$0] } ?? []),
      loaded: found.isStore ? 0 : found.loaded(0x8080_8080_8080_8080),
      writeBack: found.writeBack.map { [$0.value] } ?? [], length: found.length)
  }

  @Test func arm64() {
    func r(_ number: Int, _ offset: Int64 = 0) -> UInt64 { Self.register(number) &+ UInt64(bitPattern: offset) }
    // An index in w5, sign-extended and doubled; x5 times eight; w8, zero-extended.
    let (w5, x5, w8) = (r(5) & 0xffff_ffff, r(5), r(8) & 0xffff_ffff)
    for (text, instruction, effect) in [
      ("ldr x1, [x2]", 0xf940_0041, .load(r(2), 8, 1)),
      ("ldr w1, [x2, #8]", 0xb940_0841, .load(r(2, 8), 4, 1, loaded: 0x8080_8080)),
      ("ldrsb w3, [sp, #1]", 0x39c0_07e3, .load(r(31, 1), 1, 3, loaded: 0xffff_ff80)),
      ("ldrsh x3, [x4, w5, sxtw #1]", 0x78a5_d883, .load(r(4) + 2 * w5, 2, 3, loaded: 0xffff_ffff_ffff_8080)),
      ("ldr x3, [x4, x5, lsl #3]", 0xf865_7883, .load(r(4) &+ 8 * x5, 8, 3)),
      ("ldr w6, [x7, w8, uxtw]", 0xb868_48e6, .load(r(7) + w8, 4, 6, loaded: 0x8080_8080)),
      ("str xzr, [x9], #-16", 0xf81f_053f, .store(r(9), 8, 31, writeBack: r(9, -16))),
      ("strb w10, [x11, #3]!", 0x3800_3d6a, .store(r(11, 3), 1, 10, writeBack: r(11, 3))),
      ("ldur x12, [x13, #-9]", 0xf85f_71ac, .load(r(13, -9), 8, 12)),
      ("ldtr w1, [x2, #4]", 0xb840_4841, .load(r(2, 4), 4, 1, loaded: 0x8080_8080)),
      ("ldrsw x1, [x2, #4]", 0xb980_0441, .load(r(2, 4), 4, 1, loaded: 0xffff_ffff_8080_8080)),
      ("ldp x1, x2, [x3, #-16]!", 0xa9ff_0861, .load(r(3, -16), 8, 1, 2, writeBack: r(3, -16))),
      ("stp w4, w5, [sp], #8", 0x2881_17e4, .store(r(31), 4, 4, 5, writeBack: r(31, 8))),
      ("ldpsw x6, x7, [x8, #4]", 0x6940_9d06, .load(r(8, 4), 4, 6, 7, loaded: 0xffff_ffff_8080_8080)),
      ("stnp x9, x10, [x11, #16]", 0xa801_2969, .store(r(11, 16), 8, 9, 10)),
      ("ldar x12, [x13]", 0xc8df_fdac, .load(r(13), 8, 12)),
      ("stlrb w14, [x15]", 0x089f_fdee, .store(r(15), 1, 14)),
      ("ldapr w1, [x2]", 0xb8bf_c041, .load(r(2), 4, 1, loaded: 0x8080_8080)),
      ("ldapurh w1, [x2, #-2]", 0x595f_e041, .load(r(2, -2), 2, 1, loaded: 0x8080)),
      ("ldr w1, .+0x100", 0x1800_0801, .load(0x4000_0100, 4, 1, loaded: 0x8080_8080)),
    ] as [(String, UInt32, Effect)] { check(.arm64, text, instruction, effect) }
    for (text, instruction) in [
      ("prfm pldl1keep, [x1]", 0xf980_0020), ("ldr q1, [x2]", 0x3dc0_0041), ("ldadd x1, x2, [x3]", 0xf821_0062),
      ("ldxr x1, [x2]", 0xc85f_7c41), ("cas x1, x2, [x3]", 0xc8a1_7c62), ("add x1, x2, x3", 0x8b03_0041),
      ("ldp x1, x1, [x3]", 0xa940_0461), ("ldr x1, [x1], #8", 0xf840_8421), ("stp x1, x2, [x2], #16", 0xa881_0841),
      ("ldr x3, [x4, w5, uxth]", 0xf865_2883), ("udf #0", 0),
    ] as [(String, UInt32)] { check(.arm64, text, instruction, nil) }
  }

  @Test func riscv64() {
    func r(_ number: Int, _ offset: Int64 = 0) -> UInt64 { Self.register(number) &+ UInt64(bitPattern: offset) }
    let word: UInt64 = 0xffff_ffff_8080_8080
    for (text, instruction, effect) in [
      ("lb a2, -1(sp)", 0xfff1_0603, .load(r(2, -1), 1, 12, loaded: 0xffff_ffff_ffff_ff80)),
      ("lhu a3, 2(zero)", 0x0020_5683, .load(2, 2, 13, loaded: 0x8080)),
      ("lwu a4, 4(a5)", 0x0047_e703, .load(r(15, 4), 4, 14, loaded: 0x8080_8080)),
      ("lw a4, 4(a5)", 0x0047_a703, .load(r(15, 4), 4, 14, loaded: word)),
      ("ld a0, 8(a1)", 0x0085_b503, .load(r(11, 8), 8, 10)),
      ("sd s2, -8(s3)", 0xff29_bc23, .store(r(19, -8), 8, 18)),
      ("sb zero, 1(t0)", 0x0002_80a3, .store(r(5, 1), 1, 0)),
      ("lr.d a0, (a1)", 0x1005_b52f, .load(r(11), 8, 10)),
      ("lr.w.aqrl a2, (a3)", 0x1606_a62f, .load(r(13), 4, 12, loaded: word)),
      ("amoswap.d zero, a4, (a5)", 0x08e7_b02f, .store(r(15), 8, 14)),
      // Compressed; the upper half is the next instruction.
      ("c.lw a0, 68(a1)", 0xffff_41e8, .load(r(11, 68), 4, 10, loaded: word, length: 2)),
      ("c.ld a2, 200(a3)", 0x66f0, .load(r(13, 200), 8, 12, length: 2)),
      ("c.sw a4, 4(a5)", 0xc3d8, .store(r(15, 4), 4, 14, length: 2)),
      ("c.sd s0, 8(s1)", 0xe480, .store(r(9, 8), 8, 8, length: 2)),
      ("c.lwsp t0, 84(sp)", 0x42d6, .load(r(2, 84), 4, 5, loaded: word, length: 2)),
      ("c.ldsp a0, 264(sp)", 0x6532, .load(r(2, 264), 8, 10, length: 2)),
      ("c.swsp ra, 132(sp)", 0xc306, .store(r(2, 132), 4, 1, length: 2)),
      ("c.sdsp s2, 320(sp)", 0xe2ca, .store(r(2, 320), 8, 18, length: 2)),
      ("c.lbu a0, 3(a1)", 0x81e8, .load(r(11, 3), 1, 10, loaded: 0x80, length: 2)),
      ("c.lhu a2, 2(a3)", 0x86b0, .load(r(13, 2), 2, 12, loaded: 0x8080, length: 2)),
      ("c.lh s0, 2(s1)", 0x84e0, .load(r(9, 2), 2, 8, loaded: 0xffff_ffff_ffff_8080, length: 2)),
      ("c.sb a4, 1(a5)", 0x8bd8, .store(r(15, 1), 1, 14, length: 2)),
      ("c.sh a0, 2(a2)", 0x8e28, .store(r(12, 2), 2, 10, length: 2)),
    ] as [(String, UInt32, Effect)] { check(.riscv64, text, instruction, effect) }
    for (text, instruction) in [
      ("amoswap.w a0, a4, (a5)", 0x08e7_a52f), ("sc.d a0, a1, (a2)", 0x18b6_352f),
      ("amoadd.d zero, a1, (a2)", 0x00b6_302f), ("c.fld fa0, 8(a1)", 0x2588), ("fld fa0, 0(a1)", 0x0005_b507),
      ("c.lwsp with rd 0", 0x4056), ("no load", 0x0005_f503), ("zero", 0),
    ] as [(String, UInt32)] { check(.riscv64, text, instruction, nil) }
  }

  /// A32. Registers have 32 bits; instructions of T32 are not decoded.
  @Test func aarch32() {
    func decode(_ instruction: UInt32, status: UInt64 = 0x1d0) -> LoadStore? {
      Architecture.aarch32.loadStore(instruction: instruction, pc: 0x4000_0000, status: status) {
        0x1000_0000 + UInt64($0) * 0x1001
      }
    }
    func r(_ number: UInt64, _ offset: Int64 = 0) -> UInt64 {
      (0x1000_0000 + number * 0x1001 &+ UInt64(bitPattern: offset)) & 0xffff_ffff
    }
    for (text, instruction, effect) in [
      ("ldr r0, [r1, #4]", 0xe591_0004, .load(r(1, 4), 4, 0, loaded: 0x8080_8080)),
      ("ldrb r2, [r3], #-8", 0xe453_2008, .load(r(3), 1, 2, loaded: 0x80, writeBack: r(3, -8))),
      (
        "str r4, [r5, r6, lsl #2]!", 0xe7a5_4106,
        .store((r(5) + 4 * r(6)) & 0xffff_ffff, 4, 4, writeBack: (r(5) + 4 * r(6)) & 0xffff_ffff)
      ),
      ("ldrsh r7, [r8, #-2]", 0xe158_70f2, .load(r(8, -2), 2, 7, loaded: 0xffff_8080)),
      ("ldrsb r0, [pc, #16]", 0xe1df_01d0, .load(0x4000_0018, 1, 0, loaded: 0xffff_ff80)),
      ("strh r9, [r10, r11]", 0xe18a_90bb, .store(r(10) + r(11), 2, 9)),
      ("ldrd r2, r3, [r4], #8", 0xe0c4_20d8, .load(r(4), 4, 2, 3, loaded: 0x8080_8080, writeBack: r(4, 8))),
      ("strd r4, r5, [sp, #-16]!", 0xe16d_41f0, .store(r(13, -16), 4, 4, 5, writeBack: r(13, -16))),
      ("ldrt r0, [r1], #4", 0xe4b1_0004, .load(r(1), 4, 0, loaded: 0x8080_8080, writeBack: r(1, 4))),
      ("ldrne r0, [r1, -r2, asr #1]", 0x1711_00c2, .load(r(1) - r(2) / 2, 4, 0, loaded: 0x8080_8080)),
    ] as [(String, UInt32, Effect)] {
      #expect(decode(instruction).map(Self.effect) == effect, "\(text)")
      #expect(decode(instruction, status: 0x1f0) == nil)
    }
    for (text, instruction) in [
      ("ldr pc, [r0]", 0xe590_f000), ("ldr r1, [r2, r3, rrx]", 0xe792_1063), ("ldm r0, {r1, r2}", 0xe890_0006),
      ("ldrex r0, [r1]", 0xe191_0f9f), ("vldr d0, [r0]", 0xed90_0b00), ("ldr r0, [r0], #4", 0xe490_0004),
      ("pld [r1]", 0xf5d1_f000), ("no condition", 0xf591_0004),
    ] as [(String, UInt32)] { #expect(decode(instruction) == nil, "\(text)") }
  }

  /// What would wrap around the address space has no range.
  @Test func rangesDoNotWrap() {
    // ldp x1, x2, [x3]
    let last = Architecture.arm64.loadStore(instruction: 0xa940_0861, pc: 0, status: 0) { _ in .max - 15 }
    #expect(last?.range == nil)
    let fits = Architecture.arm64.loadStore(instruction: 0xa940_0861, pc: 0, status: 0) { _ in .max - 16 }
    #expect(fits?.range == UInt64.max - 16..<UInt64.max)
  }
}
