import CLinux
import Foundation
import Devices
import Platform
import Testing

/// Valid and invalid queues. The entropy device stands for all, since its result shows what was written.
struct QueueTests {
  let driver: Driver

  init() throws {
    let driver = try Driver()
    let standardError = driver.standardError
    driver.attach(
      VirtioEntropy(memory: driver.memory, interrupt: driver.interrupt, complain: { standardError.add($0) }))
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

  @Test func theRingsWrapAround() {
    for _ in 0..<100 { driver.request(queue: 0, write: [(driver.buffer(16), 16)]) }
    #expect(driver.usedCount(0) == 100)
    #expect(!driver.hasFailed)
  }

  @Test func interruptsCanBeSuppressed() {
    driver.bytes(driver.available(0), 2).storeBytes(of: 1, as: UInt16.self)
    driver.request(queue: 0, write: [(driver.buffer(16), 16)])
    #expect(driver.usedCount(0) == 1)
    #expect(driver.interrupt.pulses == 0)
  }

  @Test func aChainWithALoopIsAnError() {
    let buffer = driver.buffer(16)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 1), at: 0, queue: 0)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 0), at: 1, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("loop")
    #expect(driver.content(buffer, 16) == [UInt8](repeating: 0, count: 16))
  }

  @Test func aDescriptorThatIsItsOwnNextIsAnError() {
    driver.put(
      Descriptor(address: driver.buffer(16), count: 16, flags: Driver.write | Driver.next, next: 0), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("loop")
  }

  @Test(arguments: [16, 17, 255, 256, 0xffff] as [UInt16])
  func descriptorsBeyondTheTableAreAnError(number: UInt16) {
    driver.offer(number, queue: 0)
    expectFailure("descriptor index \(number)")
  }

  @Test func aNextIndexBeyondTheTableIsAnError() {
    driver.put(
      Descriptor(address: driver.buffer(16), count: 16, flags: Driver.write | Driver.next, next: 16), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("descriptor index 16")
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
    expectFailure("not entirely in memory")
  }

  @Test func theLastByteOfMemoryIsAccessible() {
    let end = Driver.base + UInt64(Driver.size)
    driver.request(queue: 0, write: [(end - 64, 64)])
    #expect(driver.usedElement(0, queue: 0).written == 64)
    #expect(!driver.hasFailed)
  }

  @Test func emptyBuffersAreHandled() {
    driver.request(queue: 0, write: [(driver.buffer(16), 0), (driver.buffer(16), 16), (driver.buffer(16), 0)])
    #expect(driver.usedElement(0, queue: 0).written == 16)
  }

  @Test func indirectTablesAreRejected() {
    driver.put(Descriptor(address: driver.buffer(64), count: 64, flags: Driver.indirect), at: 0, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("indirect")
  }

  @Test func readableBuffersAfterWritableOnesAreAnError() {
    let buffer = driver.buffer(16)
    driver.put(Descriptor(address: buffer, count: 16, flags: Driver.write | Driver.next, next: 1), at: 0, queue: 0)
    driver.put(Descriptor(address: buffer, count: 16), at: 1, queue: 0)
    driver.offer(0, queue: 0)
    expectFailure("after a device-writable one")
  }

  @Test(arguments: [17, 18, 0x8000, 0xffff] as [UInt16])
  func moreChainsThanDescriptorsAreAnError(count: UInt16) {
    driver.offerCount(count, queue: 0)
    expectFailure("\(count) available buffers")
  }

  @Test(arguments: [0, 3, 15, 32, 0x8000_0000, .max] as [UInt32])
  func invalidQueueSizesAreErrors(size: UInt32) {
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
    // The error is reported once.
    driver.offer(99, queue: 0)
    driver.notify(0)
    #expect(driver.standardError.values.count == 1)
  }

  /// Reporting an error may take long: the device is not locked meanwhile.
  @Test func errorsAreReportedWithoutTheLock() throws {
    let (isFree, isAsked) = (Recorder<Bool>(), Recorder<Bool>())
    let device = Recorder<VirtioEntropy>()
    device.add(
      VirtioEntropy(memory: driver.memory, interrupt: driver.interrupt) { _ in
        isAsked.add(true)
        Foundation.Thread.detachNewThread {
          device.values[0].queues.withLock { isFree.add(true) }
        }
        let end = Clock.monotonic + 5_000_000_000
        while isFree.values.isEmpty, Clock.monotonic < end { usleep(1000) }
        #expect(isFree.values == [true])
      })
    driver.attach(device.values[0])
    driver.offer(99, queue: 0)
    driver.notify(0)
    #expect(isAsked.values == [true])
  }

  // MARK: Registers

  @Test func aDeviceReportsItsType() {
    #expect(driver.register(0x00) == 0x7472_6976)
    #expect(driver.register(0x04) == 2)
    #expect(driver.register(0x08) == 4)
    #expect(driver.register(0xb0) == .max)
    #expect(driver.transport.load(0x00, length: 1) == 0)
    #expect(driver.transport.load(0x1f8, length: 8) == 0)
  }

  @Test func featuresThatAreNotOfferedAreNotAccepted() {
    for features in [0, 1 << 32 | 1, 1 << 32 | 1 << 63] as [UInt64] {
      driver.attach(driver.device, features: features)
      #expect(driver.register(0x70) & 12 == 0)
      driver.request(queue: 0, write: [(driver.buffer(16), 16)])
      #expect(driver.usedCount(0) == 0)
    }
  }

  @Test func settingsOfAReadyQueueCannotChange() {
    driver.set(0x30, 0)
    driver.set(0x80, 0)
    driver.set(0x38, 1)
    driver.request(queue: 0, write: [(driver.buffer(16), 16)])
    #expect(driver.usedElement(0, queue: 0).written == 16)
  }

  @Test func missingQueuesCannotBeSetUp() {
    for number in [1, 2, 255, .max] as [UInt32] {
      driver.set(0x30, number)
      #expect(driver.register(0x34) == 0)
      driver.set(0x44, 1)
      #expect(driver.register(0x44) == 0)
      driver.set(0x50, number)
    }
    #expect(!driver.hasFailed)
  }

  /// Queues of random bytes, and random stores to random registers: memory next to the guest's does not change (each
  /// access is checked; otherwise the process ends here).
  @Test(arguments: 0..<8)
  func randomQueuesAreHandled(seed: UInt64) {
    var random = Generator(state: seed &+ 1)
    for _ in 0..<400 {
      let size = [1, 2, 4, 8, 16][Int.random(in: 0..<5, using: &random)] as UInt32
      restart { $0.setUp(queue: 0, size: size) }
      driver.set(0x70, 15)
      for offset in stride(from: 0, to: 0x3000, by: 8) {
        var word = UInt64.random(in: 0 ... .max, using: &random)
        // Sometimes a plausible value.
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
    #expect(driver.standardError.values.count == 1, sourceLocation: location)
    #expect(
      driver.standardError.values.first?.contains(words) == true, "\(driver.standardError.values)",
      sourceLocation: location)
    #expect(driver.register(0x60) & 2 == 2, sourceLocation: location)
  }

  /// Resets the device and initializes it up to the configuration of queues.
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
