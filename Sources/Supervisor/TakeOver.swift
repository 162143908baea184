import CLinux
import Control
import JSON
import Launch
import Platform

/// Takes over the applets of an earlier daemon.
extension Daemon {
  /// The default state directory. It is in memory, so that its applets do not survive a reboot.
  static let runState = "/run/swiftlet/applets"

  /// If systemd provides a persistent directory (StateDirectory=), applets in the default state directory are adopted
  /// from an earlier daemon without one. Their directories stay where their processes expect them, and are accessed
  /// through links until the next boot.
  func adopt() {
    guard linux_getenv("STATE_DIRECTORY") != nil, options.state != Self.runState else { return }
    let result = linux_flock_directory(Self.runState)
    // It does not exist, or another daemon uses it.
    guard result >= 0 else { return }
    adopted = OwnedDescriptor(Int32(truncatingIfNeeded: result))
    for name in AppletDirectory.names(in: Self.runState) where AppletName.isValid(name) {
      let directory = AppletDirectory(state: Self.runState, name: name)
      guard directory.read("configuration") != nil else { continue }
      _ = linux_link_to(directory.path, options.state + "/" + name)
    }
  }

  /// Finds the applets of an earlier daemon. Those with a running process are managed from here on; for the others the
  /// end is determined.
  /// - Throws: `DaemonFailure` if the state directory cannot be read: running applets would be forgotten.
  func takeOver() throws(DaemonFailure) {
    let names: [String]
    do throws(Errno) { names = try directoryNames(options.state) } catch {
      throw DaemonFailure("\(options.state): cannot be read: \(error.description)")
    }
    for name in names where AppletName.isValid(name) { takeOver(name) }
    applets.sort { $0.configuration.started.time < $1.configuration.started.time }
    // After all files have been read, because no descriptors may be left then.
    watchProcesses()
  }

  private static let lost = "it ended while no daemon was running; the cause is unknown"

  /// Opens pidfds of the processes that have none, but leaves some descriptors for clients. Some processes may have
  /// ended.
  func watchProcesses() {
    for applet in applets {
      guard let process = applet.phase.process, process.needsPolling else { continue }
      if !process.open(upTo: descriptorLimit - 8) { processEnded(applet, status: nil) }
    }
  }

  private func takeOver(_ name: String) {
    let directory = AppletDirectory(state: options.state, name: name)
    var (configuration, process, failure) = Self.records(of: name, directory)
    configuration.started.enter(boot: boot)
    // An incomplete start. If a power failure has left an applet's configuration empty, it has values and is kept.
    if failure == Errno(ENOENT), process == nil, directory.isEmpty("values") { return directory.remove() }
    if let failure {
      // Its state is unknown, so it is neither restarted nor removed.
      log.write(.error, "unreadable", [("name", name), ("reason", failure.description)])
      configuration.request.restart.when = .no
      configuration.request.isRemoved = false
    }
    // A stop was recorded in one way or the other.
    if configuration.keepsImage, directory.image == nil { configuration.disableRestarts() }
    if let process {
      let running = AppletProcess(process, in: directory, isChild: linux_is_child(process.pid), isTakenOver: true)
      let applet = AppletEntry(configuration, in: directory, .running(running))
      applets.append(applet)
      publish(.info, "taken over", name, "pid \(process.pid)")
      if let stop = AppletEntry.takeStop(of: process, directory) {
        requestStop(of: applet, running, killAt: stop.until, then: stop.next)
      }
      return
    }
    let (end, final) = findEnd(configuration, directory, failure)
    removeGroup(of: &configuration)
    let applet = AppletEntry(configuration, in: directory, .ended(end, final))
    applets.append(applet)
    let policy = configuration.request.restart
    if final == .stopped, policy.when != .no {
      // The earlier daemon stopped it when it ended itself.
      applet.phase = .waiting(end, until: Clock.monotonic)
    } else if let delay = policy.delay(after: configuration.restarts, isFailure: end.run.isFailure) {
      applet.phase = .waiting(end, until: Clock.monotonic + delay * 1_000_000)
    } else if configuration.request.isRemoved {
      // It ended while no daemon was running, and is to be removed.
      publish(.info, final.rawValue, name, end.run.reason)
      remove(applet)
    }
    // What is declared is started at each boot. No client has to be told later: this is not recorded.
    if applet.phase.hasEnded, boot != nil, configuration.started.boot != boot {
      applet.configuration.isExpected = true
    }
  }

  /// Reads an applet's configuration, and the identity of its process if that runs.
  /// - Returns: also the error if one of them cannot be read; ENOENT if it was never configured.
  private static func records(of name: String, _ directory: AppletDirectory)
    -> (configuration: WorkerConfiguration, process: ProcessIdentity?, failure: Errno?)
  {
    var configuration = WorkerConfiguration(name: name, request: StartRequest())
    var process: ProcessIdentity?
    var failure: Errno?
    do throws(Errno) {
      guard let known = WorkerConfiguration(try directory.record("configuration")) else { throw Errno(EBADMSG) }
      configuration = known
    } catch { failure = error }
    do throws(Errno) {
      guard let known = ProcessIdentity(try directory.record("process")) else { throw Errno(EBADMSG) }
      if try known.isRunning(in: directory) { process = known }
    } catch {
      // No process was created yet.
      if error != Errno(ENOENT) { failure = error }
    }
    return (configuration, process, failure)
  }

  /// How a run that an earlier daemon started has ended.
  /// - Parameter failure: why some of the applet's records cannot be read.
  private func findEnd(_ configuration: WorkerConfiguration, _ directory: AppletDirectory, _ failure: Errno?)
    -> (AppletEntry.End, AppletEntry.Final)
  {
    let now = Daemon.wallClock
    if let end = directory.read("end").flatMap({ RunEnd(record: $0) }) {
      let written = linux_mtime(directory.file("end"))
      return (
        AppletEntry.End(run: end, at: written > 0 ? written : now),
        end.reason == Self.lost ? .lost : end.isStopped ? .stopped : end.status == nil ? .failed : .exited
      )
    }
    if let end = outOfMemoryEnd(configuration, directory, nil) {
      publish(.warning, "failed", configuration.name, end.reason)
      return (AppletEntry.End(run: end, at: now), .failed)
    }
    let reason = failure.map { "its files cannot be read: \($0.description)" }
    let end = RunEnd(.host, reason: reason ?? Self.lost)
    if failure == nil { try? directory.write("end", end.record) }
    publish(.warning, "lost", configuration.name, reason)
    return (AppletEntry.End(run: end, at: now), .lost)
  }
}
