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
  /// The one processor is kicked just before it begins to wait in a system call of its own, for the output's reader: the I/O
  /// thread kicks it until it is back.
  @Test(arguments: both, [true, false])
  func aProcessorIsKickedUntilItIsBack(architecture: Architecture, isLimit: Bool) throws {
    #expect(linux_kick_install() == 0)
    let kernel = ScriptedKernel(architecture)
    kernel.runsApplets = false
    let machine = try System(kernel: kernel).makeVirtualMachine()
    let run = LinuxRun(processors: [.init(try machine.makeVCPU(number: 0, architecture: architecture))])
    let loop = try IOLoop(kernel: LinuxKernel())
    let deadline = isLimit ? Clock.monotonic + 30_000_000 : nil
    loop.setWatch { run.watch(until: deadline) }
    run.onEnd = { loop.wake() }
    let waits = Notes<Bool>()
    kernel.program = { guest in
      _ = guest.spin()
      waits(linux_poll(nil, 0, 20_000) < 0)
      return -Int(EINTR)
    }
    try loop.start()
    let stopper = try Thread {
      usleep(30_000)
      if !isLimit { run.end(.stopped) }
    }
    run.serve(
      run.processors[0], bus: MMIOBus(),
      output: GuestOutput(descriptor: -1, giveUp: { true }, onFailure: { _ in }))
    #expect(try run.result() == (isLimit ? .timeLimit : .stopped))
    #expect(waits.list == [true])
    stopper.join()
    loop.stop()
  }
}
