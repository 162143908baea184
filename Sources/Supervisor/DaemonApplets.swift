import CLinux
import Control
import JSON
import Platform

/// What happens to applets: start, end, restart.
extension Daemon {
  func applet(_ name: String) throws(ControlError) -> AppletEntry {
    guard let applet = applets.first(where: { $0.name == name }) else { throw .noSuchApplet(name) }
    return applet
  }

  /// Starts an applet's process; its report will say whether the applet runs.
  /// - Parameter image: open for reading; nil to open the request's path.
  func launch(_ applet: AppletEntry, image: consuming OwnedFD?) throws(ControlError) {
    let path = applet.configuration.request.image
    let file: OwnedFD
    if let image {
      file = image
    } else {
      do { file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel) } catch {
        throw .badImage(path, reason: error.description)
      }
    }
    applet.configuration.started = Daemon.wallClock
    applet.end = nil
    applet.ended = nil
    applet.startFailure = nil
    applet.isStopping = false
    applet.reported = MessageBuffer()
    do throws(ControlError) {
      try makeGroup(for: applet)
      do throws(Errno) {
        try spawn(applet, image: file)
      } catch { throw .hostFailure("the applet's process cannot be made: \(error.description)") }
    } catch {
      removeGroup(of: applet)
      throw error
    }
    applet.state = .starting
  }

  private func spawn(_ applet: AppletEntry, image: borrowing OwnedFD) throws(Errno) {
    let folder = applet.folder
    let request = applet.configuration.request
    try folder.write("configuration", applet.configuration.json)
    let configuration = try folder.open("configuration", O_RDONLY)
    let console = try folder.open("console", O_WRONLY | O_CREAT | O_APPEND)
    let end = try folder.open("end", O_WRONLY | O_CREAT | O_TRUNC)
    let values = try folder.open("values", O_RDWR | O_CREAT)
    let requests = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checked(linux_listen_at(folder.file("requests"), 0o600))), kernel: kernel)
    var ends: (Int32, Int32) = (-1, -1)
    _ = try checked(linux_make_pipe(&ends.0, &ends.1))
    let report = OwnedDescriptor(ends.0)
    let reportTarget = OwnedFD(adopting: ends.1, kernel: kernel)
    var numbers: [Int32] = [
      -1, console.number, STDERR_FILENO, configuration.number, image.number, requests.number, end.number,
      reportTarget.number, values.number,
    ]
    var began: Int64 = 0
    let pid: Int
    if request.hasInput {
      let made = linux_make_fifo(folder.file("input"), 0o600)
      if made != -Int(EEXIST) { _ = try checked(made) }
      // Both ends, so that neither opening waits for the other, and the input does not end with a daemon.
      let both = try folder.open("input", O_RDWR)
      let input = try folder.open("input", O_RDONLY)
      let keeper = try folder.open("input", O_WRONLY)
      numbers[0] = input.number
      numbers.append(keeper.number)
      pid = try start(numbers, of: applet, &began)
      _ = both.number
    } else {
      let nothing = try OwnedFD(opening: "/dev/null", flags: O_RDONLY, kernel: kernel)
      numbers[0] = nothing.number
      pid = try start(numbers, of: applet, &began)
    }
    applet.report = report
    let child = Int32(truncatingIfNeeded: pid)
    applet.child = child
    applet.process = ProcessIdentity(pid: child, began: began)
    applet.openProcess()
    counters.started += 1
  }

  private func start(_ numbers: [Int32], of applet: AppletEntry, _ began: inout Int64) throws(Errno) -> Int {
    // strdup(3) copies, freed below: the words live until the program has started.
    var words: [UnsafeMutablePointer<CChar>?] = options.workerWords.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    // What a daemon to come knows it by is there before the process does anything.
    let identity = applet.folder.file("process")
    let count = Int32(numbers.count)
    guard let group = applet.group else {
      return try checked(linux_spawn(options.worker, &words, numbers, count, -1, identity, &began))
    }
    let processes = try group.openProcesses()
    return try checked(linux_spawn(options.worker, &words, numbers, count, processes.number, identity, &began))
  }

  /// Reads what a worker reports of its start.
  func readReport(of applet: AppletEntry) {
    guard let descriptor = applet.report?.number else { return }
    let result = applet.reported.fill { linux_read(descriptor, $0.baseAddress, $0.count) }
    if result == -Int(EAGAIN) || result == -Int(EINTR) { return }
    switch applet.reported.next() {
    case .message(let message):
      applet.report = nil
      applet.reported = MessageBuffer()
      let value = message.withUnsafeBytes { JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }
      applet.startFailure = Self.startFailure(value, image: applet.configuration.request.image)
      if applet.startFailure == nil { running(applet) }
    // Without a report its end tells what was wrong.
    case .incomplete: if result <= 0 { applet.report = nil }
    case .tooLong: applet.report = nil
    }
  }

  /// Why a start failed, by the worker's report; nil where it runs.
  static func startFailure(_ report: JSONValue?, image: String) -> ControlError? {
    guard let error = report?["error"], let end = RunEnd(record: error) else { return nil }
    return report?["image"] == .bool(true) ? .badImage(image, reason: end.reason) : .hostFailure(end.reason)
  }

  private func running(_ applet: AppletEntry) {
    guard applet.state == .starting else { return }
    applet.state = .running
    let pid = applet.process.map { Int64($0.pid) } ?? 0
    tell(.info, "running", applet.name, "pid \(pid)")
    answer(applet, .object([JSONMember("name", .string(applet.name)), JSONMember("pid", .integer(pid))])) {
      if case .start = $0 { true } else { false }
    }
  }

  /// Answers the connections that wait for something of the applet.
  func answer(_ applet: AppletEntry, _ parameters: JSONValue, where isMeant: (AppletEntry.Waiting) -> Bool) {
    let all = applet.waiters
    applet.waiters = all.filter { !isMeant($0.what) }
    for waiter in all where isMeant(waiter.what) { waiter.connection.reply(parameters) }
  }

  /// An applet's process has ended.
  /// - Parameter status: as waitpid(2) has it; nil where it was no child.
  func ended(_ applet: AppletEntry, status: Int32?) {
    defer { stopYoungest() }
    // The report may wait in its pipe still.
    if applet.report != nil { readReport(of: applet) }
    applet.report = nil
    applet.process = nil
    applet.child = nil
    applet.pidfd = nil
    applet.timer = nil
    applet.ended = Daemon.wallClock
    _ = linux_unlink(applet.folder.file("requests"))
    let end = howItEnded(applet, status)
    removeGroup(of: applet)
    applet.end = end
    counters.ended += 1
    if applet.state == .starting, applet.waiters.contains(where: { if case .start = $0.what { true } else { false } }) {
      return neverRan(applet, end)
    }
    if applet.isStopping || end.isStopped {
      conclude(applet, .stopped)
    } else {
      if end.isFailure { counters.failed += 1 }
      let again = applet.configuration.request.restart.delay(
        after: applet.configuration.restarts, isFailure: end.isFailure)
      if let again, endsNever {
        applet.state = .waiting
        applet.timer = Clock.monotonic + again * 1_000_000
        tell(.warning, "waiting", applet.name, "\(end.reason); again in \(again) ms")
        answer(applet, .object([JSONMember("end", end.json)])) { if case .stop = $0 { true } else { false } }
      } else {
        conclude(applet, end.status == nil ? .failed : .exited)
      }
    }
  }

  private var endsNever: Bool { endsAt == nil }

  /// Gives the record that the worker left, or makes one.
  private func howItEnded(_ applet: AppletEntry, _ status: Int32?) -> RunEnd {
    if let end = endForWantOfMemory(applet, status) { return end }
    if let signal = status.map({ linux_status_signal($0) }), signal > 0 {
      let end = RunEnd(code: 128 + signal, signal: signal, reason: Self.words(for: signal))
      try? applet.folder.write("end", end.record)
      return end
    }
    if let record = applet.folder.read("end"), var end = RunEnd(record: record) {
      if end.code == RunEnd.hostCode, let limit = applet.configuration.request.limits.threads,
        applet.group?.isOutOfThreads == true
      {
        end.reason += ": its process may have \(limit) threads (threads)"
        try? applet.folder.write("end", end.record)
      }
      return end
    }
    let end = endWithoutRecord(status)
    try? applet.folder.write("end", end.record)
    return end
  }

  /// The end by the process's exit status, where the disk had no room for a record.
  private func endWithoutRecord(_ status: Int32?) -> RunEnd {
    guard let status else {
      return RunEnd(code: RunEnd.hostCode, reason: "its process was killed, and nobody saw by what")
    }
    let code = linux_status_code(status)
    // Others are Swiftlet's own, or may be.
    if (0..<120).contains(code) {
      return RunEnd(code: code, status: UInt8(code), reason: "exited with status \(code)")
    }
    return RunEnd(code: code, reason: "its process ended with status \(code) and without a word: is the disk full?")
  }

  /// The end of an applet whose control group was out of memory; nil for any other.
  func endForWantOfMemory(_ applet: AppletEntry, _ status: Int32?) -> RunEnd? {
    guard let limit = applet.configuration.request.limits.processMemory, applet.group?.isOutOfMemory == true,
      status.map({ linux_status_signal($0) == SIGKILL }) ?? true
    else { return nil }
    let end = RunEnd(
      code: 128 + SIGKILL, signal: SIGKILL,
      reason: "its process was killed for want of memory: it may have \(limit) bytes (process_memory)")
    try? applet.folder.write("end", end.record)
    return end
  }

  private static func words(for signal: Int32) -> String {
    switch signal {
    case SIGKILL: "its process was killed (SIGKILL): by an administrator, or for want of memory"
    case SIGSYS: "its process made a system call that the sandbox does not allow (SIGSYS)"
    default: "its process was ended by signal \(signal)"
    }
  }

  /// A start that a client waits for has failed: there is no applet.
  private func neverRan(_ applet: AppletEntry, _ end: RunEnd) {
    let error = applet.startFailure ?? .hostFailure(end.reason)
    tell(.warning, "start failed", applet.name, applet.end?.reason)
    applet.state = applet.isStopping ? .stopped : .failed
    if applet.state == .failed { counters.failed += 1 }
    applets.removeAll { $0 === applet }
    applet.folder.remove()
    for waiter in applet.waiters {
      if case .start = waiter.what { waiter.connection.reply(Reply(error)) }
    }
    answerEnd(applet, end)
  }

  /// An applet has come to its end for good.
  func conclude(_ applet: AppletEntry, _ state: AppletState) {
    applet.state = state
    let end = applet.end ?? RunEnd(code: RunEnd.hostCode, reason: "it is not known how it ended")
    tell(state == .failed || state == .lost ? .warning : .info, state.rawValue, applet.name, end.reason)
    answerEnd(applet, end)
    // A daemon to come must not start it again.
    if applet.configuration.request.restart.when != .no, state != .lost {
      applet.configuration.request.restart.when = .no
      try? applet.folder.write("configuration", applet.configuration.json)
    }
    for connection in connections {
      if case .console(let reader)? = connection.task, reader.entry === applet { continueConsole(connection, reader) }
    }
    if applet.configuration.request.isRemoved { remove(applet) }
  }

  /// Answers those who wait for an applet's end or have asked for it, which has come for good.
  private func answerEnd(_ applet: AppletEntry, _ end: RunEnd) {
    for waiter in applet.waiters {
      var members = [JSONMember("end", end.json)]
      switch waiter.what {
      case .start: continue
      case .stop: break
      case .end: members.insert(JSONMember("state", .string(applet.state.rawValue)), at: 0)
      }
      waiter.connection.reply(.object(members))
    }
    applet.waiters = []
  }

  func remove(_ applet: AppletEntry) {
    applets.removeAll { $0 === applet }
    applet.folder.remove()
    tell(.info, "removed", applet.name)
  }

  /// Ends the wait for a restart.
  func giveUp(_ applet: AppletEntry) {
    applet.timer = nil
    conclude(applet, .stopped)
  }

  func restart(_ applet: AppletEntry) {
    applet.configuration.restarts += 1
    counters.restarts += 1
    do throws(ControlError) {
      var image: OwnedFD?
      if let kept = applet.image {
        do { image = try kept.copy() } catch { throw .hostFailure(error.description) }
      } else if applet.configuration.request.image.isEmpty {
        throw .badImage("", reason: "it came as a descriptor, to a daemon before this one")
      }
      try launch(applet, image: image)
    } catch {
      applet.ended = Daemon.wallClock
      applet.end = RunEnd(code: RunEnd.hostCode, reason: Reply(error).complaint ?? "")
      try? applet.folder.write("end", applet.end!.record)
      conclude(applet, .failed)
    }
  }

  /// Asks an applet to stop; it is killed at that time on CLOCK_MONOTONIC.
  func stop(_ applet: AppletEntry, graceUntil end: Int64) {
    applet.isStopping = true
    applet.timer = min(applet.timer ?? .max, end)
    do throws(Errno) {
      workerCalls.append(try WorkerCall(Call("Stop"), to: applet.folder) { _ in })
    } catch {
      // Its queue is full, or it is ending: the timer sees to it.
      log.write(.warning, "stop", [("name", applet.name), ("reason", error.description)])
    }
  }
}
