import CLinux
import Platform
import Synchronization
import TestSupport
import Testing

struct ResourceTests {
  private let kernel = ScriptedKernel(.riscv64)

  @Test func aDescriptorIsClosedOnce() throws {
    do {
      let first = try OwnedFD(opening: "/dev/null", kernel: kernel)
      #expect(kernel.leaks.descriptors == 1)
      let moved = consume first
      #expect(moved.number >= 0)
    }
    #expect(kernel.leaks.descriptors == 0)
    #expect(kernel.violations == [])
  }

  @Test func descriptorsAreNotInherited() throws {
    let file = try OwnedFD(opening: "/dev/null", kernel: LinuxKernel())
    let information = try FileContents(
      streaming: "/proc/self/fdinfo/\(file.number)", limit: 4096, kernel: LinuxKernel())
    let lines = String(decoding: information.bytes, as: UTF8.self).split(separator: "\n")
    let flags = lines.first { $0.hasPrefix("flags:") }?.split(separator: "\t").last.flatMap { Int32($0, radix: 8) }
    #expect(try #require(flags) & O_CLOEXEC != 0)
  }

  /// Another process may have made a shared terminal non-blocking.
  @Test func allBytesAreWrittenToADescriptorThatDoesNotBlock() throws {
    var ends: (Int32, Int32) = (-1, -1)
    try #require(linux_pipe(&ends.0, &ends.1) == 0)
    let shared = Int32(linux_open("/proc/self/fd/\(ends.1)", O_WRONLY | O_NONBLOCK, 0))
    defer { for end in [ends.0, ends.1, shared] { _ = linux_close(end) } }
    let bytes = [UInt8](repeating: 0x61, count: 1 << 18)
    let reader = try Thread { [end = ends.0] in
      var buffer = [UInt8](repeating: 0, count: 1 << 12)
      var left = 1 << 18
      while left > 0 {
        left -= max(linux_read(end, &buffer, buffer.count), 0)
      }
    }
    try writeAll(bytes, to: shared)
    reader.join()
  }

  @Test func aMappingIsZeroedWritableAndUnmapped() throws {
    do {
      let mapping = try Mapping(anonymous: 3 * 4096, kernel: kernel)
      #expect(mapping.bytes.allSatisfy { $0 == 0 })
      mapping.bytes[3 * 4096 - 1] = 1
      #expect(UInt(bitPattern: mapping.start) % 4096 == 0)
      #expect(kernel.leaks.mappings == 1)
    }
    #expect(kernel.leaks.mappings == 0)
  }

  @Test func anImpossibleMappingIsAnError() {
    #expect(throws: Errno.noMemory) { _ = try Mapping(anonymous: 1 << 60, kernel: LinuxKernel()) }
    #expect(throws: Errno.invalid) { _ = try Mapping(anonymous: 0, kernel: LinuxKernel()) }
  }

  @Test func copiesOfMappingsAreEqualPageByPage() throws {
    let size = 1100 * 4096
    let source = try Mapping(anonymous: size, hugePages: false, kernel: kernel)
    let target = try Mapping(anonymous: size, hugePages: false, kernel: kernel)
    for page in stride(from: 0, to: 1100, by: 7) {
      source.bytes[page * 4096 + page] = UInt8(truncatingIfNeeded: page) | 1
    }
    // Pages that only the target has must be zeroed.
    for page in stride(from: 0, to: 1100, by: 5) { target.bytes[page * 4096] = 0xff }
    target.copyContents(of: source)
    #expect(memcmp(source.start, target.start, size) == 0)
  }
}

struct ThreadTests {
  @Test func aThreadRunsItsBodyOnce() throws {
    let shared = Shared()
    let thread = try Thread { shared.count.add(1, ordering: .relaxed) }
    thread.join()
    thread.join()
    #expect(shared.count.load(ordering: .relaxed) == 1)
  }

  @Test func tooSmallAStackIsAnError() {
    #expect(throws: Errno.invalid) { _ = try Thread(stackSize: 100) {} }
  }

  @Test func aLockExcludesAndWakesThreads() throws {
    let shared = Shared()
    let threads = try (0..<4).map { _ in
      try Thread {
        for _ in 0..<1000 {
          shared.lock.withLock {
            let seen = shared.count.load(ordering: .relaxed)
            shared.count.store(seen + 1, ordering: .relaxed)
            shared.lock.wakeAll()
          }
        }
      }
    }
    shared.lock.withLock {
      while shared.count.load(ordering: .relaxed) < 4000 { shared.lock.wait() }
    }
    for thread in threads { thread.join() }
    #expect(shared.count.load(ordering: .relaxed) == 4000)
  }

  @Test func aTimedWaitEnds() {
    let lock = Lock()
    let start = Clock.monotonic
    lock.withLock { lock.wait(until: start + 20_000_000) }
    #expect(Clock.monotonic - start >= 20_000_000)
  }

  private final class Shared: Sendable {
    let count = Atomic<Int>(0)
    let lock = Lock()
  }
}

struct KickTests {
  /// Waits, on the thread that is kicked, until a kick has set `immediate_exit` in the run page.
  private func waitForKick(_ kick: (borrowing KickTimer) throws -> Void, _ kind: KickTimer.Kind) throws -> Int64 {
    #expect(linux_kick_install() == 0)
    // Tests run on libdispatch's threads, which block all signals.
    let wasBlocked = linux_kick_unblock()
    defer { if wasBlocked != 0 { linux_kick_block() } }
    let run = UnsafeMutablePointer<kvm_run>.allocate(capacity: 1)
    run.initialize(to: kvm_run())
    defer { run.deallocate() }
    linux_kick_target(run)
    defer { linux_kick_target(nil) }
    let timer = try KickTimer(kind)
    let start = Clock.monotonic
    try kick(timer)
    let page = UnsafeMutableRawPointer(run)
    while page.load(fromByteOffset: 1, as: UInt8.self) == 0 {
      try #require(Clock.monotonic - start < 20_000_000_000, "no kick came")
      if kind == .wall { usleep(100_000) }
    }
    return Clock.monotonic - start
  }

  @Test func aTimerKicksItsThread() throws {
    #expect(try waitForKick({ try $0.set(nanoseconds: 5_000_000) }, .wall) >= 5_000_000)
  }

  @Test func aCPUTimerCountsTheThreadsTime() throws {
    #expect(try waitForKick({ try $0.set(nanoseconds: 5_000_000) }, .cpu) >= 4_000_000)
  }

  @Test func anExpiredTimerKicksAtOnce() throws {
    _ = try waitForKick({ try $0.set(nanoseconds: -7) }, .wall)
  }

  @Test func aKickWithoutARunPageIsHarmless() {
    #expect(linux_kick_install() == 0)
    linux_kick_target(nil)
    #expect(linux_kick(linux_thread_id()) == 0)
  }
}
