import CLinux
import Control
import JSON
import Launch
import Platform

/// An applet in the daemon's table.
final class AppletEntry {
  let name: String
  var configuration: WorkerConfiguration
  let directory: AppletDirectory
  /// Its phase. Only `Daemon` changes it: `processEnded` and `finish` are the only ways out of `starting` and
  /// `running`.
  var phase: Phase
  /// Its ended runs since the daemon began.
  var ends = EndCounts()
  /// The error that prevented the record that it must not be restarted.
  var unrecorded: Errno?
  /// Whether its directory has files of a former applet of this name.
  var hasReplaced = false
  /// Connections that wait for an event of it.
  var waiters: [(connection: Connection, what: Waiting)] = []

  /// The phase of an applet: the interface's type State.
  ///
  ///     starting ──report──▶ running ──process ends──▶ waiting ──until──▶ starting …
  ///         └────────── process ends ──────────┴─────▶ ended
  enum Phase {
    /// Its process exists, but has not reported yet that the applet runs.
    case starting(AppletProcess, StartReport)
    case running(AppletProcess)
    /// It has ended, and is restarted at a CLOCK_MONOTONIC time in nanoseconds.
    case waiting(End, until: Int64)
    /// It has ended and is not restarted.
    case ended(End, Final)

    /// The name in the interface.
    var name: String {
      switch self {
      case .starting: "starting"
      case .running: "running"
      case .waiting: "waiting"
      case .ended(_, let final): final.rawValue
      }
    }

    /// The process; nil if there is none.
    var process: AppletProcess? {
      switch self {
      case .starting(let process, _), .running(let process): process
      case .waiting, .ended: nil
      }
    }

    /// How the last run ended; nil during a run.
    var end: End? {
      switch self {
      case .waiting(let end, _), .ended(let end, _): end
      case .starting, .running: nil
      }
    }

    var isAlive: Bool { process != nil }
    var isRunning: Bool { if case .running = self { true } else { false } }
    /// Whether the phase cannot change any more without a request.
    var hasEnded: Bool { if case .ended = self { true } else { false } }
  }

  /// The end of a run.
  struct End {
    let run: RunEnd
    /// The time, in milliseconds since 1970.
    let at: Int64
  }

  /// How an applet ended: names of the interface's type State.
  enum Final: String { case exited, stopped, failed, lost }

  /// What a connection waits for.
  enum Waiting {
    case start
    /// The start after a requested restart. The image is that which the client has sent, if any.
    case restart(image: ReceivedDescriptor?)
    /// The end of the run, requested by the client.
    case stop
    /// The end, after which there is no restart.
    case end
  }

  init(_ configuration: WorkerConfiguration, in directory: AppletDirectory, _ phase: Phase) {
    name = configuration.name
    self.configuration = configuration
    self.directory = directory
    self.phase = phase
  }

  /// The CLOCK_MONOTONIC time of its next timer, in nanoseconds; nil for none.
  var timer: Int64? {
    switch phase {
    case .starting(let process, _), .running(let process): process.stop?.killAt
    case .waiting(_, let until): until
    case .ended: nil
    }
  }

  /// The interface's type Applet.
  var json: JSONValue {
    var members = [JSONMember("name", .string(name)), JSONMember("state", .string(phase.name))]
    if let process = phase.process { members.append(JSONMember("pid", .integer(Int64(process.pid)))) }
    let request = configuration.request
    members.append(JSONMember("image", .string(request.image)))
    members.append(JSONMember("memory", .integer(Int64(request.guest.memory))))
    let started = configuration.started.time
    if started > 0 { members.append(JSONMember("started", .integer(started))) }
    if let end = phase.end { members.append(JSONMember("ended", .integer(end.at))) }
    members.append(JSONMember("restarts", .integer(configuration.restarts)))
    if let end = phase.end { members.append(JSONMember("end", end.run.json)) }
    if var declared = request.declared {
      if configuration.isExpected { declared.version = "" }
      members.append(JSONMember("declared", declared.json))
    }
    if case .waiting(_, let until) = phase {
      let left = max(until - Clock.monotonic, 0) / 1_000_000
      members.append(JSONMember("next_start", .integer(Daemon.wallClock + left)))
    }
    return .object(members)
  }

  /// What it was started with: members of the reply to Inspect.
  var settings: [JSONMember] {
    let request = configuration.request
    var members: [JSONMember] = []
    var (arguments, count): ([JSONValue], Int) = ([], 0)
    for argument in request.guest.arguments {
      count += argument.utf8.count
      if count > Self.maxShown { break }
      arguments.append(.string(argument))
    }
    if !arguments.isEmpty { members.append(JSONMember("arguments", .array(arguments))) }
    members.append(JSONMember("restart", configuration.policy.json))
    if request.guest.limits != GuestLimits() { members.append(JSONMember("limits", request.guest.limits.json)) }
    return members
  }

  /// Maximum size of the arguments in a reply, in bytes.
  private static let maxShown = 64 << 10

  /// Records a stop in progress for the daemon that takes over.
  func recordStop() {
    guard let process = phase.process, let stop = process.stop, case .object(var members) = process.identity.json else {
      return
    }
    members.append(JSONMember("until", .integer(stop.killAt ?? 0)))
    if stop.next == .restart { members.append(JSONMember("restart", .bool(true))) }
    try? directory.write("stopping", .object(members))
  }

  /// A stop of this process that an earlier daemon recorded: its time limit, and what follows; nil for none.
  static func takeStop(of process: ProcessIdentity, _ directory: AppletDirectory)
    -> (until: Int64, next: AppletProcess.Next)?
  {
    let record = directory.read("stopping")
    _ = linux_unlink(directory.file("stopping"))
    guard let record, ProcessIdentity(record) == process, case .integer(let until)? = record["until"] else {
      return nil
    }
    return (until, record["restart"] == .bool(true) ? .restart : .end)
  }
}
