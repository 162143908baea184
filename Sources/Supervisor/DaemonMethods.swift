import CLinux
import Control
import JSON
import Platform

/// The interface's methods.
extension Daemon {
  func perform(_ call: Call, _ connection: Connection) {
    counters.calls += 1
    connection.isOneway = call.oneway
    do {
      if let parameters = try answer(call, connection) { connection.reply(parameters) }
    } catch { connection.reply(Reply(error)) }
    connection.descriptors = []
  }

  /// - Returns: the reply; nil where it comes later.
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
      return try end(applet, graceUntil: Clock.monotonic + grace * 1_000_000, connection)
    case "Kill":
      let applet = try applet(parameters.name())
      return try end(applet, graceUntil: nil, connection)
    case "Wait":
      let applet = try applet(parameters.name())
      if applet.state.hasEnded {
        return .object([
          JSONMember("state", .string(applet.state.rawValue)), JSONMember("end", applet.end?.json ?? .null),
        ])
      }
      wait(connection, applet, .end)
      return nil
    case "List": return .object([JSONMember("applets", .array(applets.map { $0.json }))])
    case "Inspect": return try inspect(applet(parameters.name()), connection)
    case "Console": return try console(applet(parameters.name()), parameters, call, connection)
    case "Input": return try input(applet(parameters.name()), parameters)
    case "SetLimits":
      let applet = try running(parameters.name())
      guard let limits = try parameters.object("limits") else { throw .invalidParameter("limits") }
      let changed = try AppletLimits(limits)
      try setGroupLimits(changed, of: applet)
      applet.configuration.request.limits = applet.configuration.request.limits.changed(by: changed)
      try? applet.folder.write("configuration", applet.configuration.json)
      try ask(applet, Call("SetLimits", changed.json), connection) { .success($0) }
      return nil
    case "Events":
      guard call.more else { throw .expectedMore }
      connection.task = .events
      connection.reply(.object([JSONMember("time", .integer(Daemon.wallClock))]), continues: true)
      return nil
    case "Metrics": return metrics()
    case "Remove":
      let applet = try applet(parameters.name())
      guard applet.state.hasEnded else { throw .wrongState(applet.name, state: applet.state.rawValue) }
      remove(applet)
      return .object([])
    case "Peek", "Poke":
      let applet = try running(parameters.name())
      guard applet.configuration.request.isDebug else {
        throw .notAllowed(applet.name, reason: "it was not started for debugging")
      }
      let name = call.method.hasSuffix("Peek") ? "Peek" : "Poke"
      // Its copies are not all at the same instruction between two calls: one would see what another does not.
      if name == "Poke", applet.configuration.request.copies > 0 {
        throw .notAllowed(applet.name, reason: "it runs in copies, and what changes them must be the same for all")
      }
      try ask(applet, Call(name, call.parameters), connection) { .success($0) }
      return nil
    default: throw .methodNotFound(call.method)
    }
  }

  private func wait(_ connection: Connection, _ applet: AppletEntry, _ what: AppletEntry.Waiting) {
    connection.task = .waiting
    applet.waiters.append((connection, what))
  }

  private func running(_ name: String) throws(ControlError) -> AppletEntry {
    let applet = try applet(name)
    guard applet.state == .running else { throw .wrongState(name, state: applet.state.rawValue) }
    return applet
  }

  private func start(_ request: StartRequest, _ connection: Connection) throws(ControlError) {
    guard endsAt == nil else { throw .shuttingDown }
    try checkLimits(request.limits)
    var request = request
    var image: OwnedFD?
    var kept: OwnedDescriptor?
    if let index = request.imageDescriptor {
      let came = connection.descriptors
      guard came.indices.contains(index) else { throw .invalidParameter("image_descriptor") }
      do throws(Errno) {
        image = try came[index].copy()
        if request.restart.when != .no { kept = came[index] }
      } catch { throw .hostFailure(error.description) }
      request.imageDescriptor = 0
    }
    let name = request.name ?? freeName()
    guard !applets.contains(where: { $0.name == name }) else { throw .nameTaken(name) }
    var configuration = WorkerConfiguration(name: name, request: request)
    configuration.user = options.workerUser
    configuration.group = options.workerGroup
    configuration.isSandboxed = options.isSandboxed
    configuration.isLogJSON = log.isJSON
    configuration.hasLogPrefix = log.hasPrefix
    let applet = AppletEntry(name: name, configuration: configuration, state: options.state)
    applet.image = kept
    do throws(Errno) { try applet.folder.make() } catch {
      throw .hostFailure("\(applet.folder.path): \(error.description)")
    }
    do throws(ControlError) { try launch(applet, image: image) } catch {
      applet.folder.remove()
      throw error
    }
    applets.append(applet)
    wait(connection, applet, .start)
  }

  /// A name that no applet has.
  private func freeName() -> String {
    var number = counters.started + 1
    while applets.contains(where: { $0.name == "applet-\(number)" }) { number += 1 }
    return "applet-\(number)"
  }

  /// Ends an applet: at once, or after asking it.
  private func end(_ applet: AppletEntry, graceUntil end: Int64?, _ connection: Connection) throws(ControlError)
    -> JSONValue?
  {
    switch applet.state {
    case .waiting:
      giveUp(applet)
      return .object([JSONMember("end", applet.end?.json ?? .null)])
    case .starting, .running: break
    default: throw .wrongState(applet.name, state: applet.state.rawValue)
    }
    wait(connection, applet, .stop)
    if let end {
      stop(applet, graceUntil: end)
    } else {
      applet.isStopping = true
      // Where no descriptor is left for it, the timer tries again.
      if !applet.kill(SIGKILL) { applet.timer = Clock.monotonic }
    }
    return nil
  }

  /// Asks a worker, and answers the client with what it says.
  private func ask(
    _ applet: AppletEntry, _ call: Call, _ connection: Connection,
    _ made: @escaping (JSONValue) -> Result<JSONValue, ControlError>
  ) throws(ControlError) {
    connection.task = .waiting
    let name = applet.name
    do throws(Errno) {
      let asked = try WorkerCall(call, to: applet.folder) { reply in
        guard let reply else {
          return connection.reply(Reply(.hostFailure("the worker of \(name) does not answer")))
        }
        if reply.error == "org.swiftlet.Control.BadAddress", case .string(let address)? = reply.parameters["address"] {
          return connection.reply(Reply(.badAddress(name, address: address)))
        }
        if reply.error != nil { return connection.reply(reply) }
        switch made(reply.parameters) {
        case .success(let parameters): connection.reply(parameters)
        case .failure(let error): connection.reply(Reply(error))
        }
      }
      workerCalls.append(asked)
    } catch {
      connection.task = nil
      throw .hostFailure("the worker of \(name) cannot be asked: \(error.description)")
    }
  }

  private func inspect(_ applet: AppletEntry, _ connection: Connection) throws(ControlError) -> JSONValue? {
    var members = [JSONMember("applet", applet.json)]
    guard applet.state == .running else {
      if let end = applet.end, !end.registers.isEmpty {
        members.append(JSONMember("registers", end.registerList))
        if let symbol = end.symbol { members.append(JSONMember("symbol", .string(symbol))) }
      }
      return .object(members)
    }
    if let pid = applet.process?.pid, let bytes = ProcessIdentity.resident(pid) {
      members.append(JSONMember("resident", .integer(bytes)))
    }
    try ask(applet, Call("Inspect"), connection) { value in
      // What the applet's process knows of itself; of the rest the daemon knows better.
      for name in ["calls", "cpu_time", "regions", "registers", "symbol"] {
        if let more = value[name] { members.append(JSONMember(name, more)) }
      }
      return .success(.object(members))
    }
    return nil
  }

  private func input(_ applet: AppletEntry, _ parameters: Parameters) throws(ControlError) -> JSONValue {
    guard applet.state == .running else { throw .wrongState(applet.name, state: applet.state.rawValue) }
    guard applet.configuration.request.hasInput else {
      throw .notAllowed(applet.name, reason: "it was started without input")
    }
    let bytes = try parameters.bytes("data") ?? []
    var taken = 0
    if !bytes.isEmpty {
      do throws(Errno) { taken = try applet.folder.feed(bytes) } catch {
        throw .hostFailure("the input of \(applet.name) cannot be written to: \(error.description)")
      }
    }
    if try parameters.bool("end"), taken == bytes.count {
      do throws(Errno) { workerCalls.append(try WorkerCall(Call("EndInput"), to: applet.folder) { _ in }) } catch {
        // Of a process that is ending nobody listens any more, and its input ends with it.
        guard error == Errno(ECONNREFUSED) else { throw .hostFailure(error.description) }
      }
    }
    return .object([JSONMember("taken", .integer(Int64(taken)))])
  }

  // MARK: Console

  private func console(
    _ applet: AppletEntry, _ parameters: Parameters, _ call: Call, _ connection: Connection
  ) throws(ControlError) -> JSONValue? {
    let offset = try parameters.integer("offset", in: 0...Int64.max) ?? 0
    let isFollowing = try parameters.bool("follow")
    if isFollowing, !call.more { throw .expectedMore }
    let reader: ConsoleReader
    do throws(Errno) {
      reader = ConsoleReader(
        applet, file: try applet.folder.open("console", O_RDONLY), offset: offset, isFollowing: isFollowing)
    } catch { throw .hostFailure("the console of \(applet.name) cannot be read: \(error.description)") }
    guard call.more else {
      let (start, bytes) = reader.next()
      return Self.chunk(start, bytes)
    }
    if isFollowing {
      reader.watch = Int32(truncatingIfNeeded: linux_watch(watcher.number, applet.folder.file("console")))
    }
    connection.task = .console(reader)
    return nil
  }

  private static func chunk(_ offset: Int64, _ bytes: [UInt8]) -> JSONValue {
    .object([JSONMember("data", .string(Base64.encode(bytes))), JSONMember("offset", .integer(offset))])
  }

  /// Sends as much of a console as the client takes; the rest waits in its file.
  func continueConsole(_ connection: Connection, _ reader: ConsoleReader) {
    // Whether it stops here for want of room or of time: the room may be there again before anybody waits for it.
    reader.hasMore = true
    for _ in 0..<ConsoleReader.turn where connection.waiting < ConsoleReader.chunk {
      // Asked before reading: what comes in between is read yet.
      let hasEnded = reader.entry.state.hasEnded || !applets.contains { $0 === reader.entry }
      let (start, bytes) = reader.next()
      if bytes.isEmpty {
        reader.hasMore = false
        guard hasEnded || !reader.isFollowing else { return }
        stopWatching(reader)
        return connection.reply(Self.chunk(start, []))
      }
      connection.reply(Self.chunk(start, bytes), continues: true)
      connection.flush()
    }
  }

  func stopWatching(_ reader: ConsoleReader) {
    guard reader.watch >= 0 else { return }
    // Several readers of one file have the same watch.
    let others = connections.contains {
      if case .console(let other)? = $0.task { other !== reader && other.watch == reader.watch } else { false }
    }
    if !others { _ = linux_unwatch(watcher.number, reader.watch) }
    reader.watch = -1
  }

  /// Consoles have grown: those who follow them are served with everybody else.
  func takeChanges() {
    var watches = [Int32](repeating: 0, count: 256)
    while linux_changes(watcher.number, &watches, Int32(watches.count)) > 0 {}
  }

  private func metrics() -> JSONValue {
    func count(_ isMeant: (AppletEntry) -> Bool) -> JSONValue { .integer(Int64(applets.filter(isMeant).count)) }
    return .object([
      JSONMember("applets", .integer(Int64(applets.count))),
      JSONMember("running", count { $0.state.isAlive }),
      JSONMember("started", .integer(counters.started)),
      JSONMember("ended", .integer(counters.ended)),
      JSONMember("failed", .integer(counters.failed)),
      JSONMember("restarts", .integer(counters.restarts)),
      JSONMember("connections", .integer(Int64(connections.count))),
      JSONMember("calls", .integer(counters.calls)),
      JSONMember("resident", .integer(ProcessIdentity.resident(linux_process_id()) ?? 0)),
      JSONMember("descriptors", .integer(Int64(linux_descriptor_count()))),
      JSONMember("uptime", .integer((Clock.monotonic - began) / 1_000_000)),
    ])
  }
}
