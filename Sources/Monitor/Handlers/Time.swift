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
