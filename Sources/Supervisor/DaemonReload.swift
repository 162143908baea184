import CLinux
import Platform

/// Reloads.
extension Daemon {
  /// Reloads, after a test run of the new program, which may be copied incompletely.
  func tryReload() {
    guard shutdownDeadline == nil else { return log.write(.warning, "no reload", [("reason", "the daemon is ending")]) }
    guard trial == nil else { return }
    let result = linux_try_program()
    if let errno = Errno(result: result) { return reloadFailed(errno.description) }
    trial = (Int32(truncatingIfNeeded: result), Clock.monotonic + 10_000_000_000)
  }

  func reloadFailed(_ reason: String) { log.write(.error, "reload failed", [("reason", reason)]) }

  /// Executes the new program, which takes over the applets. Clients connect again.
  func reload() {
    isReloading = false
    guard shutdownDeadline == nil else { return }
    log.write(.info, "reload")
    for applet in applets { applet.recordStop() }
    _ = linux_sd_notify("RELOADING=1")
    for applet in applets { applet.waiters = [] }
    for connection in connections { forget(connection) }
    // Calls of workers hold connections, and those hold descriptors that clients sent.
    workerCalls = []
    connections = []
    // The new program closes them, since this may block here.
    let left = (users.map { $0.closer } + [leftovers]).flatMap { $0.stop() }
    let result = linux_reexec(listener.number, lock.number, socketFile ?? "", left, left.count)
    for number in left { leftovers.close(number) }
    reloadFailed(Errno(result: result)?.description ?? "")
    _ = linux_sd_notify("READY=1")
  }
}
