import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Applets in AArch32: a context of arm64's with other registers, results in r0 and r1, and calls of two lengths.
struct AArch32Tests {
  private static let text: UInt64 = 0x1000_0000
  /// The call instructions' syndromes.
  private static let (svc, thumbSVC): (UInt64, UInt64) = (0x4600_0000, 0x4400_0000)

  private struct Applet {
    let kernel: ScriptedKernel
    let context: ExecCtx
    let output: Capture

    func run() -> Result<Outcome, ExecError> { Result { () throws(ExecError) in try context.run() } }
  }

  /// - Parameter idAA64PFR0: of the host's CPUs.
  private func applet(
    entry: UInt64 = text + 0x40, transport: ExecCtx.Transport = .hvc, idAA64PFR0: UInt64 = 0x1122,
    shadows: Int = 0, memory: UInt64 = 1 << 20, _ steps: [(Guest) -> Int] = []
  ) throws -> Applet {
    let kernel = ScriptedKernel(.arm64)
    kernel.initialRegisters[ARM64.idAA64PFR0] = idAA64PFR0
    var file = ELFBuilder.applet(.aarch32, at: Self.text)
    file.entry = entry
    let output = try Capture()
    var options = ExecCtx.Options()
    options.transport = transport
    options.output = output.descriptor
    let system = try KVM.System(kernel: kernel)
    let context = try ExecCtx(
      image: try Fixture.image(file, .arm64, kernel), memorySize: memory, system: system, architecture: .arm64,
      options: options)
    kernel.script(steps)
    var clones: [ExecCtx] = []
    for _ in 0..<shadows { clones.append(try context.clone(on: system)) }
    try context.setShadows(clones)
    return Applet(kernel: kernel, context: context, output: output)
  }

  private static func call(_ guest: Guest, _ arguments: UInt64..., cause: UInt64 = svc) -> Int {
    for (register, value) in arguments.enumerated() { guest.frame[register] = value }
    guest.frame[Int(APPLET_FRAME_PC)] &+= cause == svc ? 4 : 2
    return guest.trap(cause: cause)
  }

  @Test(arguments: [ExecCtx.Transport.hvc, .mmio], [0, 1])
  func theImageSaysHowItStarts(transport: ExecCtx.Transport, thumb: UInt64) throws {
    let seen = Notes<UInt64>()
    let applet = try applet(
      entry: Self.text + 0x40 + thumb, transport: transport,
      [
        { guest in
          for word in [Int(APPLET_FRAME_PC), Int(APPLET_FRAME_STATUS), 0, 13, 14] { seen(guest.frame[word]) }
          return Self.call(guest, UInt64(APPLET_CALL_EXIT), 0, cause: thumb == 0 ? Self.svc : Self.thumbSVC)
        }
      ])
    #expect(applet.context.architecture == .aarch32)
    let layout = applet.context.memory.layout
    #expect(layout.slot.upperBound <= 1 << 32)
    #expect(applet.run() == .success(.exited(status: 0)))
    #expect(seen.list == [Self.text + 0x40, 0x1d0 | thumb << 5, 0, layout.stackPointer, 0])
  }

  @Test func aHostWithoutItRefuses() throws {
    #expect(throws: LoadError.noAArch32) { try applet(idAA64PFR0: 0x1111) }
    #expect(throws: LoadError.image(.layout(.beyondAddressSpace(limit: 1 << 32), memory: 8 << 30))) {
      try applet(memory: 8 << 30)
    }
  }

  /// GoTEE's results are in two registers, of all copies; a call without one keeps both.
  @Test(arguments: [0, 2]) func resultsAreInTwoRegisters(shadows: Int) throws {
    let found = Notes<[UInt64]>()
    let applet = try applet(
      shadows: shadows,
      [
        { Self.call($0, 0x500, 1, 2) },
        { guest in
          found((0..<3).map { guest.frame[$0] })
          return Self.call(guest, UInt64(APPLET_CALL_PUT_CHARACTER), 0x161)
        },
        { guest in
          found((0..<3).map { guest.frame[$0] })
          return Self.call(guest, UInt64(APPLET_CALL_EXIT), 0)
        },
      ])
    applet.context.handler = { (context) throws(ExecError) in
      if context.a0 == 0x500 { context.ret(0x1234_5678_9abc_def0 as UInt64) } else { try secureHandler(context) }
    }
    #expect(applet.run() == .success(.exited(status: 0)))
    let copy: [[UInt64]] = [[0x9abc_def0, 0x1234_5678, 2], [UInt64(APPLET_CALL_PUT_CHARACTER), 0x161, 2]]
    #expect(found.list.sorted { $0[0] > $1[0] } == copy.flatMap { Array(repeating: $0, count: shadows + 1) })
    #expect(applet.output.pieces() == ["a"])
  }

  /// A call that a stop interrupts is made again: PC goes back by the length of its instruction.
  @Test(arguments: [svc, thumbSVC]) func aCallIsRepeatedWhole(cause: UInt64) throws {
    let seen = Notes<UInt64>()
    let applet = try applet([
      { Self.call($0, UInt64(APPLET_CALL_SLEEP), 0x7fff_ffff, cause: cause) },
      { guest in
        seen(guest.pc)
        return Self.call(guest, UInt64(APPLET_CALL_EXIT), 0, cause: cause)
      },
    ])
    applet.context.handler = { (context) throws(ExecError) in
      context.stop()
      try secureHandler(context)
    }
    #expect(applet.run() == .success(.stopped))
    applet.context.handler = nil
    #expect(applet.run() == .success(.exited(status: 0)))
    #expect(seen.list == [Self.text + 0x40])
  }

  /// MRC of CNTFRQ, MRRC of CNTPCT: the monitor answers them, if their condition holds, in lockstep or not.
  @Test(arguments: [0, 1]) func theTimerIsAnswered(shadows: Int) throws {
    let found = Notes<[UInt64]>()
    let always: UInt64 = 1 << 25 | 1 << 24 | 14 << 20
    let count = 0x04 << 26 | always | 6 << 10 | 5 << 5 | 14 << 1 | 1
    func step(_ cause: UInt64, status: UInt64) -> (Guest) -> Int {
      { guest in
        found([guest.frame[5], guest.frame[6], guest.pc])
        (guest.frame[5], guest.frame[6]) = (5, 6)
        guest.frame[Int(APPLET_FRAME_STATUS)] = status
        return guest.trap(cause: cause)
      }
    }
    let applet = try applet(
      shadows: shadows,
      [
        step(count, status: 0x1d0), step(count & ~(15 << 20), status: 0x1d0), step(0x0e00_0000 | always, status: 0x1d0),
      ])
    for cpu in applet.kernel.cpus {
      cpu.setRegister(Architecture.aarch32.facts.counter, 0x1_0000_0002)
    }
    guard case .failure(.fault(.privilegedInstruction, let pc, nil)) = applet.run() else {
      Issue.record("another access to CP15 is a fault")
      return
    }
    #expect(pc == Self.text + 0x48)
    let start = Self.text + 0x40
    let copy: [[UInt64]] = [[0, 0, start], [2, 1, start + 4], [5, 6, start + 8]]
    #expect(found.list.sorted { $0[2] < $1[2] } == copy.flatMap { Array(repeating: $0, count: shadows + 1) })
  }

  @Test func registersAndFaultsHaveTheirNames() throws {
    let applet = try applet([{ $0.trap(cause: 0x8200_0004, address: 0x2000_0000, pc: 0x2000_0000) }])
    guard case .failure(let error) = applet.run() else {
      Issue.record("no fault")
      return
    }
    #expect(
      applet.context.description(of: error)
        == "prefetch abort: invalid instruction fetch, address 0x20000000, at pc 0x20000000")
    let text = applet.context.description
    #expect(text.contains("r12:00000000") && text.contains("lr:00000000") && text.contains("cpsr:000001d0"))
    #expect(!text.contains("r13") && !text.contains("x0"))
    try applet.context.setRegister(14, 0x1_2345_6789)
    #expect(try applet.context.register(14) == 0x2345_6789)
    #expect(throws: ExecError.noRegister(15)) { try applet.context.register(15) }
    // d5 is the upper half of q2.
    try applet.context.setFloatingPoint(5, low: 0x55)
    #expect(try applet.context.floatingPoint(5) == (0x55, 0))
    #expect(
      applet.context.memory.bytes(at: applet.context.memory.layout.frame, count: 1024)
        .load(fromByteOffset: (Int(APPLET_FRAME_FP) + 5) * 8, as: UInt64.self) == 0x55)
  }
}
