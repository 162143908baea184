import CLinux
import Control
import JSON
import Launch
import Platform

/// The interface's methods.
extension Daemon {
  func perform(_ call: Call, _ connection: Connection) {
    counters.calls += 1
    connection.isOneway = call.oneway
    do {
      if let parameters = try answer(call, connection) {
        connection.reply(Reply(parameters), tooLong: call.more ? .replyTooLong : .expectedMore)
      }
    } catch { connection.reply(Reply(error)) }
    connection.descriptors = []
  }

  /// - Returns: the reply; nil if it follows later.
  private func answer(_ call: Call, _ connection: Connection) throws(ControlError) -> JSONValue? {
    switch call.interface {
    case "org.varlink.service": return try Interface.service(call, version: options.version)
    case Interface.name[...]: break
    default: throw .interfaceNotFound(String(call.interface))
    }
    let parameters = Parameters(call.parameters)
    switch call.method.dropFirst(Interface.name.utf8.count + 1) {
    case "Start":
      try start(StartRequest(call.parameters), connection)
      return nil
    case "Stop":
      let applet = try applet(parameters.name())
      let grace = try parameters.integer("grace", in: 0...3_600_000) ?? 5000
      return try stop(applet, killAt: Clock.monotonic + grace * 1_000_000, connection)
    case "StartAgain":
      let applet = try applet(parameters.name())
      let grace = try parameters.integer("grace", in: 0...3_600_000) ?? 5000
      let image = try sentImage(parameters.integer("image_descriptor", in: 0...15).map { Int($0) }, connection)
      try restart(applet, grace: grace * 1_000_000, image: image, connection)
      return nil
    case "Kill":
      let applet = try applet(parameters.name())
      return try stop(applet, killAt: nil, connection)
    case "Wait":
      let applet = try applet(parameters.name())
      if case .ended(let end, let final) = applet.phase {
        return .object([JSONMember("state", .string(final.rawValue)), JSONMember("end", end.run.json)])
      }
      wait(connection, applet, .end)
      return nil
    case "List":
      guard call.more else { return Self.list(applets[...]) }
      connection.pending = .list(applets[...])
      return nil
    case "Inspect": return try inspect(applet(parameters.name()), connection)
    case "Console": return try console(applet(parameters.name()), parameters, call, connection)
    case "Input": return try input(applet(parameters.name()), parameters)
    case "SetLimits":
      let applet = try runningApplet(parameters.name())
      guard let limits = try parameters.object("limits") else { throw .invalidParameter("limits") }
      let changed = try GuestLimits(limits)
      try setGroupLimits(changed, of: applet)
      applet.configuration.request.guest.change(changed)
      try? applet.directory.write("configuration", applet.configuration.json)
      try ask(applet, Call("SetLimits", changed.json), connection) { .success($0) }
      return nil
    case "Upload": return try upload(parameters, connection)
    case "Events":
      guard call.more else { throw .expectedMore }
      connection.pending = .events
      connection.reply(.object([JSONMember("time", .integer(Daemon.wallClock))]), continues: true)
      return nil
    case "Metrics": return metrics()
    case "Statistics":
      let wanted = try parameters.has("name") ? [applet(parameters.name())] : applets
      connection.pending = .statistics(StatisticsCall(wanted[...], isInParts: call.more))
      return nil
    case "Remove":
      let applet = try applet(parameters.name())
      guard applet.phase.hasEnded else { throw .wrongState(applet.name, state: applet.phase.name) }
      remove(applet)
      return .object([])
    case "Peek", "Poke":
      let applet = try runningApplet(parameters.name())
      guard applet.configuration.request.isDebug else {
        throw .notAllowed(applet.name, reason: "it was started without --debug")
      }
      let name = call.method.hasSuffix("Peek") ? "Peek" : "Poke"
      // Its copies are not at the same instruction between two calls, so that they would see a change at different
      // points.
      if name == "Poke", applet.configuration.request.guest.copies != nil {
        throw .notAllowed(applet.name, reason: "memory cannot be changed in lockstep")
      }
      try ask(applet, Call(name, call.parameters), connection) { .success($0) }
      return nil
    default: throw .methodNotFound(call.method)
    }
  }

  func wait(_ connection: Connection, _ applet: AppletEntry, _ what: AppletEntry.Waiting) {
    connection.pending = .reply
    applet.waiters.append((connection, what))
  }

  private func runningApplet(_ name: String) throws(ControlError) -> AppletEntry {
    let applet = try applet(name)
    guard applet.phase.isRunning else { throw .wrongState(name, state: applet.phase.name) }
    return applet
  }

  private func start(_ request: StartRequest, _ connection: Connection) throws(ControlError) {
    guard shutdownDeadline == nil else { throw .shuttingDown }
    try checkLimits(request.guest.limits)
    var request = request
    let image: Int32?
    if request.isUploaded {
      guard let upload = connection.upload else { throw .invalidParameter("image_uploaded") }
      image = upload.descriptor.number
    } else {
      // It stays open until the call has completed.
      image = try sentImage(request.imageDescriptor, connection)?.number
      if image != nil { request.imageDescriptor = 0 }
    }
    defer { connection.upload = nil }
    let name = request.name ?? freeName()
    let former = applets.first { $0.name == name }
    if let former {
      guard request.isReplacing else { throw .nameTaken(name) }
      guard former.phase.hasEnded else { throw .wrongState(name, state: former.phase.name) }
    }
    request.isReplacing = false
    var configuration = WorkerConfiguration(name: name, request: request)
    configuration.user = options.workerUser
    configuration.group = options.workerGroup
    configuration.isSandboxed = options.isSandboxed
    configuration.isLogJSON = log.isJSON
    configuration.hasLogPrefix = log.hasPrefix
    let directory = AppletDirectory(state: options.state, name: name)
    if former != nil {
      // Its values and its output stay. A copy of its image would be run instead of the new one.
      _ = linux_unlink(directory.file("image"))
    } else {
      do throws(Errno) { try directory.make() } catch { throw .hostFailure("\(directory.path): \(error.description)") }
    }
    let phase: AppletEntry.Phase
    do throws(ControlError) { phase = try launch(&configuration, in: directory, sent: image) } catch {
      if let former {
        restoreRecords(of: former)
        expectStart(of: former)
      } else {
        directory.remove()
      }
      throw error
    }
    let applet = AppletEntry(configuration, in: directory, phase)
    if let former {
      applet.hasReplaced = true
      applets.removeAll { $0 === former }
    }
    applets.append(applet)
    wait(connection, applet, .start)
  }

  /// The image that a client has sent, by the index of its descriptor; nil for none.
  private func sentImage(_ index: Int?, _ connection: Connection) throws(ControlError) -> ReceivedDescriptor? {
    guard let index else { return nil }
    guard connection.descriptors.indices.contains(index) else { throw .invalidParameter("image_descriptor") }
    return connection.descriptors[index]
  }

  /// A name that is not in use.
  private func freeName() -> String {
    var number = counters.started + 1
    while applets.contains(where: { $0.name == "applet-\(number)" }) { number += 1 }
    return "applet-\(number)"
  }

  /// Stops an applet: with a request, or immediately if `end` is nil.
  private func stop(_ applet: AppletEntry, killAt end: Int64?, _ connection: Connection) throws(ControlError)
    -> JSONValue?
  {
    switch applet.phase {
    case .starting(let process, _), .running(let process):
      // Recorded first, in case the stop or this daemon fails.
      disableRestarts(of: applet)
      wait(connection, applet, .stop)
      if let end {
        requestStop(of: applet, process, killAt: end)
      } else {
        process.kill(orAgainAt: Clock.monotonic)
        process.stop?.next = .end
      }
      return nil
    case .waiting(let last, _):
      disableRestarts(of: applet)
      finish(applet, last, .stopped)
      if let unrecorded = applet.unrecorded { throw Self.unrecordedStop(of: applet, unrecorded) }
      return .object([JSONMember("end", last.run.json)])
    case .ended: throw .wrongState(applet.name, state: applet.phase.name)
    }
  }

  /// Passes a call on to a worker, and the worker's reply to the client.
  private func ask(
    _ applet: AppletEntry, _ call: Call, _ connection: Connection,
    _ made: @escaping (JSONValue) -> Result<JSONValue, ControlError>
  ) throws(ControlError) {
    connection.pending = .reply
    let name = applet.name
    do throws(Errno) {
      let asked = try WorkerCall(call, to: applet.directory) { reply in
        guard let reply else {
          return connection.reply(Reply(.hostFailure("the worker of \(name) does not answer")))
        }
        if reply.error == "org.swiftlet.Control.BadAddress", case .string(let address)? = reply.parameters["address"] {
          return connection.reply(Reply(.badAddress(name, address: address)))
        }
        // The worker may be compromised: its reply is the only one.
        if reply.error != nil { return connection.reply(Reply(reply.parameters, error: reply.error)) }
        switch made(reply.parameters) {
        case .success(let parameters): connection.reply(parameters)
        case .failure(let error): connection.reply(Reply(error))
        }
      }
      workerCalls.append(asked)
    } catch {
      connection.pending = nil
      throw .hostFailure("cannot connect to the worker of \(name): \(error.description)")
    }
  }

  private func inspect(_ applet: AppletEntry, _ connection: Connection) throws(ControlError) -> JSONValue? {
    var members = [JSONMember("applet", applet.json)] + applet.settings
    guard applet.phase.isRunning else {
      if let end = applet.phase.end?.run, !end.registers.isEmpty {
        members.append(JSONMember("registers", end.registerList))
        if let symbol = end.symbol { members.append(JSONMember("symbol", .string(symbol))) }
      }
      return .object(members)
    }
    if let pid = applet.phase.process?.pid, let bytes = ProcessIdentity.resident(pid) {
      members.append(JSONMember("resident", .integer(bytes)))
    }
    try ask(applet, Call("Inspect"), connection) { value in
      // The worker's part of the reply; the rest is the daemon's.
      for name in ["calls", "cpu_time", "regions", "registers", "symbol"] {
        if let more = value[name] { members.append(JSONMember(name, more)) }
      }
      return .success(.object(members))
    }
    return nil
  }

  private func input(_ applet: AppletEntry, _ parameters: Parameters) throws(ControlError) -> JSONValue {
    guard applet.phase.isRunning else { throw .wrongState(applet.name, state: applet.phase.name) }
    guard applet.configuration.request.hasInput else {
      throw .notAllowed(applet.name, reason: "it was started without --input")
    }
    let bytes = try parameters.bytes("data") ?? []
    var taken = 0
    if !bytes.isEmpty {
      do throws(Errno) { taken = try applet.directory.writeInput(bytes) } catch {
        throw .hostFailure("cannot write to the input of \(applet.name): \(error.description)")
      }
    }
    if try parameters.bool("end"), taken == bytes.count {
      do throws(Errno) { workerCalls.append(try WorkerCall(Call("EndInput"), to: applet.directory) { _ in }) } catch {
        // A process that is ending does not listen any more, and its input ends with it.
        guard error == Errno(ECONNREFUSED) else { throw .hostFailure(error.description) }
      }
    }
    return .object([JSONMember("taken", .integer(Int64(taken)))])
  }

  // MARK: List

  private static func list(_ applets: ArraySlice<AppletEntry>) -> JSONValue {
    .object([JSONMember("applets", .array(applets.map { $0.json }))])
  }

  /// Sends as much of a list as the client's buffer can hold, in parts. The description of one applet has less than 64
  /// KiB.
  func continueList(_ connection: Connection, _ applets: ArraySlice<AppletEntry>) {
    var rest = applets
    for _ in 0..<ConsoleReader.turn where connection.waiting < ConsoleReader.chunk {
      let piece = rest.prefix(8)
      rest = rest.dropFirst(8)
      connection.pending = .list(rest)
      connection.reply(Self.list(piece), continues: !rest.isEmpty)
      if rest.isEmpty { return }
      connection.flush()
    }
  }

  // MARK: Console

  private func console(
    _ applet: AppletEntry, _ parameters: Parameters, _ call: Call, _ connection: Connection
  ) throws(ControlError) -> JSONValue? {
    let offset = try parameters.integer("offset", in: 0...Int64.max) ?? 0
    let isFollowing = try parameters.bool("follow")
    let hasTimes = try parameters.bool("times")
    if isFollowing, !call.more { throw .expectedMore }
    let reader: ConsoleReader
    do throws(Errno) {
      reader = ConsoleReader(
        applet, file: try applet.directory.open("console", O_RDONLY), offset: offset, isFollowing: isFollowing,
        times: hasTimes ? TimeReader(try applet.directory.open("times", O_RDONLY | O_CREAT)) : nil)
    } catch { throw .hostFailure("cannot read the console of \(applet.name): \(error.description)") }
    guard call.more else {
      let (start, bytes) = reader.next()
      return Self.chunk(start, bytes, reader.time)
    }
    if isFollowing {
      reader.watch = Int32(
        truncatingIfNeeded: linux_inotify_add_watch(watcher.number, applet.directory.file("console")))
    }
    connection.pending = .console(reader)
    return nil
  }

  private static func chunk(_ offset: Int64, _ bytes: [UInt8], _ time: Int64?) -> JSONValue {
    var members = [JSONMember("data", .string(Base64.encode(bytes))), JSONMember("offset", .integer(offset))]
    if let time { members.append(JSONMember("time", .integer(time))) }
    return .object(members)
  }

  /// Sends as much of a console as the client's buffer can hold; the rest stays in its file.
  func continueConsole(_ connection: Connection, _ reader: ConsoleReader) {
    // It may stop because the buffer is full, or the turn is over. The buffer may be empty again before the next poll.
    reader.hasMore = true
    for _ in 0..<ConsoleReader.turn where connection.waiting < ConsoleReader.chunk {
      // Checked before reading, so that output written in between is still read.
      let hasEnded = reader.entry.phase.hasEnded || !applets.contains { $0 === reader.entry }
      let (start, bytes) = reader.next()
      if bytes.isEmpty {
        reader.hasMore = false
        guard hasEnded || !reader.isFollowing else { return }
        stopWatching(reader)
        return connection.reply(Self.chunk(start, [], nil))
      }
      connection.reply(Self.chunk(start, bytes, reader.time), continues: true)
      connection.flush()
    }
  }

  func stopWatching(_ reader: ConsoleReader) {
    guard reader.watch >= 0 else { return }
    // All readers of a file share one inotify watch.
    let others = connections.contains {
      if case .console(let other)? = $0.pending { other !== reader && other.watch == reader.watch } else { false }
    }
    if !others { _ = linux_inotify_rm_watch(watcher.number, reader.watch) }
    reader.watch = -1
  }

  /// Consoles have grown: their readers are served with all other clients.
  func takeChanges() {
    var watches = [Int32](repeating: 0, count: 256)
    // Once: applets that never stop writing must not hold up clients.
    _ = linux_inotify_read(watcher.number, &watches, Int32(watches.count))
  }

  private func metrics() -> JSONValue {
    func count(_ predicate: (AppletEntry) -> Bool) -> JSONValue { .integer(Int64(applets.filter(predicate).count)) }
    return .object([
      JSONMember("applets", .integer(Int64(applets.count))),
      JSONMember("running", count { $0.phase.isAlive }),
      JSONMember("started", .integer(counters.started)),
      JSONMember("ended", .integer(counters.ended)),
      JSONMember("failed", .integer(counters.failed)),
      JSONMember("restarts", .integer(counters.restarts)),
      JSONMember("connections", .integer(Int64(connections.count))),
      JSONMember("calls", .integer(counters.calls)),
      JSONMember("resident", .integer(ProcessIdentity.resident(linux_getpid()) ?? 0)),
      JSONMember("descriptors", .integer(Int64(linux_descriptor_count()))),
      JSONMember("uptime", .integer((Clock.monotonic - began) / 1_000_000)),
    ])
  }
}
