import AppletABI
import CLinux
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// The calls of a secure context, made by a scripted guest.
struct CallTests {
  @Test(arguments: Host.all, [(0, 0), (3, 3), (255, 255), (256, 0), (.max, 255)] as [(UInt64, UInt8)])
  func exitReturnsTheLowBitsOfItsStatus(host: Host, status: (UInt64, UInt8)) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_EXIT_STATUS, status.0) }])
    #expect(fixture.run() == .success(.exited(status: status.1)))
    #expect(fixture.context.exitStatus == status.1)
    // An applet that has exited does not run again.
    #expect(fixture.run() == .success(.exited(status: status.1)))
    #expect(fixture.kernel.cpus[0].entries == 1)
  }

  @Test(arguments: Host.all) func callsAreCountedByName(host: Host) throws {
    let calls = [
      APPLET_CALL_NANOTIME, APPLET_CALL_PUT_CHARACTER, APPLET_CALL_NANOTIME, APPLET_CALL_YIELD, APPLET_CALL_MONOTONIC,
      APPLET_CALL_WRITE, APPLET_CALL_NANOTIME,
    ]
    var steps: [(Guest) -> Int] = calls.map { call in { $0.call(call, 0, 0) } }
    steps.append { $0.call(APPLET_CALL_EXIT, 0) }
    let fixture = try Fixture(host, steps)
    #expect(fixture.run() == .success(.exited(status: 0)))
    let counts = fixture.context.callCounts.named
    #expect(counts.map { $0.name.description } == ["exit", "put_character", "nanotime", "write", "yield", "monotonic"])
    #expect(counts.map { $0.count } == [1, 1, 3, 1, 1, 1])
    #expect(fixture.context.calls == 8)
  }

  @Test(arguments: Host.all) func theNextCallsAreMeasured(host: Host) throws {
    let latency = CallLatency()
    var steps: [(Guest) -> Int] = [
      { $0.call(APPLET_CALL_YIELD) }, { $0.call(APPLET_CALL_SLEEP, 2_000_000) }, { $0.call(APPLET_CALL_NANOTIME) },
    ]
    steps += [{ $0.call(APPLET_CALL_YIELD) }, { $0.call(APPLET_CALL_EXIT) }]
    let fixture = try Fixture(host, steps)
    latency.measure(3, of: fixture.context)
    // Asked again, it measures the next ones, and not twice.
    latency.measure(3, of: fixture.context)
    #expect(fixture.run() == .success(.exited(status: 0)))
    let named = latency.named
    func count(_ histogram: CallLatency.Histogram, _ buckets: Range<Int>) -> UInt64 {
      buckets.reduce(0) { $0 + histogram.buckets[$1] }
    }
    #expect(named.map { $0.name.description } == ["nanotime", "sleep", "yield"])
    #expect(named.map { count($0.histogram, 0..<12) } == [1, 1, 1])
    // 2 ms are more than 1024 microseconds.
    #expect(count(named[1].histogram, 6..<12) == 1 && named[1].histogram.sum >= 2_000_000)
    #expect(fixture.context.callCounts.named.map { $0.count } == [1, 1, 1, 2])
    #expect(fixture.context.handler == nil)
    // A user's handler stays.
    fixture.context.handler = { context throws(ExecError) in try secureHandler(context) }
    latency.measure(3, of: fixture.context)
    #expect(latency.named.count == 3)
  }

  @Test(arguments: Host.all) func otherCallsAreCountedTogether(host: Host) throws {
    // An undefined one, and those of a handler.
    let undefined = try Fixture(host, [{ $0.call(0x106 + 0x1000) }])
    _ = undefined.run()
    let handled = try Fixture(host, [{ $0.call(APPLET_CALL_YIELD) }, { $0.call(APPLET_CALL_EXIT) }])
    handled.context.handler = { context throws(ExecError) in try secureHandler(context) }
    #expect(handled.run() == .success(.exited(status: 0)))
    for (fixture, count) in [(undefined, 1), (handled, 2)] {
      let counts = fixture.context.callCounts.named
      #expect(counts.count == 1 && counts[0].name.description == "other" && counts[0].count == count)
      #expect(fixture.context.calls == count)
    }
  }

  @Test(arguments: Host.all) func gotEEsExitHasNoStatus(host: Host) throws {
    // An optimized applet leaves there what it printed last.
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_EXIT, 10, 11) }])
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  /// riscv64: SBI's functions, whose first argument is where an applet's call number would be. A legacy one is not distinguished.
  @Test(arguments: [0x4442_434e, 0x10, 7] as [UInt64], [0x7777, UInt64(APPLET_CALL_GETRANDOM)])
  func aCallOfSystemModeHasAHint(id: UInt64, argument: UInt64) throws {
    let fixture = try Fixture(
      .riscv64,
      [
        { guest in
          guest.frame[17] = id
          return guest.call(argument, 0x10, 16)
        }
      ])
    guard case .failure(let error) = fixture.run() else {
      Issue.record("no failure")
      return
    }
    let text = fixture.context.description(of: error)
    #expect(text.hasSuffix(": a program for system mode needs --non-secure") == (id != 7), "\(text)")
  }

  @Test(arguments: Host.all) func charactersAreWrittenInLines(host: Host) throws {
    let text = Array("one\ntwo\n\nthree".utf8)
    var steps: [(Guest) -> Int] = text.map { byte in { $0.call(APPLET_CALL_PUT_CHARACTER, 0xabcd_ef00 | UInt64(byte)) }
    }
    steps.append { $0.call(APPLET_CALL_EXIT, 0) }
    let fixture = try Fixture(host, steps)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(fixture.output.pieces() == ["one\n", "two\n", "\n", "three"])
  }

  @Test(arguments: Host.all) func completeLinesAreWritten(host: Host) throws {
    let results = Notes<UInt64>()
    func write(_ text: String) -> (Guest) -> Int {
      { guest in
        results(guest.result)
        guest.store(Array(text.utf8), at: Fixture.variables)
        return guest.call(APPLET_CALL_WRITE, Fixture.variables, UInt64(text.utf8.count))
      }
    }
    let fixture = try Fixture(
      host,
      [
        write("a\nb\nc"), write("d"), write(""), write("\n"),
        { guest in
          results(guest.result); return guest.call(0, 0)
        },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(fixture.output.pieces() == ["a\nb\n", "cd\n"])
    #expect(results.list.dropFirst() == [5, 1, 0, 1])
  }

  @Test(arguments: Host.all) func outputMayComeFromAnyReadableMemory(host: Host) throws {
    let fixture = try Fixture(
      host,
      [
        // Constants and variables; the last byte of memory.
        { $0.call(APPLET_CALL_WRITE, Fixture.constants, 9) }, { $0.call(APPLET_CALL_WRITE, Fixture.variables, 9) },
        { $0.call(APPLET_CALL_WRITE, Fixture.end - 1, 1) }, { $0.call(APPLET_CALL_WRITE, Fixture.text, 1) },
        { $0.call(0, 0) },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(fixture.output.pieces() == ["constantsvariables\0\0"])
  }

  @Test(arguments: Host.all) func readReturnsAvailableInputAndThenTheEnd(host: Host) throws {
    let feed = try Feed("hello", isEnded: true)
    let results = Notes<UInt64>()
    let fixture = try Fixture(
      host, input: feed.descriptor,
      [
        { $0.call(APPLET_CALL_PUT_CHARACTER, 0x3e) },
        { $0.call(APPLET_CALL_READ, Fixture.variables, 3) },
        { guest in
          results(guest.result); return guest.call(APPLET_CALL_READ, Fixture.variables + 3, 100)
        },
        { guest in
          results(guest.result); return guest.call(APPLET_CALL_READ, Fixture.variables, 100)
        },
        { guest in
          results(guest.result); return guest.call(APPLET_CALL_READ, 0, 0)
        },
        { guest in
          results(guest.result); return guest.call(0, 0)
        },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [3, 2, 0, 0])
    #expect(fixture.bytes(at: Fixture.variables, count: 5) == Array("hello".utf8))
    // A prompt is written before the wait for input.
    #expect(fixture.output.pieces() == [">"])
  }

  @Test(arguments: Host.all) func readWithoutAnInputEndsTheRun(host: Host) throws {
    // A directory can be opened and polled, but not read.
    let directory = Int32(linux_open("/", O_RDONLY, 0))
    defer { _ = linux_close(directory) }
    let fixture = try Fixture(host, input: directory, [{ $0.call(APPLET_CALL_READ, Fixture.variables, 8) }])
    #expect(fixture.run() == .failure(.input(.isDirectory)))
  }

  @Test(arguments: Host.all) func randomBytesFillTheirBufferAndNothingElse(host: Host) throws {
    let (start, size) = (Fixture.variables + 100, 5000)
    let fixture = try Fixture(
      host,
      [
        { $0.call(APPLET_CALL_GETRANDOM, start, UInt64(size)) }, { $0.call(APPLET_CALL_GETRANDOM, 0, 0) },
        { $0.call(0, 0) },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    let bytes = fixture.bytes(at: start, count: size)
    // About 20 of 5000 are expected to be zero.
    #expect(bytes.count { $0 == 0 } < 100)
    #expect(fixture.bytes(at: start - 80, count: 80).allSatisfy { $0 == 0 })
    #expect(fixture.bytes(at: start + UInt64(size), count: 80).allSatisfy { $0 == 0 })
  }

  @Test(arguments: Host.all) func theTimeOfDayIsTheHostsAndTheMonotonicClocks(host: Host) throws {
    let before = Clock.monotonic &+ Clock.realtimeOffset
    let times = Notes<Int64>()
    func noting(_ call: Int32) -> (Guest) -> Int {
      { guest in
        times(Int64(bitPattern: guest.result))
        return guest.call(call, 0)
      }
    }
    let fixture = try Fixture(
      host,
      [
        { $0.call(APPLET_CALL_NANOTIME) }, noting(APPLET_CALL_MONOTONIC), noting(APPLET_CALL_NANOTIME),
        noting(APPLET_CALL_EXIT),
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    let offset = fixture.context.clockOffset
    // The host's clock may be set meanwhile, but not by as much as this.
    #expect(abs(times.list[0] - before) < 3_600_000_000_000)
    #expect(times.list[0] <= times.list[1] + offset && times.list[1] + offset <= times.list[2])
    // The device tree has the same offset.
    let tree = fixture.context.deviceTree
    let bytes = withUnsafeBytes(of: offset.bigEndian) { Array($0) }
    #expect(tree.indices.contains { tree[$0...].starts(with: bytes) })
  }

  @Test(arguments: Host.all) func theMonotonicClockIsTheHosts(host: Host) throws {
    let times = Notes<UInt64>()
    let fixture = try Fixture(
      host,
      [
        { $0.call(APPLET_CALL_MONOTONIC) },
        { guest in
          times(guest.result); return guest.call(APPLET_CALL_SLEEP, 3_000_000)
        },
        { guest in
          times(guest.result); return guest.call(APPLET_CALL_MONOTONIC)
        },
        { guest in
          times(guest.result); return guest.call(0, 0)
        },
      ])
    let before = Clock.monotonic
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(times.list[0] >= UInt64(before) && times.list[2] <= UInt64(Clock.monotonic))
    #expect(times.list[2] - times.list[0] >= 3_000_000)
    #expect(times.list[1] == 0)
  }

  @Test(arguments: Host.all) func yieldReturns(host: Host) throws {
    let results = Notes<UInt64>()
    let fixture = try Fixture(
      host,
      [
        { $0.call(APPLET_CALL_YIELD) },
        { guest in
          results(guest.result); return guest.call(0, 0)
        },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(results.list == [0])
  }

  @Test(arguments: Host.all) func regionsDescribeTheMemory(host: Host) throws {
    let seen = Notes<[UInt64]>()
    let results = Notes<UInt64>()
    func ask(_ index: UInt64) -> (Guest) -> Int {
      { guest in
        if index > 0 {
          results(guest.result)
          let words = guest.bytes(at: Fixture.stack, count: 32)
          seen((0..<4).map { words.load(fromByteOffset: $0 * 8, as: UInt64.self) })
        }
        return guest.call(APPLET_CALL_REGION, index == 99 ? .max : index, Fixture.stack)
      }
    }
    var steps: [(Guest) -> Int] = (0...10).map { ask($0) }
    steps += [
      ask(99),
      { guest in
        results(guest.result); return guest.call(0, 0)
      },
    ]
    let fixture = try Fixture(host, steps)
    #expect(fixture.run() == .success(.exited(status: 0)))
    let regions = fixture.context.memory.regions
    #expect(
      Array(seen.list.prefix(regions.count))
        == regions.map {
          [$0.range.lowerBound, $0.range.upperBound - $0.range.lowerBound, UInt64($0.access.rawValue), $0.use.rawValue]
        })
    #expect(results.list.prefix(regions.count).allSatisfy { $0 == 0 })
    #expect(results.list.dropFirst(regions.count).allSatisfy { Int64(bitPattern: $0) == -Int64(ENOENT) })
  }

  @Test(arguments: Host.all) func argumentsAreCopiedAsFarAsTheyFit(host: Host) throws {
    let results = Notes<UInt64>()
    let fixture = try Fixture(
      host, arguments: ["name.elf", "", "größer"],
      [
        { $0.call(APPLET_CALL_ARGUMENTS, Fixture.variables, 100) },
        { guest in
          results(guest.result); return guest.call(APPLET_CALL_ARGUMENTS, Fixture.stack, 4)
        },
        { guest in
          results(guest.result); return guest.call(APPLET_CALL_ARGUMENTS, 0, 0)
        },
        { guest in
          results(guest.result); return guest.call(0, 0)
        },
      ])
    #expect(fixture.run() == .success(.exited(status: 0)))
    let expected = Array("name.elf\0\0größer\0".utf8)
    #expect(results.list == [UInt64](repeating: UInt64(expected.count), count: 3))
    #expect(fixture.bytes(at: Fixture.variables, count: expected.count) == expected)
    #expect(fixture.bytes(at: Fixture.stack, count: 6) == Array("name\0\0".utf8))
  }

  @Test(arguments: Host.all) func aCallChangesNoOtherRegister(host: Host) throws {
    let calls: [(Int32, UInt64, UInt64)] = [
      (APPLET_CALL_PUT_CHARACTER, 10, 2), (APPLET_CALL_NANOTIME, 3, 4),
      (APPLET_CALL_GETRANDOM, Fixture.variables, 16), (APPLET_CALL_WRITE, Fixture.variables, 16),
      (APPLET_CALL_SLEEP, 1, 5), (APPLET_CALL_YIELD, 5, 6), (APPLET_CALL_REGION, 0, Fixture.variables),
      (APPLET_CALL_ARGUMENTS, Fixture.variables, 16), (APPLET_CALL_COUNTER, 7, 8), (APPLET_CALL_MONOTONIC, 9, 10),
    ]
    let before = Notes<[UInt64]>()
    let after = Notes<[UInt64]>()
    func registers(_ guest: Guest) -> [UInt64] { (0..<128).map { guest.frame[$0] } }
    var steps: [(Guest) -> Int] = []
    for (index, call) in calls.enumerated() {
      steps.append { guest in
        if index > 0 { after(registers(guest)) }
        for register in host.architecture.facts.generalRegisters {
          guest.frame[register] = UInt64(register) &* 0x1_0001_0001 &+ UInt64(index)
        }
        let pc = guest.pc
        let result = guest.call(call.0, call.1, call.2)
        var expected = registers(guest)
        expected[Int(APPLET_FRAME_PC)] = pc + 4
        before(expected)
        return result
      }
    }
    steps.append { guest in
      after(registers(guest)); return guest.call(0, 0)
    }
    let fixture = try Fixture(host, steps)
    #expect(fixture.run() == .success(.exited(status: 0)))
    try #require(after.list.count == calls.count)
    for (index, call) in calls.enumerated() {
      let changed = (0..<128).filter { before.list[index][$0] != after.list[index][$0] }
      #expect(changed.allSatisfy { $0 == host.architecture.callRegister }, "call \(call.0): \(changed)")
    }
  }

  @Test(arguments: Host.all, [APPLET_CALL_LAST + 1, 0x7777, -1, 6, 0xff] as [Int32])
  func undefinedCallsEndTheRun(host: Host, number: Int32) throws {
    let fixture = try Fixture(host, [{ $0.call(number) }])
    let expected = UInt64(truncatingIfNeeded: number)
    #expect(fixture.run() == .failure(.unknownCall(number: expected)))
    #expect(fixture.context.a0 == expected)
  }

  /// Calls with all numbers up to the last one and random arguments do not trap.
  @Test(arguments: Host.all) func everyNumberHasADefinedOutcome(host: Host) throws {
    let feed = try Feed(isEnded: true)
    for number in 0...UInt64(APPLET_CALL_LAST) + 3 where number != UInt64(APPLET_CALL_SLEEP) {
      for (a, b) in [(0, 0), (.max, .max), (Fixture.variables, 8), (Fixture.variables, .max)] as [(UInt64, UInt64)] {
        let fixture = try Fixture(host, input: feed.descriptor, [{ $0.call(number, a, b) }, { $0.call(0, 0) }])
        switch fixture.run() {
        case .success(.exited), .failure(.unknownCall), .failure(.badRange), .failure(.badRequest),
          .failure(.transferLimit):
          break
        case let other: Issue.record("call \(number) with \(a) and \(b): \(other)")
        }
      }
    }
  }

  @Test(arguments: Host.all, BadRange.all) func inaccessibleMemoryEndsTheRun(host: Host, bad: BadRange) throws {
    let feed = try Feed("text")
    let fixture = try Fixture(
      host, input: feed.descriptor, [{ $0.call(bad.call, bad.a, bad.b) }])
    #expect(
      fixture.run()
        == .failure(.badRange(call: UInt64(bad.call), address: bad.address, count: bad.count, bad.problem)))
    // The rest of the buffer has not changed.
    #expect(fixture.bytes(at: Fixture.constants, count: 9) == Array("constants".utf8))
  }
}

/// A call with memory that the applet cannot access in this way.
struct BadRange: CustomTestStringConvertible, Sendable {
  let call: Int32
  let a: UInt64
  let b: UInt64
  let address: UInt64
  let count: UInt64
  let problem: ExecError.Problem

  var testDescription: String { "call \(call): \(hex(address)), \(count) bytes, \(problem)" }
  private func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

  private init(_ call: Int32, _ address: UInt64, _ count: UInt64, _ problem: ExecError.Problem) {
    (self.call, self.address, self.count, self.problem) = (call, address, count, problem)
    // The region call takes an index first, and needs a fixed size.
    (a, b) = call == APPLET_CALL_REGION ? (0, address) : (address, count)
  }

  /// Calls for which the monitor writes to memory, and calls for which it reads.
  private static let writing = [APPLET_CALL_GETRANDOM, APPLET_CALL_READ, APPLET_CALL_ARGUMENTS]
  private static let reading = [APPLET_CALL_WRITE]

  static let all: [BadRange] = {
    var list: [BadRange] = []
    for call in writing + reading {
      list += [
        BadRange(call, 0, 8, .outside), BadRange(call, Fixture.end, 1, .outside),
        BadRange(call, Fixture.end - 7, 8, .outside), BadRange(call, Fixture.guardPage, 8, .outside),
        BadRange(call, Fixture.stack - 1, 2, .outside), BadRange(call, Fixture.guardPage - 1, 2, .outside),
        BadRange(call, Fixture.end + 0x1000, 8, .outside), BadRange(call, 1 << 40, 8, .outside),
        BadRange(call, .max - 7, 16, .outside), BadRange(call, .max, 1, .outside),
        BadRange(call, Fixture.variables, .max, .outside), BadRange(call, Fixture.heap, 1 << 63, .outside),
        BadRange(call, Fixture.text - 8, 16, .outside),
      ]
    }
    for call in writing {
      list += [
        BadRange(call, Fixture.text, 8, .access), BadRange(call, Fixture.constants, 8, .access),
        BadRange(call, Fixture.variables - 1, 2, .access),
      ]
    }
    for (address, problem) in [
      (0, .outside), (Fixture.text, .access), (Fixture.end - 31, .outside), (.max - 31, .outside),
    ] as [(UInt64, ExecError.Problem)] { list.append(BadRange(APPLET_CALL_REGION, address, 32, problem)) }
    return list
  }()
}
