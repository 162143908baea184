import AppletABI
import CLinux
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Stops and limits, wherever a context is.
struct StopTests {
  private static func exit(_ guest: Guest) -> Int { guest.call(APPLET_CALL_EXIT, 0) }

  /// Does something on another thread, some milliseconds from now.
  private func soon(_ body: @escaping @Sendable () -> Void) throws -> Platform.Thread {
    try Platform.Thread {
      usleep(20_000)
      body()
    }
  }

  @Test(arguments: Host.all) func aStopBeforeTheRunStopsIt(host: Host) throws {
    let fixture = try Fixture(host, [Self.exit])
    fixture.context.stop()
    #expect(fixture.run() == .success(.stopped))
    #expect(fixture.kernel.processors[0].entries == 0)
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func aSpinningGuestIsStoppedAndShowsWhereItWas(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin(pc: 0x8000_0048) }, Self.exit])
    let context = fixture.context
    let id = host.architecture == .arm64 ? ARM64.x(5) : RISCV64.x(5)
    fixture.kernel.processors[0].setRegister(id, 0x1234)
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.pc == 0x8000_0048)
    #expect(context.register(5) == 0x1234)
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  /// A guest that is amid storing its registers is let go on, so that the frame has all of them; and comes to its call again.
  @Test(arguments: Host.all) func aGuestAmidTheShimsStoresShowsAllOfItsRegisters(host: Host) throws {
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
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.register(5) == 0x55)
    #expect(context.a0 == 0x500)
    // The call is still to be made.
    #expect(context.pc == pc + 4)
    context.setRegister(5, 0x66)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [0x66])
  }

  /// What ends an entry may be looked at, and the context changed.
  @Test(arguments: Host.all) func anInterruptedEntryShowsWhereTheGuestWas(host: Host) throws {
    let resumed = Notes<UInt64>()
    let id = host.architecture == .arm64 ? ARM64.pc : RISCV64.pc
    let fixture = try Fixture(
      host,
      [
        {
          $0.processor.setRegister(id, 0x8000_0048)
          return -Int(EINTR)
        },
        {
          resumed($0.processor.register(id))
          resumed($0.frame[5])
          return Self.exit($0)
        },
      ])
    fixture.kernel.processors[0].setRegister(host.architecture == .arm64 ? ARM64.x(5) : RISCV64.x(5), 0x1234)
    #expect(try fixture.context.exec() == .interrupted)
    #expect(fixture.context.pc == 0x8000_0048)
    #expect(fixture.context.register(5) == 0x1234)
    fixture.context.setRegister(5, 0x77)
    #expect(try fixture.context.exec() == .call)
    // Through the shim, which loads what was set.
    let start = host.architecture == .arm64 ? ARM64.shimResume : RISCV64.shimResume
    #expect(resumed.list == [Fixture.end + UInt64(start), 0x77])
  }

  @Test(arguments: Host.all) func aLimitHandlerChangesWhatTheGuestGoesOnWith(host: Host) throws {
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
    fixture.context.deadline = Clock.monotonic + 5_000_000
    fixture.context.limitHandler = { (context, _) in
      seen(context.pc)
      context.setRegister(5, 0x77)
      return 10_000_000_000
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list == [0x8000_0048, 0x77])
  }

  @Test(arguments: Host.all) func aGuestThatCallsWithoutEndIsStopped(host: Host) throws {
    let fixture = try Fixture(host)
    fixture.kernel.program = { $0.call(APPLET_CALL_YIELD) }
    let context = fixture.context
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.calls > 0)
  }

  @Test(arguments: Host.all) func aSleepIsStoppedAndSleptAgain(host: Host) throws {
    let results = Notes<UInt64>()
    let fixture = try Fixture(host)
    fixture.kernel.program = { guest in
      // Where the applet stands decides what it does next, as it would for a real one.
      if guest.pc == 0x8000_0040 {
        return guest.call(APPLET_CALL_SLEEP, guest.entry == 0 ? 3_600_000_000_000 : 1_000_000)
      }
      results(guest.result)
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    #expect(context.pc == 0x8000_0040)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [0])
  }

  @Test(arguments: Host.all) func aReadIsStoppedAndReadAgain(host: Host) throws {
    let feed = try Feed()
    let results = Notes<UInt64>()
    let fixture = try Fixture(host, input: feed.descriptor)
    fixture.kernel.program = { guest in
      if guest.pc == 0x8000_0040 { return guest.call(APPLET_CALL_READ, Fixture.heap, 100) }
      results(guest.result)
      return guest.call(APPLET_CALL_EXIT, 0)
    }
    let context = fixture.context
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
    feed.write("later")
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [5])
  }

  /// Of many requests at once the rest waits for the next run, and none is answered twice.
  @Test(arguments: Host.all) func manyRequestsAreStoppedAndAnsweredOnce(host: Host) throws {
    let fixture = try Fixture(host)
    let context = fixture.context
    let requests = Array((1...9).map { #"{"method":"T.Do","params":[\#($0)],"id":1}"# }.joined().utf8)
    let served = Notes<Int64>()
    context.server.register("T.Do") { (number: Int64) throws(RPCError) -> Int64 in
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
    let host = Host.all[2]
    let kernel = ScriptedKernel(host.architecture)
    let context = try Fixture.context(host, kernel, memory: 2 << 30)
    let heap = context.memory.layout.heap.lowerBound
    kernel.program = { $0.call(APPLET_CALL_GETRANDOM, heap, 1 << 30) }
    context.deadline = Clock.monotonic + 20_000_000
    #expect(throws: ExecError.limit(.deadline)) { try context.run() }
    // It has not come to the end of the gigabyte, which takes seconds.
    #expect(context.memory.bytes(at: heap + 1 << 30 - 4096, count: 4096).allSatisfy { $0 == 0 })
    #expect(context.pc == 0x8000_0040)
  }

  @Test(arguments: Host.all) func aDeadlineEndsASpinningGuest(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin(pc: 0x8000_0048) }, Self.exit])
    let start = Clock.monotonic
    fixture.context.deadline = start + 20_000_000
    #expect(fixture.run() == .failure(.limit(.deadline)))
    #expect(Clock.monotonic - start >= 20_000_000)
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

  @Test(arguments: Host.all) func aDeadlineFarAwayIsNone(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_SLEEP, 1_000_000) }, Self.exit])
    fixture.context.deadline = .max
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func budgetsOfProcessorTimeAreKept(host: Host) throws {
    // A guest that uses the processor, as a spinning one does.
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

  @Test(arguments: Host.all) func aLimitHandlerGivesMore(host: Host) throws {
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

  /// riscv64 lets user mode wait for an interrupt that never comes: with a limit or without, the run ends and says so.
  @Test(arguments: [false, true]) func aWaitForAnInterruptEndsTheRun(isLimited: Bool) throws {
    let fixture = try Fixture(
      Host.all[2],
      [
        { guest in
          guest.processor.setRegister(RISCV64.pc, 0x8000_0048)
          // One that sleeps uses next to no processor time.
          while linux_immediate_exit(guest.run) == 0 { usleep(20_000) }
          return -Int(EINTR)
        }, Self.exit,
      ])
    fixture.context.memory.bytes(at: 0x8000_0044, count: 4).storeBytes(of: 0x1050_0073, as: UInt32.self)
    if isLimited { fixture.context.deadline = Clock.monotonic + 5_000_000 }
    #expect(fixture.run() == .failure(.fault(.waitForInterrupt, pc: 0x8000_0044, address: nil)))
    #expect(fixture.context.pc == 0x8000_0048)
    // It can be run on, behind the instruction.
    fixture.context.deadline = nil
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test func aStopOfAWaitForAnInterruptIsAStop() throws {
    let fixture = try Fixture(Host.all[2], [{ $0.spin(pc: 0x8000_0048) }])
    fixture.context.memory.bytes(at: 0x8000_0044, count: 4).storeBytes(of: 0x1050_0073, as: UInt32.self)
    let context = fixture.context
    let thread = try soon { context.stop() }
    #expect(fixture.run() == .success(.stopped))
    thread.join()
  }

  @Test(arguments: Host.all) func othersCanWaitForTheEnd(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.spin() }])
    let context = fixture.context
    #expect(!context.waitUntilDone(deadline: Clock.monotonic + 1_000_000))
    let ended = try Platform.Thread { _ = try? context.run() }
    #expect(!context.waitUntilDone(deadline: Clock.monotonic + 5_000_000))
    context.stop()
    #expect(context.waitUntilDone())
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
      // From before its beginning to amid whatever it does.
      let stopper = try Platform.Thread {
        usleep(round * 20)
        context.stop()
      }
      #expect(fixture.run() == .success(.stopped))
      stopper.join()
    }
  }
}
