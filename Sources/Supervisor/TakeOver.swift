import CLinux
import Control
import JSON
import Platform

/// What a daemon finds of the one before.
extension Daemon {
  /// Finds the applets of a daemon before: those whose processes run are its own from now on, of the others it tells what
  /// became of them.
  func takeOver() {
    for name in AppletFolder.names(in: options.state) where AppletName.isValid(name) { takeOver(name) }
    applets.sort { $0.configuration.started < $1.configuration.started }
    // After all files were read, for there may be no descriptor left then.
    watchProcesses()
  }

  private static let lost = "it ended while no daemon ran, and nobody knows how"

  /// Opens the processes that are not watched yet, with a few descriptors left for clients; some may have ended.
  func watchProcesses() {
    for applet in applets where applet.isUnwatched {
      if !applet.openProcess(upTo: descriptorLimit - 8) { ended(applet, status: nil) }
    }
  }

  private func takeOver(_ name: String) {
    let applet = AppletEntry(
      name: name, configuration: WorkerConfiguration(name: name, request: StartRequest()), state: options.state)
    let folder = applet.folder
    let trouble = applet.readRecords()
    // A start that came no further.
    if trouble == Errno(ENOENT), applet.process == nil { return folder.remove() }
    if let trouble {
      // Nobody knows what it was, or whether it runs: it is neither started again nor forgotten.
      log.write(.error, "unreadable", [("name", name), ("reason", trouble.description)])
      applet.configuration.request.restart.when = .no
      applet.configuration.request.isRemoved = false
    }
    if let path = applet.configuration.controlGroup { applet.group = ControlGroup(path: path) }
    applets.append(applet)
    if let process = applet.process {
      if linux_is_child(process.pid) { applet.child = process.pid }
      applet.state = .running
      tell(.info, "taken over", name, "pid \(process.pid)")
      if let until = applet.takeStop() { stop(applet, graceUntil: until) }
      return
    }
    applet.ended = Daemon.wallClock
    if let end = folder.read("end").flatMap({ RunEnd(record: $0) }) {
      applet.end = end
      applet.state =
        end.reason == Self.lost ? .lost : end.isStopped ? .stopped : end.status == nil ? .failed : .exited
      let written = linux_modified(folder.file("end"))
      if written > 0 { applet.ended = written }
    } else if let end = endForWantOfMemory(applet, nil) {
      applet.end = end
      applet.state = .failed
      tell(.warning, "failed", name, end.reason)
    } else {
      let reason = trouble.map { "its files cannot be read: \($0.description)" }
      let end = RunEnd(code: RunEnd.hostCode, reason: reason ?? Self.lost)
      applet.end = end
      applet.state = .lost
      if trouble == nil { try? folder.write("end", end.record) }
      tell(.warning, "lost", name, reason)
    }
    removeGroup(of: applet)
    let policy = applet.configuration.request.restart
    guard applet.state != .stopped, let isFailure = applet.end?.isFailure,
      let delay = policy.delay(after: applet.configuration.restarts, isFailure: isFailure)
    else {
      // It ended while no daemon ran, and nobody has to remember it.
      if applet.configuration.request.isRemoved {
        tell(.info, applet.state.rawValue, name, applet.end?.reason)
        remove(applet)
      }
      return
    }
    applet.state = .waiting
    applet.timer = Clock.monotonic + delay * 1_000_000
  }
}
