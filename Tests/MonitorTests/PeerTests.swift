import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// A program in system mode and its peer on one scripted kernel. The program's vCPUs come first.
private final class Pair {
  let kernel: ScriptedKernel
  let context: ExecCtx
  let applet: ExecCtx
  let output: Capture
  /// How the applet ended.
  let ends = Notes<Result<UInt8, ExecError>>()

  init(_ architecture: Architecture, cpus: Int = 1, isConnected: Bool = true) throws {
    kernel = ScriptedKernel(architecture)
    output = try Capture()
    let system = try System(kernel: kernel)
    var options = ExecCtx.Options()
    options.output = output.descriptor
    options.cpus = cpus
    kernel.runsApplets = false
    context = try ExecCtx(
      image: try Fixture.image(architecture, kernel), secure: false, memorySize: 1 << 20, system: system,
      architecture: architecture, options: options)
    kernel.runsApplets = true
    options.cpus = 1
    applet = try ExecCtx(
      image: try Fixture.image(architecture, kernel), memorySize: 1 << 20, system: system, architecture: architecture,
      options: options)
    let ends = ends
    if isConnected { try context.attach(applet) { ends($1) } }
  }

  /// Runs it, and stops it some milliseconds after the applet's next entry.
  func expectStopAmidRun() throws {
    let last = kernel.cpus.count - 1
    let next = kernel.entries(of: last) + 1
    let thread = try Thread { [kernel, stopper = context.stopper] in
      kernel.waitForEntries(next, of: last)
      usleep(30_000)
      stopper.stop()
    }
    #expect(run() == .success(.stopped))
    thread.join()
  }

  /// The script of both, with a step for each entry; the applet's vCPU is the last.
  func script(_ program: [(Guest) -> Int], applet: [(Guest) -> Int]) {
    let last = kernel.cpus.count - 1
    kernel.program = { guest in
      let steps = guest.cpu.number == last ? applet : program
      return guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA)
    }
  }

  func run() -> Result<Outcome, ExecError> { Result { () throws(ExecError) in try context.run() } }
}

/// Calls of a program to its peer, and the end of the peer.
struct PeerTests {
  private static let heap = Fixture.variables
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) }
  private static func serve(_ answer: UInt64) -> (Guest) -> Int {
    { $0.call(APPLET_CALL_SERVE, answer, heap) }
  }
  private static func noting(_ results: Notes<Int64>, _ step: @escaping (Guest) -> Int) -> (Guest) -> Int {
    { guest in
      results(guest.systemResult)
      return step(guest)
    }
  }

  @Test(arguments: both) func requestsAreAnswered(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let results = Notes<Int64>()
    let requests = Notes<[UInt64]>()
    func served(_ answer: UInt64) -> (Guest) -> Int {
      { guest in
        #expect(guest.result == 0)
        requests([0, 8].map { guest.bytes(at: Self.heap + $0, count: 8).load(as: UInt64.self) })
        return guest.call(APPLET_CALL_SERVE, answer, Self.heap)
      }
    }
    pair.script(
      [
        { $0.systemCall(APPLET_CALL_SECURE, 7, 8) },
        Self.noting(results) { $0.systemCall(APPLET_CALL_SECURE, 9, .max) },
        Self.noting(results) { $0.systemCall(APPLET_CALL_YIELD) }, Self.noting(results, Self.exit),
      ],
      applet: [
        { $0.call(APPLET_CALL_PUT_CHARACTER, 0x41) }, Self.serve(1), { $0.call(APPLET_CALL_YIELD) }, served(99),
        served(UInt64(bitPattern: -1)),
      ])
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [99, -1, 0])
    #expect(requests.list == [[7, 8], [9, .max]])
    #expect(pair.output.pieces() == ["A"])
    #expect(pair.ends.list.isEmpty && pair.kernel.violations.isEmpty)
  }

  @Test(arguments: both) func yieldRunsThePeerUntilItsEnd(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let results = Notes<Int64>()
    let yield = Self.noting(results) { $0.systemCall(APPLET_CALL_YIELD) }
    pair.script(
      [
        { $0.systemCall(APPLET_CALL_YIELD) }, yield, yield, yield,
        Self.noting(results) { $0.systemCall(APPLET_CALL_SECURE, 1, 2) }, Self.noting(results, Self.exit),
      ],
      applet: [
        { $0.call(APPLET_CALL_YIELD) }, { $0.call(APPLET_CALL_YIELD) },
        { guest in
          #expect(guest.result == 0)
          return guest.call(APPLET_CALL_EXIT_STATUS, 4)
        },
      ])
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [0, 0, -32, -32, -32])
    #expect(pair.ends.list == [.success(4)])
  }

  @Test(arguments: both) func aFaultOfThePeerEndsOnlyThePeer(architecture: Architecture) throws {
    let fault: (Guest) -> Int = {
      $0.trap(cause: architecture == .arm64 ? 0x9200_0005 : 13, address: 0xdead_0000, pc: 0x8000_0044)
    }
    let cases: [((Guest) -> Int, ExecError)] = [
      (fault, .fault(.read, pc: 0x8000_0044, address: 0xdead_0000)),
      ({ $0.call(0x777) }, .unknownCall(number: 0x777)),
      (
        { $0.call(APPLET_CALL_SERVE, 0, 0x1000) },
        .badRange(call: UInt64(APPLET_CALL_SERVE), address: 0x1000, count: 16, .outside)
      ),
      (
        { $0.call(APPLET_CALL_SERVE, 0, Fixture.text) },
        .badRange(call: UInt64(APPLET_CALL_SERVE), address: Fixture.text, count: 16, .access)
      ),
      // It cannot be its own peer.
      ({ $0.call(APPLET_CALL_SECURE, 0, 0) }, .unknownCall(number: UInt64(APPLET_CALL_SECURE))),
      ({ _ in -Int(EFAULT) }, .kvm(.failed(.run, Errno(EFAULT)))),
    ]
    for (step, error) in cases {
      let pair = try Pair(architecture)
      let results = Notes<Int64>()
      pair.script(
        [
          { $0.systemCall(APPLET_CALL_SECURE, 7, 8) },
          Self.noting(results) { $0.systemCall(APPLET_CALL_SECURE, 7, 8) }, Self.noting(results, Self.exit),
        ], applet: [step])
      #expect(pair.run() == .success(.exited(status: 3)))
      #expect(results.list == [-32, -32])
      #expect(pair.ends.list == [.failure(error)])
    }
  }

  @Test(arguments: both) func programAndPeerShareMemory(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let address = ExecCtx.sharedAddress
    pair.script(
      [
        { guest in
          guest.store(Array("question".utf8), at: address)
          return guest.systemCall(APPLET_CALL_SECURE, 0, 0)
        },
        { guest in
          #expect(guest.bytes(at: address, count: 6).elementsEqual("answer".utf8))
          return Self.exit(guest)
        },
      ],
      applet: [
        Self.serve(0),
        { guest in
          #expect(guest.bytes(at: address, count: 8).elementsEqual("question".utf8))
          guest.store(Array("answer".utf8), at: address)
          return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
        },
      ])
    #expect(pair.run() == .success(.exited(status: 3)))
    for context in [pair.context, pair.applet] {
      let region = try #require(context.memory.regions.first { $0.use == .added })
      #expect(region.range == address..<address + UInt64(ExecCtx.sharedSize))
      #expect(region.access == [.read, .write])
    }
  }

  @Test(arguments: both) func aStopOrALimitEndsBoth(architecture: Architecture) throws {
    for step: (Guest) -> Int in [{ $0.spin() }, { $0.call(APPLET_CALL_SLEEP, 3_600_000_000_000) }] {
      let pair = try Pair(architecture)
      let ask: (Guest) -> Int = { $0.systemCall(APPLET_CALL_SECURE, 7, 8) }
      pair.script([ask, ask, ask, Self.exit], applet: [Self.serve(0), step, step, Self.serve(5)])
      pair.context.deadline = Fixture.deadlineAfterEntry
      #expect(pair.run() == .failure(.limit(.deadline)))
      pair.context.deadline = nil
      try pair.expectStopAmidRun()
      // In the next run the request is still in progress, and is answered once.
      #expect(pair.run() == .success(.exited(status: 3)))
      #expect(pair.ends.list.isEmpty)
    }
  }

  @Test(arguments: both) func anyCPUMayCallThePeerAndAnotherMayEndTheRun(architecture: Architecture) throws {
    let pair = try Pair(architecture, cpus: 2)
    let asked = Notes<Int64>()
    pair.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (1, 0): return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
      case (1, 1):
        asked(guest.systemResult)
        return guest.systemCall(APPLET_CALL_SECURE, 9, 9)
      case (2, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (2, 1): return guest.call(APPLET_CALL_SERVE, 6, Self.heap)
      case (2, _): return guest.call(APPLET_CALL_SLEEP, 3_600_000_000_000)
      case (0, 0):
        pair.kernel.waitForEntries(3, of: 2)
        return Self.exit(guest)
      default: return guest.spin()
      }
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(asked.list == [6])
  }

  /// The limits are the program's, and so is its limit handler, while the applet waits in a call of its own.
  @Test(arguments: both) func aLimitHandlerExtendsATurnOfTheApplet(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let asked = Notes<Limit>()
    pair.script(
      [{ $0.systemCall(APPLET_CALL_SECURE, 7, 8) }, Self.exit],
      applet: [
        Self.serve(0), { $0.call(APPLET_CALL_SLEEP, 3_600_000_000_000) },
        { $0.call(APPLET_CALL_SLEEP, 1_000_000) }, Self.serve(5),
      ])
    pair.context.deadline = Fixture.deadlineAfterEntry
    pair.context.limitHandler = { _, limit in
      asked(limit)
      return 60_000_000_000
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(asked.list == [.deadline] && pair.ends.list.isEmpty)
  }

  /// A limit handler that is asked in the applet's turn changes memory: all other CPUs are out of the guest meanwhile.
  @Test(arguments: both) func aLimitHandlerInATurnChangesMemory(architecture: Architecture) throws {
    let pair = try Pair(architecture, cpus: 2)
    let place: UInt64 = 0x1_0000_0000
    let memory = try SharedMemory(count: linux_page_size(), kernel: pair.kernel)
    let isServing = Flag()
    let hasLeft = Notes<Bool>()
    pair.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (0, 0): return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
      case (0, _): return Self.exit(guest)
      // The last call before the limit is that of CPU 1, which is in the guest again then.
      case (1, 0):
        isServing.wait()
        return guest.systemCall(0x50)
      case (1, _): return guest.spin()
      case (2, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (2, 1):
        isServing.set()
        return guest.spin()
      default: return guest.call(APPLET_CALL_SERVE, 5, Self.heap)
      }
    }
    pair.context.handler = { (context) throws(ExecError) in
      if context.a0 == 0x50 { return context.ret(UInt64(0)) }
      try nonSecureHandler(context)
    }
    pair.context.deadline = Fixture.deadlineAfterEntry
    pair.context.limitHandler = { context, _ in
      let inside = pair.kernel.entries(of: 1)
      #expect(throws: Never.self) { try context.addRegion(at: place, memory, access: [.read]) }
      pair.kernel.waitForEntries(inside + 1, of: 1)
      hasLeft(pair.kernel.entries(of: 1) > inside)
      return 60_000_000_000
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(hasLeft.list == [true])
  }

  /// Both the program and its peer are told of a stop, which ends one run.
  @Test(arguments: both) func aStopEndsOneRun(architecture: Architecture) throws {
    let pair = try Pair(architecture, cpus: 2)
    pair.kernel.program = { guest in
      switch guest.cpu.number {
      case 0:
        // CPU 1 ends the run first, by the peer's flag.
        let result = guest.spin()
        usleep(50_000)
        return result
      case 1: return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
      default: return guest.entry == 0 ? guest.call(APPLET_CALL_SERVE, 0, Self.heap) : guest.spin()
      }
    }
    try pair.expectStopAmidRun()
    pair.kernel.program = { $0.cpu.number == 0 ? Self.exit($0) : $0.spin() }
    #expect(pair.run() == .success(.exited(status: 3)))
  }

  /// A request whose buffer is not the applet's any more ends the applet, once.
  @Test(arguments: both) func aRequestThatCannotBeDeliveredEndsThePeer(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let results = Notes<Int64>()
    pair.script(
      [
        { $0.systemCall(APPLET_CALL_YIELD) }, { $0.systemCall(0x50) }, { $0.systemCall(APPLET_CALL_SECURE, 7, 8) },
        Self.noting(results) { $0.systemCall(APPLET_CALL_SECURE, 7, 8) }, Self.noting(results, Self.exit),
      ], applet: [Self.serve(0), Self.serve(1), Self.serve(2)])
    pair.context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      _ = try context.withPeer { (applet) throws(ExecError) in
        let page = Self.heap..<Self.heap + UInt64(linux_page_size())
        #expect(throws: Never.self) { try applet.protect(page, [.read]) }
      }
      context.ret(UInt64(0))
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [-32, -32])
    #expect(pair.ends.list.count == 1)
  }

  /// The applet processes another CPU's request without an end: CPU 0 waits until its deadline.
  @Test(arguments: both) func aLimitEndsAWaitForThePeer(architecture: Architecture) throws {
    let pair = try Pair(architecture, cpus: 2)
    let isBusy = Flag()
    pair.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (2, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (2, _):
        isBusy.set()
        return guest.spin()
      case (0, 0): isBusy.wait()
      default: break
      }
      return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
    }
    pair.context.deadline = Fixture.deadlineAfterEntry
    #expect(pair.run() == .failure(.limit(.deadline)))
    pair.context.deadline = nil
    try pair.expectStopAmidRun()
  }

  @Test(arguments: both) func withoutAPeerCallsAreNotSupported(architecture: Architecture) throws {
    let pair = try Pair(architecture, isConnected: false)
    let results = Notes<Int64>()
    pair.script(
      [{ $0.systemCall(APPLET_CALL_SECURE, 7, 8) }, Self.noting(results, Self.exit)], applet: [])
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [architecture == .arm64 ? -1 : -2])
  }

  @Test(arguments: both) func onlyAProgramCanHaveOnePeer(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let other = try Pair(architecture, isConnected: false)
    #expect(throws: AttachError.notFit) { try pair.context.attach(other.applet) }
    #expect(throws: AttachError.notFit) { try other.applet.attach(pair.applet) }
    #expect(throws: AttachError.notFit) { try other.context.attach(pair.context) }
    // The applet is attached to another program.
    #expect(throws: AttachError.notFit) { try other.context.attach(pair.applet) }
  }

  /// A handler of the program's uses the applet while another processor has asked for it.
  @Test(arguments: both) func aHandlerUsesTheAppletInATurnOfItsOwn(architecture: Architecture) throws {
    let pair = try Pair(architecture, cpus: 2)
    let place: UInt64 = 0x1_0000_0000
    let memory = try SharedMemory(count: linux_page_size(), kernel: pair.kernel)
    let (isInTurn, isRefused) = (Flag(), Flag())
    let order = Notes<String>()
    pair.applet.handler = { (applet) throws(ExecError) in
      guard applet.a0 == 0x50 else { return try secureHandler(applet) }
      isInTurn.set()
      isRefused.wait()
      usleep(20_000)
      // Its own handler is in its turn.
      let number = try pair.context.withPeer { _ in 1 }
      order("turn \(number ?? 0)")
      applet.ret(UInt64(0))
    }
    pair.context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      #expect(throws: RegionError.running) { try pair.applet.addRegion(at: place, memory, access: [.read]) }
      #expect(throws: ExecError.running) { try pair.applet.run() }
      isRefused.set()
      _ = try context.withPeer { (applet) throws(ExecError) in
        order("handler")
        #expect(throws: Never.self) { try applet.addRegion(at: place, memory, access: [.read]) }
      }
      // The call stands as it did.
      #expect(context.a1 == 7)
      context.ret(UInt64(0))
    }
    pair.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (0, 0): return guest.systemCall(APPLET_CALL_SECURE, 1, 2)
      case (0, _): return guest.spin()
      case (1, 0):
        isInTurn.wait()
        return guest.systemCall(0x50, 7)
      case (1, _): return Self.exit(guest)
      // Its request comes, and is answered; a second one is waited for.
      case (_, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (_, 1): return guest.call(0x50)
      default: return guest.call(APPLET_CALL_SERVE, 5, Self.heap)
      }
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(order.list == ["turn 1", "handler"])
  }
}
