import Applet
import AppletABI
import CLinux
import JSON
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// A call that takes long blocks neither other CPUs nor limits and stops.
struct CallLockTests {
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) }

  /// Runs a program with a limit; returns whether the limit ended it in time.
  private func isLimited(_ program: Program, otherwise: @escaping @Sendable () -> Void) throws -> Bool {
    let isOver = Flag()
    let watch = try Thread {
      if !isOver.isSet(within: 5_000_000_000) { otherwise() }
    }
    // Both CPUs have made their calls by then.
    program.context.deadline = Clock.monotonic + 1_000_000_000
    let start = Clock.monotonic
    let result = program.run()
    isOver.set()
    watch.join()
    return result == .failure(.limit(.deadline)) && Clock.monotonic - start < 4_000_000_000
  }

  /// One byte wakes two CPUs: the one that finds no data waits again, without blocking others.
  @Test(arguments: both) func oneByteForTwoReadersBlocksNoOtherCPU(architecture: Architecture) throws {
    let feed = try Feed()
    let program = try Program(architecture, cpus: 3, input: feed.descriptor)
    let heap = program.start(of: .heap)
    program.context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      // Both have been woken before the lock is released.
      feed.write("a")
      usleep(30_000)
      context.ret(UInt64(0))
    }
    program.kernel.program = { guest in
      guard guest.cpu.number == 2 else { return guest.systemCall(APPLET_CALL_READ, heap, 1) }
      if guest.entry > 0 { return guest.spin() }
      usleep(30_000)
      return guest.systemCall(0x50)
    }
    #expect(try isLimited(program) { for _ in 0..<100 { feed.write("bb") } })
  }

  /// Many requests to a service that does not answer.
  @Test(arguments: both, [0, 1]) func aSilentServiceBlocksNoOtherCPU(architecture: Architecture, number: Int) throws {
    let program = try Program(architecture, cpus: 2)
    let context = program.context
    let heap = program.start(of: .heap)
    let isLate = Flag()
    let asked = Notes<String>()
    try context.server.forward("S") { (method: String, _: JSONValue) throws(RPCError) -> JSONValue in
      asked(method)
      while !isLate.isSet(within: 10_000_000) { if context.mustStopWaiting() { throw RPCError("stopped") } }
      return .null
    }
    let request = Array("{\"method\":\"S.m\",\"params\":[0]}".utf8)
    program.kernel.program = { guest in
      guard guest.cpu.number == number else { return guest.spin() }
      let batch = (0..<100).flatMap { _ in request }
      guest.store(batch, at: heap)
      return guest.systemCall(APPLET_CALL_RPC_REQUEST, heap, UInt64(batch.count))
    }
    #expect(try isLimited(program) { isLate.set() })
    #expect(asked.list.count == 1)
    // The remaining requests are answered, each once.
    program.kernel.program = { $0.cpu.number == number ? Self.exit($0) : $0.spin() }
  }

  /// Calls of another CPU are answered while one waits for a service; each uses its own frame.
  @Test(arguments: both) func callsAreAnsweredWhileAServiceIsWaitedFor(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    let heap = program.start(of: .heap)
    let (isAsked, isAnswered) = (Flag(), Flag())
    try program.context.server.forward("S") { (_: String, _: JSONValue) throws(RPCError) -> JSONValue in
      isAsked.set()
      return .bool(isAnswered.isSet(within: 10_000_000_000))
    }
    let request = Array("{\"method\":\"S.m\",\"params\":[0],\"id\":7}".utf8)
    let results = Notes<Int64>()
    program.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (1, 0):
        guest.store(request, at: heap)
        return guest.systemCall(APPLET_CALL_RPC_REQUEST, heap, UInt64(request.count))
      case (1, 1): return guest.systemCall(APPLET_CALL_RPC_RESPONSE, heap, 64)
      case (1, 2):
        results(guest.systemResult)
        return Self.exit(guest)
      case (0, 0):
        isAsked.wait()
        return guest.systemCall(APPLET_CALL_YIELD)
      default:
        isAnswered.set()
        return guest.spin()
      }
    }
    #expect(program.run() == .success(.exited(status: 3)))
    let answer = "{\"id\":7,\"result\":true,\"error\":null}\n"
    #expect(results.list == [Int64(answer.utf8.count)])
    #expect(String(decoding: program.context.memory.bytes(at: heap, count: answer.utf8.count), as: UTF8.self) == answer)
  }

  /// Random numbers for a large buffer are written in parts, between which other CPUs' calls are answered.
  @Test(arguments: both) func largeRandomBuffersBlockNoOtherCPU(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    let place: UInt64 = 0x1_0000_0000
    let size = 64 << 20
    try program.context.addRegion(
      at: place, try SharedMemory(count: size, kernel: program.kernel), access: [.read, .write])
    let isFilled = Flag()
    let results = Notes<Bool>()
    program.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (1, 0): return guest.systemCall(APPLET_CALL_GETRANDOM, place, UInt64(size))
      case (1, _):
        isFilled.set()
        return guest.spin()
      case (_, 0):
        usleep(10_000)
        return guest.systemCall(APPLET_CALL_YIELD)
      default:
        results(isFilled.isSet(within: 0))
        return Self.exit(guest)
      }
    }
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [false])
  }

  /// Requests to KVM for a CPU's call use its own vCPU: another one is in the guest, and stays there.
  @Test(arguments: both) func aCallReadsRegistersOfItsOwnCPUOnly(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    program.context.handler = { (context) throws(ExecError) in
      if context.a0 == 0x50 { _ = try context.floatingPoint(0) }
      if context.a0 == 0x50 { return context.ret(UInt64(0)) }
      try nonSecureHandler(context)
    }
    program.kernel.program = { guest in
      guard guest.cpu.number == 1 else { return guest.spin() }
      return switch guest.entry {
      case 0: guest.systemCall(APPLET_CALL_COUNTER)
      case 1: guest.systemCall(0x50)
      default: Self.exit(guest)
      }
    }
    #expect(program.run() == .success(.exited(status: 3)))
  }
}

extension Flag {
  /// Waits for it, at most this number of nanoseconds.
  func isSet(within nanoseconds: Int64) -> Bool { wait(until: Clock.monotonic + nanoseconds) }
}
