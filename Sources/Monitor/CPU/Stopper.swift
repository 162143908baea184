/// Stops a context or a Linux machine and waits for the end of its run, from any thread. It does not keep either of
/// them alive.
public struct Stopper: Sendable {
  let control: RunControl

  /// Stops the run; `ExecCtx.run` and `LinuxMachine.run` then return `.stopped`. If none is under way, the next run is
  /// stopped.
  public func stop() { control.stop() }

  /// Waits until the run has ended, or the first one if none has begun. Must not be called by the thread that runs the
  /// guest.
  /// - Parameter deadline: the CLOCK_MONOTONIC time in nanoseconds at which to give up; nil for none.
  /// - Returns: whether the run has ended.
  @discardableResult
  public func waitUntilDone(deadline: Int64? = nil) -> Bool { control.waitUntilDone(until: deadline) }
}
