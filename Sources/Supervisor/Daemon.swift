import CLinux
import Control
import JSON
import Platform

/// The daemon: one thread that waits for clients, workers, signals and time, and looks after each in turn.
///
/// Nothing that it does for one client or applet waits for another.
public final class Daemon {
  let options: DaemonOptions
  let log: Log
  let kernel: any Kernel = LinuxKernel()
  private let listener: OwnedFD
  /// Held as long as the applets are this daemon's.
  private let lock: OwnedFD
  private let signals: OwnedFD
  let watcher: OwnedFD
  /// How many descriptors there may be.
  let descriptorLimit: Int32
  /// nil where no control group is left to the daemon.
  let groups: ControlGroups?

  var applets: [AppletEntry] = []
  var connections: [Connection] = []
  var workerCalls: [WorkerCall] = []
  var counters = Counters()
  let began = Clock.monotonic
  /// CLOCK_MONOTONIC nanoseconds at which the daemon ends whether its applets have or not; nil while it runs.
  private(set) var endsAt: Int64?
  /// Until when no new connection is accepted, after descriptors have run out.
  private var acceptsFrom: Int64 = 0

  /// Connections at a time: further ones wait in the listener's queue.
  static let mostConnections = 256

  /// What the daemon has counted since it began.
  struct Counters {
    var started: Int64 = 0
    var ended: Int64 = 0
    var failed: Int64 = 0
    var restarts: Int64 = 0
    var calls: Int64 = 0
  }

  /// Takes over the applets of a daemon before, and begins to listen.
  public init(_ options: DaemonOptions) throws(DaemonFailure) {
    self.options = options
    log = Log(format: options.logFormat)
    signals = try Self.own("signalfd", linux_signals())
    watcher = try Self.own("inotify", linux_watcher())
    descriptorLimit = linux_raise_descriptor_limit()
    if let path = options.controlGroup {
      do { groups = try ControlGroups(path) } catch {
        throw DaemonFailure("--cgroup \(path) is no control group (cgroup v2): \(error.description)")
      }
    } else {
      groups = ControlGroups.delegated()
    }
    try Self.makeFolders(options.state)
    // Before anything of the applets, or of a socket that is another daemon's, is touched.
    lock = try Self.lock(options)
    if let inherited = options.inheritedSocket {
      if let errno = Errno(result: linux_take_listener(inherited)) {
        throw DaemonFailure("the socket that was handed over is none to listen on: \(errno.description)")
      }
      listener = OwnedFD(adopting: inherited, kernel: LinuxKernel())
    } else {
      let probe = linux_connect(options.socket, false)
      if probe >= 0 {
        _ = linux_close(Int32(truncatingIfNeeded: probe))
        throw DaemonFailure("\(options.socket): another daemon listens there: end it first, or give another --socket")
      }
      listener = try Self.own(options.socket, linux_listen_at(options.socket, options.group == nil ? 0o600 : 0o660))
      if let group = options.group { _ = linux_change_owner(options.socket, UInt32.max, group) }
    }
    takeOver()
    // Whoever ended while a daemon before became this one was told to that one.
    reap()
  }

  private static func own(_ what: String, _ result: Int) throws(DaemonFailure) -> OwnedFD {
    if let errno = Errno(result: result) { throw DaemonFailure("\(what): \(errno.description)") }
    return OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: LinuxKernel())
  }

  /// Locks the folder of the applets' files: two daemons would start and stop the same applets.
  private static func lock(_ options: DaemonOptions) throws(DaemonFailure) -> OwnedFD {
    if let inherited = options.inheritedLock { return OwnedFD(adopting: inherited, kernel: LinuxKernel()) }
    let result = linux_lock_folder(options.state)
    if result == -Int(EAGAIN) {
      throw DaemonFailure(
        "\(options.state): another daemon has its applets there: end it first, or give another --state")
    }
    return try own(options.state, result)
  }

  /// Makes a folder and those above it that are missing.
  private static func makeFolders(_ path: String) throws(DaemonFailure) {
    let bytes = Array(path.utf8)
    for end in bytes.indices.dropFirst() where bytes[end] == 0x2f {
      _ = linux_make_folder(String(decoding: bytes[..<end], as: UTF8.self), 0o755)
    }
    let result = linux_make_folder(path, 0o700)
    if let errno = Errno(result: result), errno != Errno(EEXIST) {
      throw DaemonFailure(
        "\(path): the applets' files cannot be kept there: \(errno.description); give another --state")
    }
  }

  /// Runs until a signal ends it.
  public func run() {
    log.write(.info, "ready", [("socket", options.socket), ("applets", "\(applets.count)")])
    _ = linux_notify("READY=1")
    while !isDone { step() }
    if options.ownsSocket { _ = linux_unlink(options.socket) }
    log.write(.info, "end")
  }

  private var isDone: Bool {
    guard let endsAt else { return false }
    return !applets.contains { $0.state.isAlive } || Clock.monotonic > endsAt + 1_000_000_000
  }

  /// What a descriptor that is waited for belongs to.
  private enum Source {
    case listener, signals, watcher
    case connection(Connection)
    case report(AppletEntry)
    case process(AppletEntry)
    case worker(WorkerCall)
  }

  /// Waits for something to happen, so many nanoseconds at most, and looks after it.
  func step(for most: Int64 = .max) {
    var wanted: [pollfd] = []
    var sources: [Source] = []
    func wait(_ descriptor: Int32, _ events: Int32, _ source: Source) {
      wanted.append(pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0))
      sources.append(source)
    }
    let now = Clock.monotonic
    wait(signals.number, POLLIN, .signals)
    wait(watcher.number, POLLIN, .watcher)
    if endsAt == nil, now >= acceptsFrom, connections.count < Self.mostConnections {
      wait(listener.number, POLLIN, .listener)
    }
    for connection in connections { wait(connection.descriptor.number, connection.wanted, .connection(connection)) }
    for applet in applets {
      if let report = applet.report { wait(report.number, POLLIN, .report(applet)) }
      if !applet.isChild, let pidfd = applet.pidfd { wait(pidfd.number, POLLIN, .process(applet)) }
    }
    for call in workerCalls { wait(call.descriptor.number, call.wanted, .worker(call)) }

    let left = nanosecondsToWait(now)
    _ = linux_poll_for(&wanted, wanted.count, most == .max ? left : min(left < 0 ? .max : left, most))
    for (entry, source) in zip(wanted, sources) where entry.revents != 0 {
      switch source {
      case .signals: takeSignals()
      case .watcher: takeChanges()
      case .listener: accept()
      case .connection(let connection):
        // A client that is gone altogether waits for nothing any more.
        if Int32(entry.revents) & (POLLERR | POLLHUP) != 0, connection.wanted & POLLIN == 0 { connection.close() }
        if Int32(entry.revents) & (POLLIN | POLLHUP) != 0, !connection.isDead { connection.receive() }
      case .report(let applet): readReport(of: applet)
      case .process(let applet): ended(applet, status: nil)
      case .worker(let call): call.proceed()
      }
    }
    takeTimers()
    serve()
  }

  /// Nanoseconds until the next timer; -1 for none.
  private func nanosecondsToWait(_ now: Int64) -> Int64 {
    var next = Int64.max
    for applet in applets { if let timer = applet.timer { next = min(next, timer) } }
    for call in workerCalls { next = min(next, call.deadline) }
    for connection in connections {
      if case .console(let reader)? = connection.task, reader.hasMore, connection.waiting < ConsoleReader.chunk {
        return 0
      }
    }
    // Of those that nobody tells of, somebody has to ask.
    if applets.contains(where: { $0.isUnwatched }) { next = min(next, now + 1_000_000_000) }
    if now < acceptsFrom { next = min(next, acceptsFrom) }
    if let endsAt { next = min(next, endsAt > now ? endsAt : endsAt + 1_000_000_000) }
    return next == .max ? -1 : max(next - now, 0)
  }

  /// Answers calls that have come, and sends replies.
  private func serve() {
    for connection in connections {
      while let call = connection.nextCall() { perform(call, connection) }
      if case .console(let reader)? = connection.task { continueConsole(connection, reader) }
      connection.flush()
      // What could not be taken before may be taken now.
      while connection.waiting == 0, let call = connection.nextCall() {
        perform(call, connection)
        connection.flush()
      }
    }
    workerCalls.removeAll { $0.isDone }
    guard connections.contains(where: { $0.isDead }) else { return }
    for connection in connections where connection.isDead { forget(connection) }
    connections.removeAll { $0.isDead }
  }

  private func forget(_ connection: Connection) {
    if case .console(let reader)? = connection.task { stopWatching(reader) }
    for applet in applets { applet.waiters.removeAll { $0.connection === connection } }
  }

  private func accept() {
    while connections.count < Self.mostConnections {
      let result = linux_accept(listener.number)
      if result == -Int(EMFILE) || result == -Int(ENFILE) {
        // Whoever waits is accepted once descriptors are free again; until then the queue must not keep the daemon busy.
        acceptsFrom = Clock.monotonic + 100_000_000
        log.write(.warning, "descriptors exhausted")
        return
      }
      guard result >= 0 else { return }
      let descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: LinuxKernel())
      var (pid, user, group): (Int32, UInt32, UInt32) = (0, 0, 0)
      let isKnown = linux_peer(descriptor.number, &pid, &user, &group) == 0
      let number = descriptor.number
      let connection = Connection(descriptor, peer: pid)
      if !isKnown || !mayConnect(number, user, group) {
        log.write(.warning, "refused", [("pid", "\(pid)"), ("user", "\(user)")])
        connection.reply(Reply(ControlError.permissionDenied))
        connection.leave()
      }
      connections.append(connection)
    }
  }

  private func mayConnect(_ descriptor: Int32, _ user: UInt32, _ group: UInt32) -> Bool {
    if user == 0 || user == linux_user_id() { return true }
    guard let allowed = options.group else { return false }
    return group == allowed || linux_peer_in_group(descriptor, allowed)
  }

  private func takeSignals() {
    while true {
      let signal = Int32(truncatingIfNeeded: linux_next_signal(signals.number))
      switch signal {
      case 0: return
      case SIGCHLD: reap()
      case SIGHUP: reload()
      default: beginEnd()
      }
    }
  }

  private func reap() {
    var status: Int32 = 0
    while case let pid = linux_reap(&status), pid > 0 {
      if let applet = applets.first(where: { $0.child == Int32(truncatingIfNeeded: pid) }) {
        ended(applet, status: status)
      }
    }
  }

  /// Ends: lets the applets stop, the youngest first, one after the other.
  func beginEnd() {
    guard endsAt == nil else { return }
    endsAt = Clock.monotonic + options.endGrace
    log.write(.info, "ending", [("running", "\(applets.filter { $0.state.isAlive }.count)")])
    _ = linux_notify("STOPPING=1")
    for applet in applets.reversed() where applet.state == .waiting { giveUp(applet) }
    stopYoungest()
  }

  /// While the daemon ends: asks the youngest applet to stop, and gives it its share of the time that is left, or a second.
  func stopYoungest() {
    guard let endsAt, let youngest = applets.last(where: { $0.state.isAlive }) else { return }
    let now = Clock.monotonic
    let share = max(endsAt - now, 0) / Int64(applets.filter { $0.state.isAlive }.count)
    stop(youngest, graceUntil: min(now + max(share, 1_000_000_000), endsAt))
  }

  /// Reloads: the program itself takes the place of the one that runs, and takes over its applets. Clients connect anew.
  private func reload() {
    guard endsAt == nil else { return log.write(.warning, "no reload", [("reason", "the daemon is ending")]) }
    log.write(.info, "reload")
    for applet in applets { applet.recordStop() }
    _ = linux_notify("RELOADING=1")
    let result = linux_execute_again(listener.number, lock.number)
    log.write(.error, "reload failed", [("reason", Errno(result: result)?.description ?? "")])
    _ = linux_notify("READY=1")
  }

  private func takeTimers() {
    let now = Clock.monotonic
    for applet in applets {
      guard let timer = applet.timer, timer <= now else { continue }
      applet.timer = nil
      if applet.state == .waiting {
        restart(applet)
      } else {
        log.write(.warning, "grace over", [("name", applet.name)])
        if !applet.kill(SIGKILL) { applet.timer = now + 100_000_000 }
      }
    }
    watchProcesses()
    if let endsAt, endsAt <= now {
      for applet in applets where applet.state.isAlive {
        applet.isStopping = true
        applet.kill(SIGKILL)
      }
    }
    for call in workerCalls where call.deadline <= now { call.finish(nil) }
  }

  /// Tells the log, and those who want to know, what has happened to an applet.
  func tell(_ level: Log.Level, _ event: String, _ name: String, _ detail: String? = nil) {
    log.write(level, event, [("name", name)] + (detail.map { [("detail", $0)] } ?? []))
    var members = [
      JSONMember("time", .integer(Self.wallClock)), JSONMember("event", .string(event)),
      JSONMember("name", .string(name)),
    ]
    if let detail { members.append(JSONMember("detail", .string(detail))) }
    for connection in connections {
      guard case .events? = connection.task else { continue }
      // Nobody waits for a reader of events.
      if connection.waiting > Connection.outputLimit { connection.close() }
      connection.reply(.object(members), continues: true)
    }
  }

  /// Milliseconds since 1970.
  static var wallClock: Int64 { linux_clock(CLOCK_REALTIME) / 1_000_000 }
}
