import KVM
import Machine
import CLinux
import Platform

/// Call 0x102: returns after a duration; a stop or the deadline interrupts it.
@inline(never)
func sleep(_ context: ExecCtx) throws(ExecError) {
  var end = Clock.monotonic.addingSaturating(Int64(clamping: context.a1))
  if let applet = context.applet {
    // After an interruption it sleeps for the remaining time.
    if let before = applet.sleepUnderWay, before.pc == context.pc, before.nanoseconds == context.a1 {
      end = before.end
    }
    applet.sleepUnderWay = (context.pc, context.a1, end)
  }
  _ = try context.wait(until: end == .max ? nil : end)
  context.applet?.sleepUnderWay = nil
  context.ret(UInt64(0))
}

/// Call 0x103: gives up the CPU to other threads.
func yield(_ context: ExecCtx) {
  sched_yield()
  context.ret(UInt64(0))
}

/// Call 0x106: allows the applet to read the architectural counter, unless it runs in lockstep.
@inline(never)
func counter(_ context: ExecCtx) throws(ExecError) {
  guard context.applet?.lockstep == nil else { return context.ret(UInt64(0)) }
  let frequency: UInt64
  do {
    try context.guest.allowCounter(true)
    context.guest.mayReadCounter = true
    frequency = try context.counterFrequency()
  } catch { throw .kvm(error) }
  context.ret(frequency)
}

extension ExecCtx {
  /// The frequency of the architectural counter in Hz. Must be called for the vCPU of the calling thread: for another
  /// one, KVM would wait until it has left the guest.
  package func counterFrequency() throws(KVMError) -> UInt64 {
    guard let register = architecture.facts.counterFrequency else { return linux_counter_frequency() }
    return try (program?.caller ?? guest.cpu).vcpu.register(register)
  }
}
