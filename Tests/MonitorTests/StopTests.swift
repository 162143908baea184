import AppletABI
import CLinux
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Stops and limits in each state of a context.
struct StopTests {
  private static func exit(_ guest: Guest) -> Int { guest.call(APPLET_CALL_EXIT, 0) }

  /// Stops a context some milliseconds after a guest's entry.
  private func stopSoon(_ fixture: Fixture, after entries: Int = 1) throws -> Platform.Thread {
    try Platform.Thread { [kernel = fixture.kernel, stopper = fixture.context.stopper] in
      kernel.waitForEntries(entries)
      usleep(20_000)
      stopper.stop()
    }
  }

  @Test(arguments: Host.all) func aStopBeforeTheRunStopsIt(host: Host) throws {
    let fixture = try Fixture(host, [Self.exit])
    fixture.context.stop()
    #expect(fixture.run() == .success(.stopped))
    #expect(fixture.kernel.cpus[0].entries == 0)
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func aLoopingGuestIsStoppedAndShowsItsPC(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin(pc: 0x8000_0048) }, Self.exit])
    let context = fixture.context
    let id = host.architecture == .arm64 ? ARM64.x(5) : RISCV64.x(5)
    fixture.kernel.cpus[0].setRegister(id, 0x1234)
    let thread = try stopSoon(fixture)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.pc == 0x8000_0048)
    #expect(try context.register(5) == 0x1234)
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  /// A guest that is interrupted while it saves its registers continues until the frame is complete, and then makes its
  /// call.
  @Test(arguments: Host.all) func aGuestInterruptedInTheShimShowsAllOfItsRegisters(host: Host) throws {
    let results = Notes<UInt64>()
    let fixture = try Fixture(
      host,
      [
        { $0.call(APPLET_CALL_YIELD) }, { $0.spin(pc: Fixture.end + (host.architecture == .arm64 ? 0x410 : 0x10)) },
        {
          $0.frame[5] = 0x55
          return $0.call(0x500, 1)
        },
        {
          results($0.frame[5])
          return $0.call(APPLET_CALL_EXIT, 0)
        },
      ])
    let context = fixture.context
    let pc = context.pc
    let thread = try stopSoon(fixture, after: 2)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(try context.register(5) == 0x55)
    #expect(context.a0 == 0x500)
    // The call is made later.
    #expect(context.pc == pc + 4)
    try context.setRegister(5, 0x66)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [0x66])
  }

  /// After each kind of exit the context can be examined and changed.
  @Test(arguments: Host.all) func anInterruptedEntryShowsTheGuestsPC(host: Host) throws {
    let resumed = Notes<UInt64>()
    let id = host.architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let fixture = try Fixture(
      host,
      [
        {
          $0.cpu.setRegister(id, 0x8000_0048)
          return -Int(EINTR)
        },
        {
          resumed($0.cpu.register(id))
          resumed($0.frame[5])
          return Self.exit($0)
        },
      ])
    fixture.kernel.cpus[0].setRegister(host.architecture == .arm64 ? ARM64.x(5) : RISCV64.x(5), 0x1234)
    #expect(try fixture.context.exec() == .interrupted)
    #expect(fixture.context.pc == 0x8000_0048)
    #expect(try fixture.context.register(5) == 0x1234)
    try fixture.context.setRegister(5, 0x77)
    #expect(try fixture.context.exec() == .call)
    // Through the shim, which loads the registers that were set.
    let start = host.architecture == .arm64 ? ARM64.shimResume : RISCV64.shimResume
    #expect(resumed.list == [Fixture.end + UInt64(start), 0x77])
  }

  @Test(arguments: Host.all) func aLimitHandlerCanChangeRegisters(host: Host) throws {
    let seen = Notes<UInt64>()
    let fixture = try Fixture(
      host,
      [
        { $0.spin(pc: 0x8000_0048) },
        {
          seen($0.frame[5])
          return Self.exit($0)
        },
      ])
    fixture.context.deadline = Fixture.deadlineAfterEntry
    fixture.context.limitHandler = { (context, _) in
      seen(context.pc)
      try? context.setRegister(5, 0x77)
      return 10_000_000_000
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list == [0x8000_0048, 0x77])
  }

  /// A handler runs another context: a stop that comes meanwhile is the outer one's still.
  @Test(arguments: Host.all, [true, false]) func aStopAmidAHandlersRunIsNotLost(host: Host, isByAnother: Bool) throws {
    let fixture = try Fixture(host, [{ $0.call(0x50) }, { $0.spin() }])
    let inner = try Fixture(host)
    inner.kernel.program = { [stopper = fixture.context.stopper] guest in
      if guest.entry == 0 {
        // The kick of a thread by itself takes another way.
        if isByAnother { try? Platform.Thread { stopper.stop() }.join() } else { stopper.stop() }
      }
      return guest.entry < 3 ? guest.call(APPLET_CALL_YIELD) : Self.exit(guest)
    }
    fixture.context.handler = { context in
      #expect(inner.run() == .success(.exited(status: 0)))
      context.ret(UInt64(0))
    }
    #expect(fixture.run() == .success(.stopped))
  }

  @Test(arguments: Host.all) func aGuestThatRepeatsACallIsStopped(host: Host) throws {
    let fixture = try Fixture(host)
    fixture.kernel.program = { $0.call(APPLET_CALL_YIELD) }
    let context = fixture.context
    let thread = try stopSoon(fixture)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.calls > 0)
  }

  @Test(arguments: Host.all) func aStoppedSleepIsResumed(host: Host) throws {
    let results = Notes<UInt64>()
    let fixture = try Fixture(host)
    fixture.kernel.program = { guest in
      // The next step depends on the applet's PC, as for a real one.
      if guest.pc == 0x8000_0040 {
        return guest.call(APPLET_CALL_SLEEP, guest.entry == 0 ? 3_600_000_000_000 : 1_000_000)
      }
      results(guest.result)
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    let thread = try stopSoon(fixture)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.pc == 0x8000_0040)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [0])
  }

  @Test(arguments: Host.all) func aStoppedReadIsRepeated(host: Host) throws {
    let feed = try Feed()
    let results = Notes<UInt64>()
    let fixture = try Fixture(host, input: feed.descriptor)
    fixture.kernel.program = { guest in
      if guest.pc == 0x8000_0040 { return guest.call(APPLET_CALL_READ, Fixture.heap, 100) }
      results(guest.result)
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    let thread = try stopSoon(fixture)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    feed.write("later")
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [5])
  }

  /// If a run is stopped, its pending requests are answered in the next run, each once.
  @Test(arguments: Host.all) func manyRequestsAreStoppedAndAnsweredOnce(host: Host) throws {
    let fixture = try Fixture(host)
    let context = fixture.context
    let requests = Array((1...9).map { #"{"method":"T.Do","params":[\#($0)],"id":1}"# }.joined().utf8)
    let served = Notes<Int64>()
    try context.server.register("T.Do") { (number: Int64) throws(RPCError) -> Int64 in
      served(number)
      if number % 3 == 0 { context.stop() }
      return number
    }
    fixture.kernel.program = { guest in
      if guest.pc == 0x8000_0040 {
        guest.store(requests, at: Fixture.heap)
        return guest.call(APPLET_CALL_RPC_REQUEST, Fixture.heap, UInt64(requests.count))
      }
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    #expect(fixture.run() == .success(.stopped))
    #expect(served.list == [1, 2, 3])
    #expect(fixture.run() == .success(.stopped))
    #expect(fixture.run() == .success(.stopped))
    #expect(served.list == Array(1...9))
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(served.list.count == 9)
  }

  @Test func aLargeRequestForRandomBytesIsStopped() throws {
    let host = Host.riscv64
    let kernel = ScriptedKernel(host.architecture)
    let context = try Fixture.context(host, kernel, memory: 2 << 30)
    let heap = context.memory.layout.heap.lowerBound
    kernel.program = { $0.call(APPLET_CALL_GETRANDOM, heap, 1 << 30) }
    context.deadline = Clock.monotonic + 20_000_000
    #expect(throws: ExecError.limit(.deadline)) { try context.run() }
    // It has not written the whole gigabyte, which would take seconds.
    #expect(context.memory.bytes(at: heap + 1 << 30 - 4096, count: 4096).allSatisfy { $0 == 0 })
    #expect(context.pc == 0x8000_0040)
  }

  @Test(arguments: Host.all) func aDeadlineEndsALoopingGuest(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin(pc: 0x8000_0048) }, Self.exit])
    let start = Clock.monotonic
    fixture.context.deadline = start + 300_000_000
    #expect(fixture.run() == .failure(.limit(.deadline)))
    #expect(Clock.monotonic - start >= 300_000_000)
    #expect(fixture.context.pc == 0x8000_0048)
    fixture.context.deadline = nil
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func aDeadlineEndsASleep(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_SLEEP, .max) }])
    fixture.context.deadline = Clock.monotonic + 20_000_000
    #expect(fixture.run() == .failure(.limit(.deadline)))
  }

  @Test(arguments: Host.all) func aDeadlineThatHasPassedEndsTheRunAtOnce(host: Host) throws {
    for deadline in [0, 1, Int64.min, Clock.monotonic - 1] {
      let fixture = try Fixture(host, [{ $0.spin() }])
      fixture.context.deadline = deadline
      #expect(fixture.run() == .failure(.limit(.deadline)))
    }
  }

  @Test(arguments: Host.all) func aDistantDeadlineHasNoEffect(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_SLEEP, 1_000_000) }, Self.exit])
    fixture.context.deadline = .max
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func budgetsOfCPUTimeAreEnforced(host: Host) throws {
    // A guest that uses CPU time, like one that loops.
    func busy(_ guest: Guest) -> Int {
      let page = UnsafeMutableRawPointer(guest.run)
      let end = Clock.monotonic + 20_000_000_000
      while page.load(fromByteOffset: 1, as: UInt8.self) == 0 { if Clock.monotonic > end { return -Int(ETIME) } }
      return -Int(EINTR)
    }
    let fixture = try Fixture(host)
    fixture.kernel.program = busy
    fixture.context.cpuBudget = 20_000_000
    #expect(fixture.run() == .failure(.limit(.cpuBudget)))
    #expect(fixture.context.cpuUsed >= 20_000_000)
    let second = try Fixture(host)
    second.kernel.program = busy
    second.context.callBudget = 20_000_000
    #expect(second.run() == .failure(.limit(.callBudget)))
  }

  @Test(arguments: Host.all) func aLimitHandlerExtendsALimit(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin() }, { $0.spin() }, Self.exit])
    let asked = Notes<Limit>()
    fixture.context.deadline = Clock.monotonic + 5_000_000
    fixture.context.limitHandler = { _, limit in
      asked(limit)
      return 5_000_000
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(asked.list.count >= 2 && asked.list.allSatisfy { $0 == .deadline })
    let greedy = try Fixture(host, [{ $0.spin() }])
    greedy.context.deadline = Clock.monotonic
    greedy.context.limitHandler = { _, _ in 0 }
    #expect(greedy.run() == .failure(.limit(.deadline)))
  }

  /// On riscv64 user mode can wait for an interrupt that never arrives: the run ends with an error, with or without a
  /// limit.
  @Test(arguments: [false, true]) func aWaitForAnInterruptEndsTheRun(isLimited: Bool) throws {
    let fixture = try Fixture(
      Host.riscv64,
      [
        { guest in
          guest.cpu.setRegister(RISCV64.pc, 0x8000_0048)
          // A sleeping guest uses almost no CPU time.
          while linux_immediate_exit(guest.run) == 0 { usleep(20_000) }
          return -Int(EINTR)
        }, Self.exit,
      ])
    fixture.context.memory.bytes(at: 0x8000_0044, count: 4).storeBytes(of: 0x1050_0073, as: UInt32.self)
    if isLimited { fixture.context.deadline = Fixture.deadlineAfterEntry }
    #expect(fixture.run() == .failure(.fault(.waitForInterrupt, pc: 0x8000_0044, address: nil)))
    #expect(fixture.context.pc == 0x8000_0048)
    // It can be run again, after the instruction.
    fixture.context.deadline = nil
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test func aStopEndsAWaitForAnInterrupt() throws {
    let fixture = try Fixture(Host.riscv64, [{ $0.spin(pc: 0x8000_0048) }])
    fixture.context.memory.bytes(at: 0x8000_0044, count: 4).storeBytes(of: 0x1050_0073, as: UInt32.self)
    let context = fixture.context
    let thread = try stopSoon(fixture)
    #expect(fixture.run() == .success(.stopped))
    thread.join()
  }

  @Test(arguments: Host.all) func otherThreadsCanWaitForTheEnd(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin() }])
    let context = fixture.context
    #expect(!context.waitUntilDone(deadline: Clock.monotonic + 1_000_000))
    let stopper = context.stopper
    // Only this thread uses it until it is joined, except for its stopper.
    nonisolated(unsafe) let runner = context
    let ended = try Platform.Thread { _ = try? runner.run() }
    #expect(!stopper.waitUntilDone(deadline: Clock.monotonic + 5_000_000))
    stopper.stop()
    #expect(stopper.waitUntilDone())
    ended.join()
  }

  @Test(.timeLimit(.minutes(1)), arguments: Host.all) func noStopIsLost(host: Host) throws {
    let fixture = try Fixture(host)
    fixture.kernel.program = { guest in
      switch guest.entry % 3 {
      case 0: guest.spin()
      case 1: guest.call(APPLET_CALL_SLEEP, .max)
      default: guest.call(APPLET_CALL_YIELD)
      }
    }
    let context = fixture.context
    for round in 0..<60 as Range<UInt32> {
      // At any time from before its start to any point of its run.
      let thread = try Platform.Thread { [stopper = context.stopper] in
        usleep(round * 20)
        stopper.stop()
      }
      #expect(fixture.run() == .success(.stopped))
      thread.join()
    }
  }
}
