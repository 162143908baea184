import CLinux
import Devices
import KVM
import Machine
import Platform
import TestSupport
import Testing

@testable import Monitor

/// How a Linux guest's run ends, on a scripted kernel.
struct LinuxRunTests {
  /// The only CPU is kicked just before it waits in a system call of its own for the output's reader: the I/O thread
  /// repeats the kick until it returns.
  @Test(arguments: both, [true, false])
  func aCPUIsKickedUntilItReturns(architecture: Architecture, isLimit: Bool) throws {
    #expect(linux_kick_install() == 0)
    let kernel = ScriptedKernel(architecture)
    kernel.runsApplets = false
    let machine = try System(kernel: kernel).makeVirtualMachine()
    let cpus = try CPUSet(of: machine, stopEndsRun: true, architecture: architecture)
    let run = LinuxRun(cpus.control, architecture: architecture)
    let loop = try IOLoop(kernel: LinuxKernel())
    let deadline = isLimit ? Fixture.deadlineAfterEntry : nil
    loop.setWatch { run.watch(until: deadline) }
    cpus.control.onEnd { loop.wake() }
    let waits = Notes<Bool>()
    kernel.program = { guest in
      _ = guest.spin()
      waits(linux_poll(nil, 0, 20_000) < 0)
      return -Int(EINTR)
    }
    try loop.start()
    let thread = try Thread { [stopper = Stopper(control: cpus.control)] in
      kernel.waitForEntries()
      usleep(30_000)
      if !isLimit { stopper.stop() }
    }
    let output = GuestOutput(descriptor: -1, mustStop: { true }, onFailure: { _ in })
    guard let wasBlocked = cpus.first.entered() else {
      Issue.record("it is running already")
      return
    }
    cpus.run {
      run.serve($0, bus: MMIOBus(), output: output)
    } failed: { _ in
    }
    cpus.first.left(wasBlocked: wasBlocked)
    #expect(try run.result() == (isLimit ? .timeLimit : .stopped))
    #expect(waits.list == [true])
    thread.join()
    // A stop that comes when the run has ended does not begin another end, for which a client would wait.
    let late = Stopper(control: cpus.control)
    late.stop()
    #expect(late.waitUntilDone(deadline: Clock.monotonic + 5_000_000_000))
    loop.stop()
  }

  /// Runs a Linux guest of one CPU that executes a script; what it came to.
  private func run(
    _ architecture: Architecture, forwardsAccesses: Bool = true, _ steps: [(Guest) -> Int]
  ) throws -> (Result<LinuxOutcome, LinuxError>, ScriptedKernel.VCPU) {
    #expect(linux_kick_install() == 0)
    let kernel = ScriptedKernel(architecture)
    kernel.runsApplets = false
    kernel.forwardsAccesses = forwardsAccesses
    kernel.script(steps)
    let machine = try System(kernel: kernel).makeVirtualMachine()
    if architecture.facts.kernelInjectsAborts { machine.forwardAccessesWithoutSyndrome() }
    let cpus = try CPUSet(of: machine, stopEndsRun: true, architecture: architecture)
    let run = LinuxRun(cpus.control, architecture: architecture)
    let output = GuestOutput(descriptor: -1, mustStop: { true }, onFailure: { _ in })
    let wasBlocked = try #require(cpus.first.entered() as Bool?)
    cpus.run {
      run.serve($0, bus: MMIOBus(), output: output)
    } failed: { _ in
    }
    cpus.first.left(wasBlocked: wasBlocked)
    return (Result { () throws(LinuxError) in try run.result() }, kernel.cpus[0])
  }

  @Test(arguments: both) func connectionsAreClosedIfThereIsNoMachine(architecture: Architecture) throws {
    var ends: (Int32, Int32) = (-1, -1)
    #expect(linux_pipe(&ends.0, &ends.1) == 0)
    var options = LinuxOptions(kernel: "/nowhere")
    options.ports = [.init(name: "a", end: .connection(ends.1))]
    let system = try System(kernel: ScriptedKernel(architecture))
    #expect(throws: LinuxError.self) {
      _ = try LinuxMachine(options, system: system, architecture: architecture) { _ in }
    }
    var byte: UInt8 = 0
    #expect(linux_read(ends.0, &byte, 1) == 0, "the other end is still open")
    _ = linux_close(ends.0)
  }

  private static func powerOff(_ guest: Guest) -> Int { guest.exit(24) { $0.system_event.type = 1 } }

  /// An access that KVM does not emulate is an exception of the guest's, which goes on.
  @Test func anAbortIsInjectedOnARM64() throws {
    let aborts = Notes<Int>()
    let (result, cpu) = try run(
      .arm64,
      [
        { $0.unemulatedAccess(0x300_0000, isWrite: false) },
        { guest in
          aborts(guest.cpu.aborts)
          return Self.powerOff(guest)
        },
      ])
    #expect(result == .success(.poweredOff))
    #expect(aborts.list == [1] && cpu.aborts == 1)
  }

  @Test(arguments: [0, 1] as [UInt64], [false, true])
  func anAccessFaultIsTakenOnRISCV64(mode: UInt64, isMisaligned: Bool) throws {
    let interruptsOn: UInt64 = 1 << 1, previousOn: UInt64 = 1 << 5, previousMode: UInt64 = 1 << 8
    let (result, cpu) = try run(
      .riscv64,
      [
        { guest in
          for (id, value) in [
            (RISCV64.pc, 0x1000), (RISCV64.mode, mode), (RISCV64.stvec, 0xffff_ffff_8000_0000),
            (RISCV64.sstatus, interruptsOn | 3 << 13),
          ] as [(UInt64, UInt64)] { guest.cpu.setRegister(id, value) }
          return guest.unemulatedAccess(0x300_0000, isWrite: false, isMisaligned: isMisaligned)
        },
        Self.powerOff,
      ])
    #expect(result == .success(.poweredOff))
    #expect(cpu.register(RISCV64.pc) == 0xffff_ffff_8000_0000)
    #expect(cpu.register(RISCV64.sepc) == 0x1000)
    #expect(cpu.register(RISCV64.scause) == 5)
    #expect(cpu.register(RISCV64.mode) == 1)
    #expect(cpu.register(RISCV64.sstatus) == previousOn | 3 << 13 | (mode == 1 ? previousMode : 0))
  }

  /// One that cannot take the exception has ended by its own fault.
  @Test(arguments: both) func aGuestWithoutAHandlerEnds(architecture: Architecture) throws {
    let (result, _) = try run(
      architecture, forwardsAccesses: false,
      [
        { guest in
          guest.cpu.setRegister(architecture.facts.programCounter, 0x8000)
          guest.cpu.setRegister(RISCV64.stvec, 0x8001)
          return guest.unemulatedAccess(0x300_0000, isWrite: false)
        }
      ])
    #expect(result == .failure(.access(pc: 0x8000)))
  }
}
