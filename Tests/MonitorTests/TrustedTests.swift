import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// A program in system mode and a trusted applet beside it, on one scripted kernel: the program's vCPUs come first.
private final class Pair {
  let kernel: ScriptedKernel
  let context: ExecCtx
  let applet: ExecCtx
  let output: Capture
  /// How the applet ended.
  let ends = Notes<Result<UInt8, ExecError>>()

  init(_ architecture: Architecture, processors: Int = 1, isConnected: Bool = true) throws {
    kernel = ScriptedKernel(architecture)
    output = try Capture()
    let system = try System(kernel: kernel)
    var options = ExecCtx.Options()
    options.output = output.descriptor
    options.processors = processors
    kernel.runsApplets = false
    context = try ExecCtx(
      image: try Fixture.image(architecture, kernel), secure: false, memorySize: 1 << 20, system: system,
      architecture: architecture, options: options)
    kernel.runsApplets = true
    options.processors = 1
    applet = try ExecCtx(
      image: try Fixture.image(architecture, kernel), memorySize: 1 << 20, system: system, architecture: architecture,
      options: options)
    let ends = ends
    if isConnected { try context.connect(applet) { ends($1) } }
  }

  /// Runs it, and stops it some milliseconds later.
  func expectStopAmidRun() throws {
    let stopper = try Thread { [context] in
      usleep(30_000)
      context.stop()
    }
    #expect(run() == .success(.stopped))
    stopper.join()
  }

  /// What the two do, an entry a step; the applet's vCPU is the last.
  func script(_ program: [(Guest) -> Int], applet: [(Guest) -> Int]) {
    let last = kernel.processors.count - 1
    kernel.program = { guest in
      let steps = guest.processor.number == last ? applet : program
      return guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA)
    }
  }

  func run() -> Result<Outcome, ExecError> { Result { () throws(ExecError) in try context.run() } }
}

/// The two worlds: what the main context asks for, and what becomes of the applet.
struct TrustedTests {
  private static let heap = Fixture.variables
  private static func exit(_ guest: Guest) -> Int { guest.systemCall(APPLET_CALL_EXIT, 3) }
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

  @Test(arguments: both) func yieldsGiveTurnsUntilTheAppletHasEnded(architecture: Architecture) throws {
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
          return guest.call(APPLET_CALL_EXIT, 4)
        },
      ])
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [0, 0, -32, -32, -32])
    #expect(pair.ends.list == [.success(4)])
  }

  @Test(arguments: both) func anAppletThatBreaksARuleEndsAlone(architecture: Architecture) throws {
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
      // It cannot ask itself.
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

  @Test(arguments: both) func bothSeeTheSharedMemory(architecture: Architecture) throws {
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
      pair.context.deadline = Clock.monotonic + 30_000_000
      #expect(pair.run() == .failure(.limit(.deadline)))
      pair.context.deadline = nil
      try pair.expectStopAmidRun()
      // Run on, the request is still under way, and is answered once.
      #expect(pair.run() == .success(.exited(status: 3)))
      #expect(pair.ends.list.isEmpty)
    }
  }

  @Test(arguments: both) func anyProcessorMayAskAndAnotherMayEndTheRun(architecture: Architecture) throws {
    let pair = try Pair(architecture, processors: 2)
    let asked = Notes<Int64>()
    pair.kernel.program = { guest in
      switch (guest.processor.number, guest.entry) {
      case (1, 0): return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
      case (1, 1):
        asked(guest.systemResult)
        return guest.systemCall(APPLET_CALL_SECURE, 9, 9)
      case (2, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (2, 1): return guest.call(APPLET_CALL_SERVE, 6, Self.heap)
      case (2, _): return guest.call(APPLET_CALL_SLEEP, 3_600_000_000_000)
      case (0, 0):
        usleep(50_000)
        return Self.exit(guest)
      default: return guest.spin()
      }
    }
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(asked.list == [6])
  }

  /// The applet is busy for ever with what another processor has asked: the first waits for its turn, and for its time limit.
  @Test(arguments: both) func aLimitEndsAWaitForTheApplet(architecture: Architecture) throws {
    let pair = try Pair(architecture, processors: 2)
    let isBusy = Flag()
    pair.kernel.program = { guest in
      switch (guest.processor.number, guest.entry) {
      case (2, 0): return guest.call(APPLET_CALL_SERVE, 0, Self.heap)
      case (2, _):
        isBusy.set()
        return guest.spin()
      case (0, 0): isBusy.wait()
      default: break
      }
      return guest.systemCall(APPLET_CALL_SECURE, 7, 8)
    }
    pair.context.deadline = Clock.monotonic + 50_000_000
    #expect(pair.run() == .failure(.limit(.deadline)))
    pair.context.deadline = nil
    try pair.expectStopAmidRun()
  }

  @Test(arguments: both) func withoutAnAppletThereIsNobodyToAsk(architecture: Architecture) throws {
    let pair = try Pair(architecture, isConnected: false)
    let results = Notes<Int64>()
    pair.script(
      [{ $0.systemCall(APPLET_CALL_SECURE, 7, 8) }, Self.noting(results, Self.exit)], applet: [])
    #expect(pair.run() == .success(.exited(status: 3)))
    #expect(results.list == [architecture == .arm64 ? -1 : -2])
  }

  @Test(arguments: both) func onlyOneAppletFitsAndOnlyBesideAProgram(architecture: Architecture) throws {
    let pair = try Pair(architecture)
    let other = try Pair(architecture, isConnected: false)
    #expect(throws: ConnectError.notFit) { try pair.context.connect(other.applet) }
    #expect(throws: ConnectError.notFit) { try other.applet.connect(pair.applet) }
    #expect(throws: ConnectError.notFit) { try other.context.connect(pair.context) }
    // The applet's shared memory is taken.
    #expect(throws: ConnectError.region(isSecure: true, .taken)) { try other.context.connect(pair.applet) }
  }
}
