import Devices
import Platform
import Testing

/// What a queue takes, and what it refuses: the entropy device stands for all, since its answer shows what was written.
struct QueueTests {
  let driver: Driver

  init() throws {
    let driver = try Driver()
    let complaints = driver.complaints
    driver.attach(
      VirtioEntropy(memory: driver.memory, interrupt: driver.interrupt, complain: { complaints.add($0) }))
    self.driver = driver
  }

  typealias Descriptor = Driver.Descriptor

  @Test func buffersOfAChainAreFilledInOrder() {
    let first = driver.buffer(100)
    let second = driver.buffer(28)
    driver.request(queue: 0, write: [(first, 100), (second, 28)])
    #expect(driver.usedCount(0) == 1)
    #expect(driver.usedElement(0, queue: 0) == (0, 128))
    #expect(driver.content(first, 100).contains { $0 != 0 })
    #expect(driver.content(second, 28).contains { $0 != 0 })
    #expect(driver.interrupt.pulses == 1)
    #expect(driver.register(0x60) == 1)
    driver.set(0x64, 1)
    #expect(driver.register(0x60) == 0)
  }

  @Test func theRingsGoRoundAndRound() {
    for _ in 0..<100 { driver.request(queue: 0, write: [(driver.buffer(16), 16)]) }
    #expect(driver.usedCount(0) == 100)
    #expect(!driver.hasFailed)
  }

  @Test func aDriverThatWantsNoInterruptsGetsNone() {
    driver.bytes(driver.available(0), 2).storeBytes(of: 1, as: UInt16.self)
    driver.request(queue: 0, write: [(driver.buffer(16), 16)])
    #expect(driver.usedCount(0) == 1)
    #expect(driver.interrupt.pulses == 0)
  }

  @Test func aChainThatRunsInACircleFails() {
    let buffer = driver.buffer(16)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 1), at: 0, queue: 0)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 0), at: 1, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("circle")
    #expect(driver.content(buffer, 16) == [UInt8](repeating: 0, count: 16))
  }

  @Test func aChainOfOneThatIsItsOwnNextFails() {
    driver.put(
      Descriptor(address: driver.buffer(16), count: 16, flags: Driver.write | Driver.next, next: 0), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("circle")
  }

  @Test(arguments: [16, 17, 255, 256, 0xffff] as [UInt16])
  func descriptorsBeyondTheTableFail(number: UInt16) {
    driver.offer(number, queue: 0)
    expectFailure("descriptor \(number)")
  }

  @Test func aNextBeyondTheTableFails() {
    driver.put(
      Descriptor(address: driver.buffer(16), count: 16, flags: Driver.write | Driver.next, next: 16), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("descriptor 16")
  }

  @Test(
    arguments: [
      (0, 16), (Driver.base - 1, 16), (Driver.base - 16, 17), (Driver.base + UInt64(Driver.size) - 15, 16),
      (Driver.base + UInt64(Driver.size), 1), (Driver.base, UInt32(Driver.size) + 1), (Driver.base, .max),
      (.max, 1), (.max - 15, 16), (.max, .max), (1 << 63, 1 << 31),
    ] as [(UInt64, UInt32)])
  func buffersOutsideOfMemoryFail(address: UInt64, count: UInt32) {
    driver.put(Descriptor(address: address, count: count, flags: Driver.write), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("not all in memory")
  }

  @Test func theLastByteOfMemoryIsInIt() {
    let end = Driver.base + UInt64(Driver.size)
    driver.request(queue: 0, write: [(end - 64, 64)])
    #expect(driver.usedElement(0, queue: 0).written == 64)
    #expect(!driver.hasFailed)
  }

  @Test func emptyBuffersAreNoHarm() {
    driver.request(queue: 0, write: [(driver.buffer(16), 0), (driver.buffer(16), 16), (driver.buffer(16), 0)])
    #expect(driver.usedElement(0, queue: 0).written == 16)
  }

  @Test func indirectTablesAreRefused() {
    driver.put(Descriptor(address: driver.buffer(64), count: 64, flags: Driver.indirect), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("indirect")
  }

  @Test func buffersToReadBehindBuffersToWriteFail() {
    let buffer = driver.buffer(16)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 1), at: 0, queue: 0)
    driver.put(Descriptor(address: buffer, count: 16), at: 1, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("behind one")
  }

  @Test(arguments: [17, 18, 0x8000, 0xffff] as [UInt16])
  func moreOfferedThanThereAreDescriptorsFails(count: UInt16) {
    driver.offerCount(count, queue: 0)
    expectFailure("offers \(count) buffers")
  }

  @Test(arguments: [0, 3, 15, 32, 0x8000_0000, .max] as [UInt32])
  func sizesThatNoQueueHasFail(size: UInt32) {
    restart { $0.setUp(queue: 0, size: size) }
    expectFailure("\(size) descriptors")
    #expect(driver.register(0x44) == 0)
  }

  @Test(
    arguments: [
      (0x80, 0x8000_0008), (0x80, 0x7fff_fff0), (0x80, 0x800f_ff10), (0x90, 0x8000_0001), (0x90, 0x800f_ffdc),
      (0xa0, 0x8000_0002), (0xa0, 0x800f_ff7c), (0x84, 1), (0x94, 0xffff_ffff), (0xa4, 0x8000_0000),
    ] as [(UInt64, UInt32)])
  func partsThatAreOutsideOrNotAlignedFail(register: UInt64, value: UInt32) {
    restart { driver in
      driver.set(0x30, 0)
      driver.set(0x38, 16)
      driver.set(0x80, 0x8000_0000)
      driver.set(0x90, 0x8000_1000)
      driver.set(0xa0, 0x8000_2000)
      driver.set(register, value)
      driver.set(0x44, 1)
    }
    expectFailure("not in memory or not aligned")
  }

  @Test func aFailedDeviceDoesNothingUntilItIsReset() {
    driver.offer(99, queue: 0)
    driver.notify(0)
    #expect(driver.hasFailed)
    let buffer = driver.buffer(16)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write), at: 0, queue: 0)
    driver.offerCount(0, queue: 0)
    driver.offer(0, queue: 0)
    driver.notify(0)
    #expect(driver.usedCount(0) == 0)
    driver.attach(driver.device)
    driver.offerCount(0, queue: 0)
    driver.request(queue: 0, write: [(buffer, 16)])
    #expect(driver.usedElement(0, queue: 0).written == 16)
    // The user is told once.
    driver.offer(99, queue: 0)
    driver.notify(0)
    #expect(driver.complaints.values.count == 1)
  }

  // MARK: Registers

  @Test func aDeviceSaysWhatItIs() {
    #expect(driver.register(0x00) == 0x7472_6976)
    #expect(driver.register(0x04) == 2)
    #expect(driver.register(0x08) == 4)
    #expect(driver.register(0xb0) == .max)
    #expect(driver.device.load(0x00, length: 1) == 0)
    #expect(driver.device.load(0x1f8, length: 8) == 0)
  }

  @Test func featuresThatAreNotOfferedAreNotAccepted() {
    for features in [0, 1 << 32 | 1, 1 << 32 | 1 << 63] as [UInt64] {
      driver.attach(driver.device, features: features)
      #expect(driver.register(0x70) & 12 == 0)
      driver.request(queue: 0, write: [(driver.buffer(16), 16)])
      #expect(driver.usedCount(0) == 0)
    }
  }

  @Test func aQueueIsSettledWhileItIsReady() {
    driver.set(0x30, 0)
    driver.set(0x80, 0)
    driver.set(0x38, 1)
    driver.request(queue: 0, write: [(driver.buffer(16), 16)])
    #expect(driver.usedElement(0, queue: 0).written == 16)
  }

  @Test func queuesThatDoNotExistAreNotThere() {
    for number in [1, 2, 255, .max] as [UInt32] {
      driver.set(0x30, number)
      #expect(driver.register(0x34) == 0)
      driver.set(0x44, 1)
      #expect(driver.register(0x44) == 0)
      driver.set(0x50, number)
    }
    #expect(!driver.hasFailed)
  }

  /// Queues of random bytes, and random stores to random registers: the memory around the guest's stays as it was (each
  /// access is checked, or the process ends here).
  @Test(arguments: 0..<8)
  func randomQueuesAreSurvived(seed: UInt64) {
    var random = Generator(state: seed &+ 1)
    for _ in 0..<400 {
      let size = [1, 2, 4, 8, 16][Int.random(in: 0..<5, using: &random)] as UInt32
      restart { $0.setUp(queue: 0, size: size) }
      driver.set(0x70, 15)
      for offset in stride(from: 0, to: 0x3000, by: 8) {
        var word = UInt64.random(in: 0 ... .max, using: &random)
        // Now and then something that looks right.
        if offset < 0x1000, offset & 8 == 0, Bool.random(using: &random) {
          word = Driver.base + word % UInt64(Driver.size)
        }
        if offset < 0x1000, offset & 8 != 0, Bool.random(using: &random) { word &= 0x000f_0003_0000_0fff }
        driver.bytes(driver.table(0) + UInt64(offset), 8).storeBytes(of: word, as: UInt64.self)
      }
      driver.offerCount(UInt16.random(in: 0...20, using: &random), queue: 0)
      driver.notify(0)
      driver.set(UInt64.random(in: 0..<0x40, using: &random) * 4, UInt32.random(in: 0 ... .max, using: &random))
    }
  }

  // MARK: Helpers

  private func expectFailure(_ words: String, _ location: SourceLocation = #_sourceLocation) {
    driver.notify(0)
    #expect(driver.hasFailed, sourceLocation: location)
    #expect(driver.complaints.values.count == 1, sourceLocation: location)
    #expect(
      driver.complaints.values.first?.contains(words) == true, "\(driver.complaints.values)", sourceLocation: location)
    #expect(driver.register(0x60) & 2 == 2, sourceLocation: location)
  }

  /// Resets the device and brings it to the point where queues are set up.
  private func restart(_ body: (Driver) -> Void) {
    driver.set(0x70, 0)
    driver.set(0x70, 3)
    driver.set(0x24, 1)
    driver.set(0x20, 1)
    driver.set(0x70, 11)
    body(driver)
  }
}

/// The same numbers for the same seed (SplitMix64).
struct Generator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }
}
