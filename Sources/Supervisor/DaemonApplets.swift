import CLinux
import Control
import JSON
import Launch
import Platform

/// The life of an applet: start, end, restart.
extension Daemon {
  func applet(_ name: String) throws(ControlError) -> AppletEntry {
    guard let applet = applets.first(where: { $0.name == name }) else { throw .noSuchApplet(name) }
    return applet
  }

  /// Starts an applet's process, whose report will say whether the applet runs.
  /// - Parameters:
  ///   - configuration: the start time is recorded in it.
  ///   - sent: the image, if a client has sent it, open for reading.
  func launch(
    _ configuration: inout WorkerConfiguration, in directory: AppletDirectory, sent: Int32? = nil
  ) throws(ControlError) -> AppletEntry.Phase {
    try withImage(&configuration, directory, sent: sent) {
      image, configuration throws(ControlError) -> AppletEntry.Phase in
      configuration.started = StartTime.now(boot: boot)
      do throws(ControlError) {
        try makeGroup(for: &configuration)
        do throws(Errno) { return try spawn(configuration, in: directory, image: image) } catch {
          throw .hostFailure("cannot create the applet's process: \(error.description)")
        }
      } catch {
        removeGroup(of: &configuration)
        throw error
      }
    }
  }

  private func spawn(_ configuration: WorkerConfiguration, in directory: AppletDirectory, image: Int32)
    throws(Errno) -> AppletEntry.Phase
  {
    try directory.write("configuration", configuration.json)
    let configured = try directory.open("configuration", O_RDONLY)
    let console = try directory.open("console", O_WRONLY | O_CREAT | O_APPEND)
    let times = try directory.open("times", O_WRONLY | O_CREAT | O_APPEND)
    let end = try directory.open("end", O_WRONLY | O_CREAT | O_TRUNC)
    // The process inherits the open file description, and with it the lock, until it ends.
    _ = try checked(linux_flock(end.number, 1))
    let values = try directory.open("values", O_RDWR | O_CREAT)
    let nothing = try OwnedFD(opening: "/dev/null", flags: O_RDONLY, kernel: kernel)
    let copy = try configuration.maxImageSize.map { _ throws(Errno) in
      OwnedDescriptor(try directory.open("image", O_RDWR | O_CREAT | O_TRUNC))
    }
    let requests = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checked(linux_listen_at(directory.file("requests"), 0o600))),
      kernel: kernel)
    var ends: (Int32, Int32) = (-1, -1)
    _ = try checked(linux_pipe(&ends.0, &ends.1))
    let report = OwnedDescriptor(ends.0)
    let reportTarget = OwnedFD(adopting: ends.1, kernel: kernel)
    var numbers: [Int32] = [
      nothing.number, console.number, standardError.number, configured.number, image, requests.number, end.number,
      reportTarget.number, values.number, copy?.number ?? nothing.number, times.number,
    ]
    let identity: ProcessIdentity
    if configuration.request.hasInput {
      let made = linux_mkfifo(directory.file("input"), 0o600)
      if made != -Int(EEXIST) { _ = try checked(made) }
      // Opened for both directions, so that opening does not block, and the input does not end with the daemon.
      let both = try directory.open("input", O_RDWR)
      let input = try directory.open("input", O_RDONLY)
      let keeper = try directory.open("input", O_WRONLY)
      numbers[0] = input.number
      numbers.append(keeper.number)
      identity = try start(numbers, configuration, directory)
      _ = both.number
    } else {
      identity = try start(numbers, configuration, directory)
    }
    let process = AppletProcess(identity, in: directory, isChild: true)
    process.open()
    counters.started += 1
    return .starting(process, StartReport(report))
  }

  private func start(_ numbers: [Int32], _ configuration: WorkerConfiguration, _ directory: AppletDirectory)
    throws(Errno)
    -> ProcessIdentity
  {
    // strdup(3) copies, freed below: they must exist until the program has started.
    // The name is for ps(1) alone.
    let words = options.workerArguments + [configuration.name]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    // The record that identifies the process exists before the process does anything.
    let record = directory.file("process")
    let count = Int32(numbers.count)
    var began: Int64 = 0
    let pid: Int
    if let group = configuration.cgroup {
      let processes = try group.openProcesses()
      pid = try checked(linux_spawn(options.worker, &arguments, numbers, count, processes.number, record, &began))
    } else {
      pid = try checked(linux_spawn(options.worker, &arguments, numbers, count, -1, record, &began))
    }
    return ProcessIdentity(pid: Int32(truncatingIfNeeded: pid), began: began)
  }

  /// Reads a worker's report about its start.
  func readReport(of applet: AppletEntry) {
    guard case .starting(let process, let report) = applet.phase,
      report.read(image: applet.configuration.request.image)
    else { return }
    if applet.configuration.maxImageSize != nil, hasTooManyImages {
      report.fail(.hostFailure(ImageStore.full))
      return process.kill(orAgainAt: Clock.monotonic + 100_000_000)
    }
    applet.phase = .running(process)
    publish(.info, "running", applet.name, "pid \(process.pid)")
    let parameters: JSONValue = .object([
      JSONMember("name", .string(applet.name)), JSONMember("pid", .integer(Int64(process.pid))),
    ])
    answer(applet, parameters) {
      switch $0 {
      case .start: true
      // It may be this process that is to end first.
      case .restart: process.stop == nil
      case .stop, .end: false
      }
    }
  }

  /// Answers the connections that wait for an event of the applet.
  func answer(_ applet: AppletEntry, _ parameters: JSONValue, where predicate: (AppletEntry.Waiting) -> Bool) {
    let all = applet.waiters
    applet.waiters = all.filter { !predicate($0.what) }
    for waiter in all where predicate(waiter.what) { waiter.connection.reply(parameters) }
  }

  /// Called when an applet's process has ended: the only way out of `starting` and `running`.
  /// - Parameter status: from waitpid(2); nil if it was not a child.
  func processEnded(_ applet: AppletEntry, status: Int32?) {
    defer { stopYoungest() }
    // The report may still be in its pipe.
    readReport(of: applet)
    guard let process = applet.phase.process else { return }
    _ = linux_unlink(applet.directory.file("requests"))
    let end = AppletEntry.End(run: runEnd(of: applet, status), at: Daemon.wallClock)
    removeGroup(of: &applet.configuration)
    counters.ended += 1
    applet.ends[EndKind(end.run, wasStopped: process.stop != nil)] += 1
    if case .starting(_, let report) = applet.phase {
      if applet.waiters.contains(where: { if case .start = $0.what { true } else { false } }) {
        return startFailed(applet, end, report.failure, isStopping: process.stop != nil)
      }
      // After a stop without a failure, finish() answers with the state.
      if process.stop.map({ $0.next != .restart && report.failure != nil }) ?? true {
        restartFailed(applet, report.failure ?? .hostFailure(end.run.reason))
      }
      if report.isLastAttempt, process.stop == nil {
        counters.failed += 1
        return finish(applet, end, .failed, willRestart: false)
      }
    }
    if process.stop?.next == .restart, shutdownDeadline == nil { return startAgain(applet, after: end) }
    if process.stop != nil || end.run.isStopped {
      // An earlier daemon, which ended before the process did, stopped it; a user's stop would be recorded.
      if process.stop == nil, shutdownDeadline == nil, applet.configuration.request.restart.when != .no {
        applet.phase = .waiting(end, until: Clock.monotonic)
        return publish(.info, "waiting", applet.name, end.run.reason)
      }
      return finish(applet, end, .stopped)
    }
    // An applet that exits has not failed, even if its restart policy treats the status as a failure.
    if end.run.status == nil { counters.failed += 1 }
    restartOrFinish(applet, end)
  }

  /// Called after the end of a run that was not requested: schedules a restart, or finishes the applet.
  func restartOrFinish(_ applet: AppletEntry, _ end: AppletEntry.End) {
    let delay = applet.configuration.request.restart.delay(
      after: applet.configuration.restarts, isFailure: end.run.isFailure)
    guard let delay, shutdownDeadline == nil else {
      return finish(applet, end, end.run.status == nil ? .failed : .exited, willRestart: delay != nil)
    }
    applet.phase = .waiting(end, until: Clock.monotonic + delay * 1_000_000)
    publish(end.run.status == nil ? .warning : .info, "waiting", applet.name, "\(end.run.reason); again in \(delay) ms")
    answer(applet, .object([JSONMember("end", end.run.json)])) { if case .stop = $0 { true } else { false } }
  }

  /// The end from the record that the worker left, or from its exit status.
  private func runEnd(of applet: AppletEntry, _ status: Int32?) -> RunEnd {
    if let end = outOfMemoryEnd(applet.configuration, applet.directory, status) { return end }
    if let signal = status.map({ linux_status_signal($0) }), signal > 0 {
      var end = RunEnd(code: 128 + signal, signal: signal, reason: Self.reason(for: signal))
      // An applet that did not stop in time at the end of the daemon has not failed.
      end.isStopped = shutdownDeadline != nil && applet.phase.process?.stop != nil
      try? applet.directory.write("end", end.record)
      return end
    }
    if let record = applet.directory.read("end"), var end = RunEnd(record: record) {
      // A compromised process cannot say that it was stopped: it would be started again at once.
      if end.isStopped, let process = applet.phase.process, process.stop == nil, !process.isTakenOver {
        end.isStopped = false
        try? applet.directory.write("end", end.record)
      }
      if end.code == ExitCode.host.rawValue, let limit = applet.configuration.request.guest.limits.threads,
        applet.configuration.cgroup?.isOutOfThreads == true
      {
        end.reason += ": its process may have \(limit) threads (threads)"
        try? applet.directory.write("end", end.record)
      }
      return end
    }
    let end = endWithoutRecord(status)
    try? applet.directory.write("end", end.record)
    return end
  }

  /// The end from the process's exit status, if the disk was full when the worker wrote its record.
  private func endWithoutRecord(_ status: Int32?) -> RunEnd {
    guard let status else {
      return RunEnd(.host, reason: "its process was killed by an unknown cause")
    }
    let code = linux_status_code(status)
    // Other statuses are, or may be, Swiftlet's own.
    if (0..<120).contains(code) {
      return RunEnd(code: code, status: UInt8(code), reason: "exited with status \(code)")
    }
    return RunEnd(code: code, reason: "its process ended with status \(code) without a record: is the disk full?")
  }

  /// The end of an applet that exceeded the memory limit of its control group; nil for another end.
  func outOfMemoryEnd(_ configuration: WorkerConfiguration, _ directory: AppletDirectory, _ status: Int32?) -> RunEnd? {
    guard let limit = configuration.request.guest.limits.processMemory, configuration.cgroup?.isOutOfMemory == true,
      status.map({ linux_status_signal($0) == SIGKILL }) ?? true
    else { return nil }
    let end = RunEnd(
      code: 128 + SIGKILL, signal: SIGKILL,
      reason: "its process was killed: it exceeded its \(limit) bytes of memory (process_memory)")
    try? directory.write("end", end.record)
    return end
  }

  private static func reason(for signal: Int32) -> String {
    switch signal {
    case SIGKILL: "its process was killed (SIGKILL): by an administrator, or because the host is out of memory"
    case SIGSYS: "its process made a system call that the sandbox does not allow (SIGSYS)"
    default: "its process was ended by signal \(signal)"
    }
  }

  /// Called when a start has failed for which a client waits: the applet does not exist then, unless it has replaced another.
  private func startFailed(
    _ applet: AppletEntry, _ end: AppletEntry.End, _ failure: ControlError?, isStopping: Bool
  ) {
    publish(.warning, "start failed", applet.name, end.run.reason)
    if !isStopping { counters.failed += 1 }
    applet.phase = .ended(end, isStopping ? .stopped : .failed)
    if applet.hasReplaced {
      // What the former one has left stays.
      disableRestarts(of: applet)
      expectStart(of: applet)
    } else {
      applets.removeAll { $0 === applet }
      applet.directory.remove()
    }
    let error: ControlError = shutdownDeadline == nil ? failure ?? .hostFailure(end.run.reason) : .shuttingDown
    for waiter in applet.waiters { if case .start = waiter.what { waiter.connection.reply(Reply(error)) } }
    answerEnd(of: applet, end.run)
  }

  /// Records that an applet is not to be restarted, by this daemon or a later one.
  func disableRestarts(of applet: AppletEntry) {
    guard applet.configuration.request.restart.when != .no else { return }
    applet.configuration.disableRestarts()
    let result = linux_unlink(applet.directory.file("image"))
    do throws(Errno) { try applet.directory.write("configuration", applet.configuration.json) } catch {
      // If the disk is full, removing the image has the same effect (TakeOver).
      if result < 0 { applet.unrecorded = error }
    }
  }

  /// Called when an applet has ended and is not restarted: the only way into `ended`.
  /// - Parameter willRestart: whether it was stopped because the daemon ends, and a later daemon restarts it.
  func finish(
    _ applet: AppletEntry, _ end: AppletEntry.End, _ final: AppletEntry.Final, willRestart: Bool = true
  ) {
    let willRestart = willRestart && shutdownDeadline != nil && applet.configuration.request.restart.when != .no
    let isRequested = applet.phase.process?.stop?.next == .end
    applet.phase = .ended(end, final)
    publish(final == .failed || final == .lost ? .warning : .info, final.rawValue, applet.name, end.run.reason)
    if !willRestart, final != .lost { disableRestarts(of: applet) }
    if final == .stopped, !willRestart, !isRequested, shutdownDeadline != nil { expectStart(of: applet) }
    answerEnd(of: applet, end.run)
    for connection in connections {
      if case .console(let reader)? = connection.pending, reader.entry === applet {
        continueConsole(connection, reader)
      }
    }
    if applet.configuration.request.isRemoved, !willRestart { remove(applet) }
  }

  /// Answers the connections that wait for an applet's end, or have requested it.
  private func answerEnd(of applet: AppletEntry, _ end: RunEnd) {
    for waiter in applet.waiters {
      var members = [JSONMember("end", end.json)]
      switch waiter.what {
      case .start: continue
      // Another client has stopped it meanwhile, or the daemon ends.
      case .restart:
        let error: ControlError =
          shutdownDeadline == nil ? .wrongState(applet.name, state: applet.phase.name) : .shuttingDown
        waiter.connection.reply(Reply(error))
        continue
      case .stop:
        if let unrecorded = applet.unrecorded {
          waiter.connection.reply(Reply(Self.unrecordedStop(of: applet, unrecorded)))
          continue
        }
      case .end: members.insert(JSONMember("state", .string(applet.phase.name)), at: 0)
      }
      waiter.connection.reply(.object(members))
    }
    applet.waiters = []
  }

  /// The error for a client whose stop is not recorded, and so holds for this daemon only.
  static func unrecordedStop(of applet: AppletEntry, _ errno: Errno) -> ControlError {
    .hostFailure(
      "\(applet.name) is stopped, but that could not be recorded: \(errno.description); the next daemon may start it again"
    )
  }

  func remove(_ applet: AppletEntry) {
    applets.removeAll { $0 === applet }
    applet.directory.remove()
    publish(.info, "removed", applet.name)
  }

  /// Restarts an applet.
  func restart(_ applet: AppletEntry) {
    // A restart because of the daemon's own end does not count towards the limit.
    if applet.phase.end?.run.isStopped != true {
      applet.configuration.restarts += 1
      counters.restarts += 1
    }
    do throws(ControlError) {
      applet.phase = try launch(&applet.configuration, in: applet.directory)
    } catch {
      let end = RunEnd(.host, reason: Reply(error).errorText ?? "")
      try? applet.directory.write("end", end.record)
      restartOrFinish(applet, AppletEntry.End(run: end, at: Daemon.wallClock))
    }
  }

  /// Asks an applet to stop; its process is killed at this CLOCK_MONOTONIC time.
  func requestStop(
    of applet: AppletEntry, _ process: AppletProcess, killAt end: Int64, then next: AppletProcess.Next = .end
  ) {
    process.beginStop(killAt: end, then: next)
    do throws(Errno) {
      workerCalls.append(try WorkerCall(Call("Stop"), to: applet.directory) { _ in })
    } catch {
      // Its queue is full, or it is ending: the timer handles this.
      log.write(.warning, "stop", [("name", applet.name), ("reason", error.description)])
    }
  }
}
