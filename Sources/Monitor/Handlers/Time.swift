import KVM
import Machine
import AppletABI
import CLinux
import Platform

/// Call 0x102: comes back when the time has passed; a stop or the deadline ends it before.
func sleep(_ context: ExecCtx) throws(ExecError) {
  let length = Int64(clamping: context.a1)
  let (end, isEndless) = Clock.monotonic.addingReportingOverflow(length)
  _ = try context.wait(until: isEndless ? nil : end)
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
    frequency = try context.counterFrequency()
  } catch { throw .kvm(error) }
  context.ret(frequency)
}

extension ExecCtx {
  /// Ticks a second of the architectural counter.
  func counterFrequency() throws(KVMError) -> UInt64 {
    switch architecture {
    case .arm64: linux_counter_frequency()
    case .riscv64: try vcpu.register(RISCV64.timebase)
    }
  }
}
