import Devices
import Testing

struct PLICTests {
  let signals = Recorder<(Int, Bool)>()
  let plic: PLIC

  init() {
    let signals = signals
    plic = PLIC(harts: 2) { signals.add(($0, $1)) }
    for source in 1...31 as ClosedRange<UInt64> { plic.store(source * 4, length: 4, value: 1) }
  }

  private func enable(_ mask: UInt64, hart: UInt64) { plic.store(0x2000 + hart * 0x80, length: 4, value: mask) }
  private func claim(_ hart: UInt64 = 0) -> UInt64 { plic.load(0x20_0004 + hart * 0x1000, length: 4) }
  private func complete(_ source: UInt64, _ hart: UInt64 = 0) {
    plic.store(0x20_0004 + hart * 0x1000, length: 4, value: source)
  }
  private func isSet(_ hart: Int = 0) -> Bool { signals.values.last { $0.0 == hart }?.1 ?? false }

  @Test func aPulseIsClaimedOnce() {
    enable(1 << 5, hart: 0)
    plic.line(5).pulse()
    #expect(isSet())
    #expect(!isSet(1))
    #expect(claim() == 5)
    #expect(!isSet())
    #expect(claim() == 0)
    complete(5)
    #expect(!isSet())
  }

  @Test func aPulseDuringServiceIsNotLost() {
    enable(1 << 5, hart: 0)
    plic.line(5).pulse()
    #expect(claim() == 5)
    plic.line(5).pulse()
    #expect(!isSet())
    complete(5)
    #expect(isSet())
    #expect(claim() == 5)
  }

  @Test func aLevelStaysPendingUntilItFalls() {
    enable(1 << 3, hart: 1)
    let line = plic.line(3)
    line.setLevel(true)
    #expect(claim(1) == 3)
    complete(3, 1)
    #expect(isSet(1))
    #expect(claim(1) == 3)
    line.setLevel(false)
    complete(3, 1)
    #expect(!isSet(1))
  }

  @Test func thePriorityDecidesThenTheLowestNumber() {
    enable(.max, hart: 0)
    for source in [9, 4, 7] as [UInt32] { plic.line(source).pulse() }
    plic.store(7 * 4, length: 4, value: 2)
    #expect([claim(), claim(), claim(), claim()] == [7, 4, 9, 0])
  }

  @Test func thresholdAndPriorityZeroMaskInterrupts() {
    enable(1 << 2, hart: 0)
    plic.store(0x20_0000, length: 4, value: 1)
    plic.line(2).pulse()
    #expect(!isSet())
    plic.store(0x20_0000, length: 4, value: 0)
    #expect(isSet())
    plic.store(2 * 4, length: 4, value: 0)
    #expect(!isSet())
    #expect(claim() == 0)
  }

  @Test func claimsOfHartsAreIndependent() {
    enable(1 << 2, hart: 0)
    enable(1 << 2, hart: 1)
    plic.line(2).pulse()
    #expect(isSet(0) && isSet(1))
    #expect(claim(1) == 2)
    #expect(!isSet(0))
    #expect(claim(0) == 0)
  }

  @Test func missingRegistersReadAsZero() {
    for offset in [0, 0x80, 0x1004, 0x2004, 0x2100, 0x20_0008, 0x20_2000, 0x3ff_fffc, 0x3, .max] as [UInt64] {
      plic.store(offset, length: 4, value: .max)
      #expect(plic.load(offset, length: 4) == 0)
    }
    complete(0)
    complete(32)
    complete(0xffff_ffff)
    enable(.max, hart: 0)
    #expect(plic.load(0x2000, length: 4) == 0xffff_fffe)
  }
}
