import CLinux
import Devices
import Foundation
import Platform
import Testing

struct BlockTests {
  let driver: Driver
  let path: String
  /// 16 sectors, each filled with its own number.
  static let content = (0..<16).flatMap { [UInt8](repeating: $0, count: 512) } as [UInt8]

  init() throws {
    driver = try Driver()
    path = FileManager.default.temporaryDirectory.path + "/swiftlet-disk-\(UUID().uuidString)"
    try Data(Self.content).write(to: URL(fileURLWithPath: path))
  }

  private func disk(readOnly: Bool = false, path: String? = nil) throws -> VirtioBlock {
    let standardError = driver.standardError
    return try VirtioBlock(
      path: path ?? self.path, isReadOnly: readOnly, serial: "swiftlet0", memory: driver.memory,
      interrupt: driver.interrupt, kernel: LinuxKernel(), complain: { standardError.add($0) })
  }

  private func attach(readOnly: Bool = false, features: UInt64 = 1 << 32) throws {
    driver.attach(try disk(readOnly: readOnly), features: features)
    try FileManager.default.removeItem(atPath: path)
  }

  private static func header(_ type: UInt32, _ sector: UInt64 = 0) -> [UInt8] {
    withUnsafeBytes(of: (type, UInt32(0), sector)) { Array($0) }
  }

  /// Makes a request as Linux does; returns the status byte, and the data that was read.
  private func perform(_ type: UInt32, sector: UInt64 = 0, write: [UInt8]? = nil, read: Int = 0) -> (UInt8, [UInt8]) {
    let data = driver.buffer(read)
    let status = driver.buffer([0xff])
    let before = driver.usedCount(0)
    driver.request(
      queue: 0, read: [Self.header(type, sector)] + (write.map { [$0] } ?? []),
      write: (read > 0 ? [(data, read)] : []) + [(status, 1)])
    (driver.device as! VirtioBlock).ready(.input)
    #expect(driver.usedCount(0) == before &+ 1)
    return (driver.content(status, 1)[0], driver.content(data, read))
  }

  @Test func readsReturnTheSectors() throws {
    try attach()
    #expect(driver.register(0x08) == 2)
    #expect(driver.transport.load(0x100, length: 8) == 16)
    let (status, data) = perform(0, sector: 3, read: 1024)
    #expect(status == 0)
    #expect(data == [UInt8](repeating: 3, count: 512) + [UInt8](repeating: 4, count: 512))
    #expect(driver.usedElement(0, queue: 0).written == 1025)
    #expect(driver.interrupt.pulses == 1)
  }

  @Test func writesPersist() throws {
    try attach()
    #expect(perform(1, sector: 15, write: [UInt8](repeating: 0xaa, count: 512)).0 == 0)
    #expect(perform(4).0 == 0)
    #expect(
      perform(0, sector: 14, read: 1024).1 == [UInt8](repeating: 14, count: 512) + [UInt8](repeating: 0xaa, count: 512))
  }

  @Test func aReadOnlyDiskIsNotWritten() throws {
    try attach(readOnly: true)
    driver.set(0x14, 0)
    #expect(driver.register(0x10) & 1 << 5 != 0)
    #expect(perform(1, sector: 0, write: [UInt8](repeating: 0xaa, count: 512)).0 == 1)
    #expect(perform(0, sector: 0, read: 512).1 == [UInt8](repeating: 0, count: 512))
  }

  @Test(
    arguments: [
      (16, 512), (15, 1024), (.max, 512), (.max / 512, 512), (1 << 55, 512), (0, 511), (0, 513), (0, 17 * 512),
    ] as [(UInt64, Int)])
  func requestsBeyondTheEndOrOfNoWholeSectorsFail(sector: UInt64, count: Int) throws {
    try attach()
    #expect(perform(0, sector: sector, read: count).0 == 1)
    #expect(perform(1, sector: sector, write: [UInt8](repeating: 1, count: count)).0 == 1)
    #expect(perform(0, sector: 0, read: 16 * 512).1 == Self.content)
    #expect(!driver.hasFailed)
  }

  @Test func reportsItsSerialNumberAndRejectsUnknownRequests() throws {
    try attach()
    let (status, name) = perform(8, read: 20)
    #expect(status == 0)
    #expect(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self) == "swiftlet0")
    #expect(perform(11).0 == 2)
    #expect(perform(.max).0 == 2)
  }

  /// The next driver, with a queue of its own.
  private func startAnew() {
    _ = driver.bytes(driver.table(0), 0x3000).initializeMemory(as: UInt8.self, repeating: 0)
    driver.attach(driver.device)
  }

  /// Buffers that overlap each other, the request's header, or the queue: the guest reads undefined data, and the next
  /// driver finds a working device.
  @Test func overlappingBuffersAreHandled() throws {
    try attach()
    let shared = driver.buffer(1024)
    for places in [
      [(shared, 512), (shared, 512)], [(shared, 512), (shared + 511, 512)], [(driver.table(0), 512)],
      [(driver.available(0), 512)], [(driver.used(0), 512)],
    ] {
      let status = driver.buffer([0xff])
      driver.request(queue: 0, read: [Self.header(0, 1)], write: places + [(status, 1)])
      (driver.device as! VirtioBlock).ready(.input)
      #expect(driver.content(status, 1)[0] == 0 || driver.hasFailed)
      startAnew()
      #expect(perform(0, sector: 3, read: 512).1 == [UInt8](repeating: 3, count: 512))
    }
    // The response overlaps the request.
    let header = driver.buffer(Self.header(0, 2))
    startAnew()
    driver.put(.init(address: header, count: 16, flags: Driver.next, next: 1), at: 0, queue: 0)
    driver.put(.init(address: header, count: 512, flags: Driver.next | Driver.write, next: 2), at: 1, queue: 0)
    driver.put(.init(address: header + 511, count: 1, flags: Driver.write), at: 2, queue: 0)
    driver.offer(0, queue: 0)
    driver.notify(0)
    (driver.device as! VirtioBlock).ready(.input)
    #expect(driver.content(header, 512) == [UInt8](repeating: 2, count: 511) + [0])
  }

  @Test func requestHeadersMayBeSplitAnywhere() throws {
    try attach()
    let header = Self.header(0, 5)
    let data = (driver.buffer(100), driver.buffer(412))
    let status = driver.buffer([0xff])
    driver.request(
      queue: 0, read: [Array(header[..<3]), [], Array(header[3..<9]), Array(header[9...])],
      write: [(data.0, 100), (data.1, 412), (status, 1)])
    (driver.device as! VirtioBlock).ready(.input)
    #expect(driver.content(status, 1) == [0])
    #expect(driver.content(data.0, 100) + driver.content(data.1, 412) == [UInt8](repeating: 5, count: 512))
  }

  /// A chain with the same memory in all descriptors is served in several turns of the I/O thread, which serves others
  /// in between; a driver that resets the device meanwhile gets no data.
  @Test func largeReadsAreServedInTurns() throws {
    #expect(truncate(path, 8 << 20) == 0)
    try attach()
    let device = driver.device as! VirtioBlock
    let (data, status) = (driver.buffer(256 << 10), driver.buffer([0xff]))
    func isSignalled() -> Bool { linux_can_read(device.event.number) }
    for isReset in [false, true] {
      startAnew()
      _ = linux_eventfd_read(device.event.number)
      let before = driver.usedCount(0)
      driver.request(
        queue: 0, read: [Self.header(0, 0)],
        write: [(UInt64, Int)](repeating: (data, 256 << 10), count: 13) + [(status, 1)])
      for _ in 0..<3 {
        device.ready(.input)
        #expect(isSignalled() && driver.usedCount(0) == before)
      }
      if isReset { startAnew() }
      device.ready(.input)
      #expect(!isSignalled())
      #expect(driver.usedCount(0) == (isReset ? 0 : before &+ 1))
      #expect(driver.content(status, 1) == [isReset ? 0xff : 0])
      driver.bytes(status, 1)[0] = 0xff
    }
    #expect(perform(0, sector: 3, read: 512).1 == [UInt8](repeating: 3, count: 512))
  }

  @Test func requestsWithoutHeaderOrResponseFail() throws {
    try attach()
    for (read, write) in [([[0, 0, 0]], 1), ([Self.header(0)], 0), ([], 1)] as [([[UInt8]], Int)] {
      driver.attach(driver.device)
      driver.offerCount(0, queue: 0)
      driver.request(queue: 0, read: read, write: write == 0 ? [] : [(driver.buffer(1), 1)])
      (driver.device as! VirtioBlock).ready(.input)
      #expect(driver.hasFailed)
    }
    #expect(driver.standardError.values.first?.contains("without space") == true)
  }

  @Test func aTruncatedFileFailsTheRequest() throws {
    driver.attach(try disk())
    #expect(truncate(path, 1024) == 0)
    #expect(perform(0, sector: 4, read: 512).0 == 1)
    #expect(perform(0, sector: 1, read: 512) == (0, [UInt8](repeating: 1, count: 512)))
    try FileManager.default.removeItem(atPath: path)
  }

  @Test func filesThatAreNotDisksAreRejected() throws {
    #expect(throws: DiskError.unreadable(.noEntry)) { try disk(path: path + "-none") }
    #expect(throws: DiskError.noDisk) { try disk(path: "/dev/null") }
    #expect(throws: DiskError.noDisk) { try disk(readOnly: true, path: "/tmp") }
    #expect(truncate(path, 511) == 0)
    #expect(throws: DiskError.empty) { try disk() }
    try FileManager.default.removeItem(atPath: path)
    // Opening one without a writer does not block.
    #expect(mkfifo(path, 0o600) == 0)
    #expect(throws: DiskError.noDisk) { try disk(readOnly: true) }
    #expect(throws: DiskError.noDisk) { try disk() }
    try FileManager.default.removeItem(atPath: path)
  }

  @Test func anIncompleteLastSectorIsReported() throws {
    #expect(truncate(path, 1600) == 0)
    try attach()
    #expect(driver.transport.load(0x100, length: 8) == 3)
    #expect(
      driver.standardError.values == ["\(path): the guest does not see its last 64 bytes, which are less than a sector"]
    )
  }

  @Test func aDiskIsWritableInOneVMOnly() throws {
    let first = try disk()
    #expect(throws: DiskError.inUse) { try disk() }
    #expect(throws: DiskError.inUse) { try disk(readOnly: true) }
    _ = first
    try FileManager.default.removeItem(atPath: path)
  }

  @Test func aDiskCanBeSharedForReading() throws {
    let first = try disk(readOnly: true)
    let second = try disk(readOnly: true)
    #expect(throws: DiskError.inUse) { try disk() }
    _ = (first, second)
    try FileManager.default.removeItem(atPath: path)
  }
}
