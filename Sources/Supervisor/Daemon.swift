import CLinux
import Control
import JSON
import Platform

/// The daemon: one thread that waits for clients, workers, signals and timers, and handles each event in turn.
///
/// No operation blocks.
public final class Daemon {
  let options: DaemonOptions
  let log: Log
  let kernel: any Kernel = LinuxKernel()
  let listener: OwnedFD
  /// Identity of the socket's file, if the daemon must remove it.
  var socketFile: String?
  /// The lock on the state directory, held while the daemon is responsible for its applets.
  let lock: OwnedFD
  private let signals: OwnedFD
  let watcher: OwnedFD
  /// The daemon's standard error, write-only: for the log and for workers, which must not read from a terminal.
  let standardError: OwnedFD
  /// The maximum number of descriptors.
  let descriptorLimit: Int32
  private var reserved: [OwnedDescriptor] = []
  /// The lock on the directory from which applets were adopted.
  var adopted: OwnedDescriptor?
  /// A test run of the program to reload: a child process, and the time at which it is given up.
  var trial: (pid: Int32, deadline: Int64)?
  /// Whether the tested program is to be executed now.
  var isReloading = false
  /// Descriptors that clients had sent before a reload.
  let leftovers = Closer()
  /// nil if no control group is delegated to the daemon.
  let groups: ControlGroups?

  var applets: [AppletEntry] = []
  var connections: [Connection] = []
  var workerCalls: [WorkerCall] = []
  var counters = Counters()
  let began = Clock.monotonic
  /// This boot, for the start times of applets.
  let boot = StartTime.readBoot()
  /// The CLOCK_MONOTONIC time in nanoseconds at which the daemon ends even if applets still run; nil unless it is
  /// shutting down.
  private(set) var shutdownDeadline: Int64?
  /// The time before which no connection is accepted, after descriptors were exhausted.
  var acceptsFrom: Int64 = 0

  /// Users with connections, or with descriptors that are not closed yet.
  var users: [ClientUser] = []

  /// Maximum number of connections; others wait in the listener's queue. `ClientUser.maxConnections` is that for users
  /// other than root and the daemon's own.
  static let maxConnections = 320
  /// Descriptors reserved for short uses.
  static let uncounted = 32

  /// Counters since the daemon began.
  struct Counters {
    var started: Int64 = 0
    var ended: Int64 = 0
    var failed: Int64 = 0
    var restarts: Int64 = 0
    var calls: Int64 = 0
  }

  /// Takes over the applets of an earlier daemon, and begins to listen.
  public init(_ options: DaemonOptions) throws(DaemonFailure) {
    linux_begin_daemon()
    self.options = options
    standardError = try Self.own("standard error", linux_write_only(STDERR_FILENO))
    log = Log(
      format: options.logFormat, descriptor: standardError.number, journal: Journal(of: standardError.number))
    try Self.checkProc()
    signals = try Self.own("signalfd", linux_signalfd())
    watcher = try Self.own("inotify", linux_inotify_init())
    descriptorLimit = linux_raise_descriptor_limit()
    if let path = options.controlGroup {
      do { groups = try ControlGroups(path) } catch {
        throw DaemonFailure("--cgroup \(path) is not a control group (cgroup v2): \(error.description)")
      }
    } else {
      groups = ControlGroups.delegated()
    }
    // Before the first child. An error occurs again, and is reported, at the first limit.
    try? groups?.leave()
    try Self.makeDirectories(options.state)
    // Before changing any file of applets, or a socket that may belong to another daemon.
    lock = try Self.lock(options)
    if let inherited = options.inheritedSocket {
      if let errno = Errno(result: linux_take_listener(inherited)) {
        throw DaemonFailure("the inherited socket is not a listening socket: \(errno.description)")
      }
      listener = OwnedFD(adopting: inherited, kernel: LinuxKernel())
    } else {
      listener = try Self.listen(options)
    }
    if options.ownsSocket { socketFile = options.inheritedFile ?? Self.identity(of: options.socket) }
    // A worker's descriptors get these numbers during a start (linux_spawn). They are reserved here, so that
    // descriptors that clients send have higher numbers.
    while descriptorLimit > 64, (reserved.last?.number ?? 0) < Int32(WorkerFile.allCases.count) {
      reserved.append(OwnedDescriptor(try Self.own("dup", linux_dup(signals.number))))
    }
    for number in options.leftDescriptors { leftovers.close(number) }
    let limited = String(cString: linux_lift_limits())
    if !limited.isEmpty { log.write(.warning, "limited", [("limits", limited)]) }
    adopt()
    try takeOver()
    // The signals of children that ended during a reload went to the earlier program.
    reap()
  }

  /// /proc provides start times of processes, among others.
  private static func checkProc() throws(DaemonFailure) {
    var (state, began): (CChar, Int64) = (0, 0)
    guard let errno = Errno(result: linux_process_stat(0, &state, &began)) else { return }
    throw DaemonFailure("/proc: \(errno.description): mount it first (mount -t proc proc /proc)")
  }

  static func own(_ what: String, _ result: Int) throws(DaemonFailure) -> OwnedFD {
    if let errno = Errno(result: result) { throw DaemonFailure("\(what): \(errno.description)") }
    return OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: LinuxKernel())
  }

  /// Locks the state directory: two daemons would both start and stop its applets.
  private static func lock(_ options: DaemonOptions) throws(DaemonFailure) -> OwnedFD {
    if let inherited = options.inheritedLock { return OwnedFD(adopting: inherited, kernel: LinuxKernel()) }
    let result = linux_flock_directory(options.state)
    if result == -Int(EAGAIN) {
      throw DaemonFailure(
        "\(options.state): in use by another daemon: end that first, or give another --state")
    }
    return try own(options.state, result)
  }

  /// Creates a directory and its missing parents.
  private static func makeDirectories(_ path: String) throws(DaemonFailure) {
    let bytes = Array(path.utf8)
    for end in bytes.indices.dropFirst() where bytes[end] == UInt8(ascii: "/") {
      _ = linux_mkdir(String(decoding: bytes[..<end], as: UTF8.self), 0o755)
    }
    let result = linux_mkdir(path, 0o700)
    if let errno = Errno(result: result), errno != Errno(EEXIST) {
      throw DaemonFailure(
        "\(path): cannot be used for the applets' files: \(errno.description); give another --state")
    }
  }

  /// Runs until a signal ends it.
  public func run() {
    log.write(.info, "ready", [("socket", options.socket), ("applets", "\(applets.count)")])
    _ = linux_sd_notify("READY=1")
    applyDeclarations()
    while !isDone {
      step()
      if isReloading { reload() }
    }
    removeSocket()
    log.write(.info, "end")
    linux_unlock(lock.number)
    // close(2) of descriptors that clients have sent may block, but the exit of a process does not (tcp(7), SO_LINGER).
    _ = Unmanaged.passRetained(self)
  }

  private var isDone: Bool {
    guard let shutdownDeadline else { return false }
    return !applets.contains { $0.phase.isAlive } || Clock.monotonic > shutdownDeadline + 1_000_000_000
  }

  /// The owner of a descriptor that is polled.
  private enum Source {
    case listener, signals, watcher
    case connection(Connection)
    case report(AppletEntry)
    case process(AppletEntry)
    case worker(WorkerCall)
  }

  /// Waits for events, at most this number of nanoseconds, and handles them.
  func step(for max: Int64 = .max) {
    var wanted: [pollfd] = []
    var sources: [Source] = []
    func wait(_ descriptor: Int32, _ events: Int32, _ source: Source) {
      wanted.append(pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0))
      sources.append(source)
    }
    let now = Clock.monotonic
    wait(signals.number, POLLIN, .signals)
    wait(watcher.number, POLLIN, .watcher)
    if shutdownDeadline == nil, now >= acceptsFrom, connections.count < Self.maxConnections {
      wait(listener.number, POLLIN, .listener)
    }
    for connection in connections {
      wait(isHeld(connection) ? -1 : connection.descriptor, connection.wanted, .connection(connection))
    }
    for applet in applets {
      if case .starting(_, let report) = applet.phase, let pipe = report.descriptor {
        wait(pipe.number, POLLIN, .report(applet))
      }
      if let process = applet.phase.process, !process.isChild, let descriptor = process.descriptor {
        wait(descriptor.number, POLLIN, .process(applet))
      }
    }
    for call in workerCalls { wait(call.descriptor.number, call.wanted, .worker(call)) }

    let left = nanosecondsToWait(now)
    _ = linux_ppoll(&wanted, wanted.count, max == .max ? left : min(left < 0 ? .max : left, max))
    for (entry, source) in zip(wanted, sources) where entry.revents != 0 {
      switch source {
      case .signals: takeSignals()
      case .watcher: takeChanges()
      case .listener: accept()
      case .connection(let connection):
        // Other connections may have used up the limits meanwhile.
        if isHeld(connection) { continue }
        // A client that has closed the connection completely waits for no reply.
        if Int32(entry.revents) & (POLLERR | POLLHUP) != 0, connection.wanted & POLLIN == 0 { connection.close() }
        if Int32(entry.revents) & (POLLIN | POLLHUP) != 0, connection.state < .closed { connection.receive() }
      case .report(let applet): readReport(of: applet)
      case .process(let applet): processEnded(applet, status: nil)
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
      if case .console(let reader)? = connection.pending {
        if reader.hasMore, connection.waiting < ConsoleReader.chunk { return 0 }
        // If the user's inotify watches are exhausted (inotify(7), max_user_watches), the file is polled.
        if reader.isFollowing, reader.watch < 0 { next = min(next, now + 200_000_000) }
      }
      if case .list? = connection.pending, connection.waiting < ConsoleReader.chunk { return 0 }
      if case .statistics(let call)? = connection.pending, call.unanswered == 0,
        connection.waiting < ConsoleReader.chunk
      {
        return 0
      }
      if let deadline = connection.deadline { next = min(next, deadline) }
      // Check again whether the user's descriptors are closed.
      if isHeld(connection) { next = min(next, now + 100_000_000) }
    }
    // Processes whose end is not signalled are polled.
    if applets.contains(where: { $0.phase.process?.needsPolling ?? false }) { next = min(next, now + 1_000_000_000) }
    if let trial { next = min(next, trial.deadline) }
    if now < acceptsFrom { next = min(next, acceptsFrom) }
    if let deadline = shutdownDeadline { next = min(next, deadline > now ? deadline : deadline + 1_000_000_000) }
    return next == .max ? -1 : max(next - now, 0)
  }

  /// Answers received calls, and sends replies.
  private func serve() {
    for connection in connections {
      while let call = connection.nextCall() { perform(call, connection) }
      if case .console(let reader)? = connection.pending { continueConsole(connection, reader) }
      if case .list(let rest)? = connection.pending { continueList(connection, rest) }
      if case .statistics(let call)? = connection.pending { continueStatistics(connection, call) }
      connection.flush()
      // Calls that could not be taken before may be possible now.
      while connection.waiting == 0, let call = connection.nextCall() {
        perform(call, connection)
        connection.flush()
      }
      if !connection.fits(users.reduce(0) { $0 + ($1.isTrusted ? 0 : $1.bytes) }) {
        disconnect(connection, because: "the connections of its user exceed their buffer limit")
      }
    }
    workerCalls.removeAll { $0.isDone }
    guard connections.contains(where: { $0.state == .closed }) else { return }
    for connection in connections where connection.state == .closed { forget(connection) }
    connections.removeAll { $0.state == .closed }
    users.removeAll { $0.connections == 0 && $0.closer.pending == 0 }
  }

  private func takeSignals() {
    while true {
      let signal = Int32(truncatingIfNeeded: linux_signalfd_read(signals.number))
      switch signal {
      case 0: return
      case SIGCHLD: reap()
      case SIGHUP: tryReload()
      // SIGTERM and SIGINT, the only others (linux_signalfd).
      default: shutDown()
      }
    }
  }

  private func reap() {
    var status: Int32 = 0
    while case let pid = linux_waitpid(&status), pid > 0 {
      if let trial, Int(trial.pid) == pid {
        self.trial = nil
        if linux_status_code(status) == 0 {
          isReloading = true
        } else {
          reloadFailed("the test run of the new program failed")
        }
        continue
      }
      let applet = applets.first {
        $0.phase.process.map { $0.isChild && $0.pid == Int32(truncatingIfNeeded: pid) } ?? false
      }
      if let applet { processEnded(applet, status: status) }
    }
  }

  /// Shuts down: stops the applets, the youngest first, one after the other.
  func shutDown() {
    guard shutdownDeadline == nil else { return }
    shutdownDeadline = Clock.monotonic + options.endGrace
    log.write(.info, "ending", [("running", "\(applets.filter { $0.phase.isAlive }.count)")])
    _ = linux_sd_notify("STOPPING=1")
    for applet in applets.reversed() { if case .waiting(let end, _) = applet.phase { finish(applet, end, .stopped) } }
    stopYoungest()
  }

  /// During a shutdown: stops the youngest applet. It has its share of the remaining time, at least a second.
  func stopYoungest() {
    guard let shutdownDeadline, let youngest = applets.last(where: { $0.phase.isAlive }),
      let process = youngest.phase.process
    else { return }
    let now = Clock.monotonic
    let share = max(shutdownDeadline - now, 0) / Int64(applets.filter { $0.phase.isAlive }.count)
    let end = min(now + max(share, 1_000_000_000), shutdownDeadline)
    requestStop(of: youngest, process, killAt: end, then: .unrequested)
  }

  private func takeTimers() {
    let now = Clock.monotonic
    for applet in applets {
      guard let timer = applet.timer, timer <= now else { continue }
      if let process = applet.phase.process {
        log.write(.warning, "grace over", [("name", applet.name)])
        process.kill(orAgainAt: now + 100_000_000)
      } else {
        restart(applet)
      }
    }
    watchProcesses()
    if let shutdownDeadline, shutdownDeadline <= now {
      for applet in applets { applet.phase.process?.kill(orAgainAt: now + 100_000_000) }
    }
    for call in workerCalls where call.deadline <= now { call.finish(nil) }
    if let trial, trial.deadline <= now {
      _ = linux_kill(trial.pid, SIGKILL)
      self.trial?.deadline = .max
    }
    for connection in connections {
      guard let deadline = connection.deadline, deadline <= now else { continue }
      disconnect(connection, because: "no complete call in time")
    }
  }

  /// Reports an event of an applet to the log, and to the clients of Events.
  func publish(_ level: Log.Level, _ event: String, _ name: String, _ detail: String? = nil) {
    log.write(level, event, [("name", name)] + (detail.map { [("detail", $0)] } ?? []))
    var members = [
      JSONMember("time", .integer(Self.wallClock)), JSONMember("event", .string(event)),
      JSONMember("name", .string(name)),
    ]
    if let detail { members.append(JSONMember("detail", .string(detail))) }
    for connection in connections {
      guard case .events? = connection.pending else { continue }
      // Events are not delayed for a slow client.
      if connection.waiting > Connection.outputLimit { connection.close() }
      connection.reply(.object(members), continues: true)
    }
  }

  /// The current time, in milliseconds since 1970.
  static var wallClock: Int64 { linux_clock(CLOCK_REALTIME) / 1_000_000 }
}
