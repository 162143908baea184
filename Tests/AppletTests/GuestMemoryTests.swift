import Applet
import Machine
import Platform
import TestSupport
import Testing

struct GuestMemoryTests {
  // Text 0x80000000, constants 0x80001000, variables 0x80002000, device tree 0x80004000, heap 0x80005000, guard page
  // 0x800bf000, stack 0x800c0000, the monitor's pages 0x80100000.
  private func memory(_ kernel: any Kernel = LinuxKernel()) throws -> GuestMemory {
    let image = try image(ELFBuilder.applet(.arm64, code: [1, 2, 3, 4]).bytes())
    let layout = try SecureLayout(image: image.range, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 40)
    var memory = try GuestMemory(layout: layout, kernel: kernel)
    memory.load(image)
    return memory
  }

  private func refusal(
    _ memory: borrowing GuestMemory, _ start: UInt64, _ count: UInt64, _ access: Access
  ) throws -> GuestMemoryError? {
    let range = try #require(GuestRange(start: start, count: count))
    do throws(GuestMemoryError) {
      let given = try memory.withBytes(range, for: access) { $0.count }
      #expect(given == Int(count))
      return nil
    } catch { return error }
  }

  @Test func theRestOfASegmentIsZero() throws {
    let memory = try memory()
    #expect(memory.bytes(at: 0x8000_0040, count: 5).elementsEqual([1, 2, 3, 4, 0]))
    #expect(memory.bytes(at: 0x8000_2000, count: 9).elementsEqual("variables".utf8))
    #expect(memory.bytes(at: 0x8000_2009, count: 0x17f7).allSatisfy { $0 == 0 })
    #expect(
      memory.regions.map { "\($0.range.lowerBound) \($0.range.upperBound) \($0.access.rawValue) \($0.use)" } == [
        "\(0x8000_0000) \(0x8000_1000) 5 image", "\(0x8000_1000) \(0x8000_2000) 1 image",
        "\(0x8000_2000) \(0x8000_4000) 3 image", "\(0x8000_4000) \(0x8000_5000) 1 deviceTree",
        "\(0x8001_0000) \(0x8005_0000) 3 stack",
        "\(0x8006_b000) \(0x8012_5000) 3 heap",
      ])
  }

  @Test func accessibleMemoryIsReturnedToTheLastByte() throws {
    let memory = try memory()
    for (start, count, access) in [
      (0x8000_0000, 1, .read), (0x8000_0000, 4096, .read), (0x8000_0fff, 1, .execute), (0x8000_1000, 4096, .read),
      (0x8000_2000, 0x2000, .write), (0x8012_4fff, 1, .write), (0x8001_0000, 0x4_0000, .write),
      (0x8004_ffff, 1, .read), (0x8004_ffff, 1, .write), (0x8004_fff0, 16, .write),
      // Across adjacent regions: text and device tree, for reading.
      (0x8000_0000, 0x5000, .read), (0x8006_b000, 0xb_a000, .write), (0x8000_0ffc, 8, .read),
    ] as [(UInt64, UInt64, Access)] {
      #expect(try refusal(memory, start, count, access) == nil, "\(start) \(count)")
    }
  }

  @Test func inaccessibleMemoryIsRejected() throws {
    let memory = try memory()
    for (start, count, access, expected) in [
      // Outside: below, zero, guard page, monitor, far away, at the end of the address space.
      (0x7fff_ffff, 1, .read, .outside), (0x7fff_fff8, 16, .read, .outside), (0, 8, .read, .outside),
      (0x8000_f000, 1, .read, .outside), (0x8000_4fff, 2, .read, .outside), (0x8000_fff8, 16, .write, .outside),
      (0x8005_0000, 1, .read, .outside), (0x8004_ffff, 2, .read, .outside), (0x8004_fff1, 16, .write, .outside),
      (0x8005_1000, 8, .write, .outside), (0x8005_2000, 8, .write, .outside), (0x8006_aff8, 16, .write, .outside),
      (0x8012_5000, 1, .read, .outside), (0x8012_4fff, 2, .write, .outside), (1 << 40, 8, .read, .outside),
      (.max - 7, 7, .read, .outside), (0x8000_0000, 0x10_0000, .read, .outside),
      (0x8000_0000, 1 << 62, .read, .outside),
      // Inside, but without this access.
      (0x8000_0000, 8, .write, .access), (0x8000_1000, 8, .write, .access), (0x8000_1ff8, 16, .write, .access),
      (0x8000_4000, 8, .write, .access), (0x8000_3ff8, 16, .write, .access), (0x8000_4ff8, 16, .write, .access),
      (0x8000_1000, 8, .execute, .access), (0x800f_0000, 8, .execute, .access), (0x8000_0ff8, 16, .execute, .access),
      (0x8000_0000, 0x10_0000, .write, .access),
    ] as [(UInt64, UInt64, Access, GuestMemoryError)] {
      #expect(try refusal(memory, start, count, access) == expected, "\(start) \(count)")
    }
  }

  @Test func anEmptyBufferMayBeAnywhere() throws {
    let memory = try memory()
    for start in [0, 1, 0x8000_0000, 0x800b_f000, 0x8010_0000, 1 << 63, .max] as [UInt64] {
      #expect(try refusal(memory, start, 0, .write) == nil)
    }
  }

  @Test func aRangeThatWrapsIsRejected() {
    #expect(GuestRange(start: .max, count: 1) == nil)
    #expect(GuestRange(start: .max - 7, count: 8) == nil)
    #expect(GuestRange(start: 1, count: .max) == nil)
    #expect(GuestRange(start: .max - 7, count: 7)?.end == .max)
    #expect(GuestRange(start: 0, count: .max)?.end == .max)
    #expect(GuestRange(start: .max, count: 0)?.end == .max)
  }

  @Test func accessToEachByteFollowsTheRegions() throws {
    let memory = try memory()
    var random = SeededGenerator(seed: 7)
    for _ in 0..<20_000 {
      let start = UInt64.random(in: 0x7fff_e000..<0x8011_0000, using: &random)
      let count = UInt64.random(in: 1...0x3000, using: &random)
      let access: Access = [.read, .write, .execute].randomElement(using: &random)!
      // Not each byte, which would take long: results change at page boundaries.
      let isAllowed = stride(from: start / 4096 * 4096, to: start + count, by: 4096).allSatisfy { page in
        memory.regions.contains { $0.range.contains(page) && $0.access.isSuperset(of: access) }
      }
      let found = try refusal(memory, start, count, access)
      guard (found == nil) == isAllowed else {
        Issue.record("\(start) \(count) \(access.rawValue): \(found as Any)")
        return
      }
    }
  }

  @Test func memoryThatCannotBeMappedIsAnError() throws {
    let kernel = ScriptedKernel(.arm64)
    kernel.plan = FaultPlan(call: 0, errno: 12)
    #expect(throws: Errno.noMemory) { _ = try memory(kernel) }
    #expect(kernel.leaks == (0, 0))
    kernel.plan = nil
    do { _ = try memory(kernel) }
    #expect(kernel.leaks == (0, 0))
  }
}
