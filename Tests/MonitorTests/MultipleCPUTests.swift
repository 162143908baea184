import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Programs with several CPUs: a CPU that waits blocks neither the others nor the end of the run.
struct MultipleCPUTests {
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) }

  /// A program whose second CPU endlessly writes lines without a reader, while the first does something else.
  private func writing(_ architecture: Architecture, _ first: @escaping (Guest) -> Int) throws -> Program {
    let program = try Program(architecture, cpus: 2)
    let heap = program.start(of: .heap)
    let last = Notes<Int64>()
    last(0)
    let lock = Lock()
    program.kernel.program = { guest in
      if guest.cpu.number == 0 {
        // Until the writer is blocked.
        while guest.entry == 0 {
          let before = lock.withLock { last.list[0] }
          usleep(30_000)
          if before > 0, before == lock.withLock({ last.list[0] }) { break }
        }
        return first(guest)
      }
      lock.withLock { last.list[0] = Clock.monotonic }
      guest.bytes(at: heap, count: 4096).initializeMemory(as: UInt8.self, repeating: 0x0a)
      return guest.systemCall(APPLET_CALL_WRITE, heap, 4096)
    }
    return program
  }

  @Test(arguments: both) func aStalledReaderDelaysNeitherLimitsNorStops(architecture: Architecture) throws {
    let program = try writing(architecture) { $0.spin() }
    program.context.deadline = Fixture.deadlineAfterEntry
    #expect(program.run() == .failure(.limit(.deadline)))
    program.context.deadline = nil
    let thread = try Thread { [stopper = program.context.stopper] in
      usleep(100_000)
      stopper.stop()
    }
    #expect(program.run() == .success(.stopped))
    thread.join()
  }

  @Test(arguments: both) func aStalledReaderBlocksNoOtherCPU(architecture: Architecture) throws {
    let program = try writing(architecture) {
      $0.entry == 0 ? $0.systemCall(APPLET_CALL_NANOTIME) : Self.exit($0)
    }
    #expect(program.run() == .success(.exited(status: 3)))
  }

  @Test(arguments: both) func aLimitEndsAWaitForAnotherWriter(architecture: Architecture) throws {
    let program = try writing(architecture) { $0.systemCall(APPLET_CALL_PUT_CHARACTER, 0x41) }
    program.context.deadline = Fixture.deadlineAfterEntry
    #expect(program.run() == .failure(.limit(.deadline)))
  }

  /// Output of two CPUs consists of complete lines of each.
  @Test(arguments: both) func linesOfTwoWritersStayWhole(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    let heap = program.start(of: .heap)
    let isDone = Flag()
    program.kernel.program = { guest in
      let number = guest.cpu.number
      guard guest.entry < 4 else {
        if number == 1 {
          isDone.set()
          return guest.spin()
        }
        isDone.wait()
        return Self.exit(guest)
      }
      let at = heap + UInt64(number * 64)
      guest.store([UInt8](repeating: 0x61 + UInt8(number), count: 20) + [0x0a], at: at)
      return guest.systemCall(APPLET_CALL_WRITE, at, 21)
    }
    #expect(program.run() == .success(.exited(status: 3)))
    let lines = program.output.pieces()
    #expect(lines.count == 8 && lines.allSatisfy { $0.utf8.count == 21 && Set($0.utf8).count == 2 }, "\(lines)")
  }

  // MARK: Processor time

  /// Uses a CPU until it is kicked.
  private static func burn(_ guest: Guest) -> Int {
    let end = Clock.monotonic + 20_000_000_000
    while linux_immediate_exit(guest.run) == 0, Clock.monotonic < end {}
    return -Int(EINTR)
  }

  @Test(arguments: both) func aBudgetCountsAllCPUs(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    program.kernel.program = { $0.cpu.number == 1 ? Self.burn($0) : $0.spin() }
    program.context.cpuBudget = 50_000_000
    #expect(program.run() == .failure(.limit(.cpuBudget)))
    let used = program.context.cpuUsed
    #expect(used >= 50_000_000)
    // The CPU time of the first run is not counted again.
    program.context.cpuBudget = used + 30_000_000
    #expect(program.run() == .failure(.limit(.cpuBudget)))
    #expect(program.context.cpuUsed >= used + 30_000_000)
    program.context.cpuBudget = nil
    program.context.callBudget = 30_000_000
    #expect(program.run() == .failure(.limit(.callBudget)))
  }

  // MARK: Kicks that come too early

  @Test(arguments: both) func aCallOfAnotherCPUClearsNoKick(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    let (isKicked, hasSlept) = (Flag(), Flag())
    let results = Notes<Bool>()
    program.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (0, 0):
        linux_set_immediate_exit(guest.run, 1)
        isKicked.set()
        hasSlept.wait()
        results(linux_immediate_exit(guest.run) != 0)
        return -Int(EINTR)
      case (0, _): return Self.exit(guest)
      case (_, 0):
        isKicked.wait()
        return guest.systemCall(APPLET_CALL_SLEEP, 1_000_000)
      default:
        hasSlept.set()
        return guest.spin()
      }
    }
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [true])
  }

  /// A CPU that is kicked just before it waits in a system call of its own.
  private func lost(_ architecture: Architecture, isFirst: Bool) throws {
    let program = try Program(architecture, cpus: 2)
    let results = Notes<Bool>()
    program.kernel.program = { guest in
      guard (guest.cpu.number == 0) == isFirst else {
        program.kernel.waitForEntries(of: isFirst ? 0 : 1)
        usleep(30_000)
        return Self.exit(guest)
      }
      _ = guest.spin()
      results(linux_poll(nil, 0, 10_000) < 0)
      return -Int(EINTR)
    }
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [true])
  }

  @Test(arguments: both) func theFirstCPUIsKickedUntilItReturns(architecture: Architecture) throws {
    try lost(architecture, isFirst: true)
  }

  @Test(arguments: both) func theOtherCPUsAreKickedUntilTheyReturn(architecture: Architecture) throws {
    try lost(architecture, isFirst: false)
  }
}
