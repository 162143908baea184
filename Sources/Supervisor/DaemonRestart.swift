import CLinux
import Control
import JSON
import Launch
import Platform

/// Restarts on request, which do not depend on the restart policy.
extension Daemon {
  /// Performs StartAgain: the reply follows when the applet runs again.
  /// - Parameters:
  ///   - grace: nanoseconds in which it must stop.
  ///   - image: the image that the client has sent, for an applet of which there is no copy.
  func restart(
    _ applet: AppletEntry, grace: Int64, image: ReceivedDescriptor?, _ connection: Connection
  ) throws(ControlError) {
    guard shutdownDeadline == nil else { throw .shuttingDown }
    switch applet.phase {
    case .starting(let process, _), .running(let process):
      wait(connection, applet, .restart(image: image))
      requestStop(of: applet, process, killAt: Clock.monotonic + grace, then: .restart)
    case .waiting, .ended:
      let hasEnded = applet.phase.hasEnded
      try launchAgain(applet, sent: image)
      if case .starting(_, let report) = applet.phase { report.isLastAttempt = hasEnded }
      wait(connection, applet, .restart(image: nil))
    }
  }

  /// Called when a process has ended that was stopped for a restart.
  func startAgain(_ applet: AppletEntry, after end: AppletEntry.End) {
    publish(.info, "restarting", applet.name, end.run.reason)
    answer(applet, .object([JSONMember("end", end.run.json)])) { if case .stop = $0 { true } else { false } }
    var sent: ReceivedDescriptor?
    for waiter in applet.waiters { if case .restart(let image?) = waiter.what { sent = image } }
    applet.phase = .ended(end, .stopped)
    do throws(ControlError) { try launchAgain(applet, sent: sent) } catch {
      restartFailed(applet, error)
      let failure = RunEnd(.host, reason: Reply(error).errorText ?? "")
      try? applet.directory.write("end", failure.record)
      restartOrFinish(applet, AppletEntry.End(run: failure, at: Daemon.wallClock))
    }
  }

  /// Answers the clients that wait for a restart.
  func restartFailed(_ applet: AppletEntry, _ error: ControlError) {
    let all = applet.waiters
    applet.waiters = all.filter { if case .restart = $0.what { false } else { true } }
    for waiter in all { if case .restart = waiter.what { waiter.connection.reply(Reply(error)) } }
  }

  /// Starts the process of an applet without one, with the settings that it was started with.
  /// - Throws: the reason, after which the applet is as it was.
  private func launchAgain(_ applet: AppletEntry, sent: ReceivedDescriptor?) throws(ControlError) {
    var configuration = applet.configuration
    configuration.renew()
    let isKept = applet.directory.image?.isWhole ?? false
    do throws(ControlError) {
      // For an uploaded image the path is only for display: a file there is another one.
      let image = isKept || configuration.request.isUploaded ? nil : sent?.number
      applet.phase = try launch(&configuration, in: applet.directory, sent: image)
    } catch {
      restoreRecords(of: applet, keepsImage: isKept)
      throw error
    }
    applet.configuration = configuration
    applet.unrecorded = nil
  }

  /// Writes the records of an applet again that an attempt to start a process in its place may have replaced.
  func restoreRecords(of applet: AppletEntry, keepsImage: Bool = false) {
    try? applet.directory.write("configuration", applet.configuration.json)
    if let end = applet.phase.end { try? applet.directory.write("end", end.run.record) }
    if !keepsImage { _ = linux_unlink(applet.directory.file("image")) }
  }
}
