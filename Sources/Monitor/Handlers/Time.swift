import KVM
import Machine
import AppletABI
import CLinux
import Platform

/// Call 0x102: comes back when the time has passed; a stop or the deadline ends it before.
func sleep(_ context: ExecCtx) throws(ExecError) {
  var end = Clock.monotonic.addingSaturating(Int64(clamping: context.a1))
  if context.isSecure {
    // A stop may have come in between: it sleeps the rest then.
    if let before = context.sleepUnderWay, before.pc == context.pc, before.nanoseconds == context.a1 {
      end = before.end
    }
    context.sleepUnderWay = (context.pc, context.a1, end)
  }
  _ = try context.wait(until: end == .max ? nil : end)
  context.sleepUnderWay = nil
  context.ret(UInt64(0))
}

/// Call 0x103: lets other threads run.
func yield(_ context: ExecCtx) {
  sched_yield()
  context.ret(UInt64(0))
}

/// Call 0x106: lets the applet read the architectural counter, unless it runs in lockstep.
func counter(_ context: ExecCtx) throws(ExecError) {
  guard context.lockstep == nil else { return context.ret(UInt64(0)) }
  let frequency: UInt64
  do {
    try context.allowCounter(true)
    context.mayReadCounter = true
    frequency = try context.counterFrequency()
  } catch { throw .kvm(error) }
  context.ret(frequency)
}

extension ExecCtx {
  /// Ticks a second of the architectural counter.
  package func counterFrequency() throws(KVMError) -> UInt64 {
    switch architecture {
    case .arm64: linux_counter_frequency()
    case .riscv64: try vcpu.register(RISCV64.timebase)
    }
  }
}
