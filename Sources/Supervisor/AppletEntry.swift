import CLinux
import Control
import JSON
import Platform

/// What an applet is doing: the interface's type State.
enum AppletState: String {
  case starting, running, waiting, exited, stopped, failed, lost

  /// Whether it has a process.
  var isAlive: Bool { self == .starting || self == .running }
  /// Whether nothing will happen to it any more by itself.
  var hasEnded: Bool { !isAlive && self != .waiting }
}

/// An applet in the daemon's table.
final class AppletEntry {
  let name: String
  var configuration: WorkerConfiguration
  let folder: AppletFolder
  var state = AppletState.starting
  var process: ProcessIdentity?
  /// Its process, to be waited for and signalled.
  var pidfd: OwnedDescriptor?
  /// Its process's id where that is a child of this daemon's, which it need not be after a take-over: nobody else has it before
  /// the child is reaped.
  var child: Int32?
  var isChild: Bool { child != nil }
  /// The image where it came as a descriptor, for restarts.
  var image: OwnedDescriptor?
  /// Reads the worker's report until it has come.
  var report: OwnedDescriptor?
  var reported = MessageBuffer()
  /// Why the start failed, as the worker has reported.
  var startFailure: ControlError?
  /// The control group of its process, where its limits take one.
  var group: ControlGroup? {
    didSet { configuration.controlGroup = group?.path }
  }
  /// Milliseconds since 1970.
  var ended: Int64?
  var end: RunEnd?
  /// Whether a request has asked for its end.
  var isStopping = false
  /// CLOCK_MONOTONIC nanoseconds: when it is killed, or started again.
  var timer: Int64?
  /// Connections that wait for something of it.
  var waiters: [(connection: Connection, what: Waiting)] = []

  /// What a connection waits for.
  enum Waiting {
    case start
    /// The end of the run, which the client has asked for.
    case stop
    /// The end, with no restart to follow.
    case end
  }

  init(name: String, configuration: WorkerConfiguration, state: String) {
    self.name = name
    self.configuration = configuration
    folder = AppletFolder(state: state, name: name)
  }

  /// The interface's type Applet.
  var json: JSONValue {
    var members = [JSONMember("name", .string(name)), JSONMember("state", .string(state.rawValue))]
    if state.isAlive, let process { members.append(JSONMember("pid", .integer(Int64(process.pid)))) }
    let request = configuration.request
    members.append(JSONMember("image", .string(request.image)))
    members.append(JSONMember("memory", .integer(request.memory ?? 16 << 20)))
    if configuration.started > 0 { members.append(JSONMember("started", .integer(configuration.started))) }
    if let ended { members.append(JSONMember("ended", .integer(ended))) }
    members.append(JSONMember("restarts", .integer(configuration.restarts)))
    if let end { members.append(JSONMember("end", end.json)) }
    return .object(members)
  }

  /// Reads what a daemon before has left of its configuration, and of its process where that runs.
  /// - Returns: why one of them cannot be told; ENOENT where it was never configured.
  func readRecords() -> Errno? {
    var trouble: Errno?
    do throws(Errno) {
      guard let known = WorkerConfiguration(try folder.record("configuration")) else { throw Errno(EBADMSG) }
      configuration = known
    } catch { trouble = error }
    do throws(Errno) {
      guard let known = ProcessIdentity(try folder.record("process")) else { throw Errno(EBADMSG) }
      if try known.isRunning() { process = known }
    } catch {
      // None was made yet.
      if error != Errno(ENOENT) { trouble = error }
    }
    return trouble
  }

  /// Leaves word of a stop under way for the daemon that takes this one's place.
  func recordStop() {
    guard isStopping, let process, case .object(let members) = process.json else { return }
    try? folder.write("stopping", .object(members + [JSONMember("until", .integer(timer ?? 0))]))
  }

  /// The time of a stop that a daemon before has begun, as it left word of it; nil where it has not.
  func takeStop() -> Int64? {
    let record = folder.read("stopping")
    _ = linux_unlink(folder.file("stopping"))
    guard let record, let process, ProcessIdentity(record) == process else { return nil }
    if case .integer(let until)? = record["until"] { return until }
    return nil
  }

  /// Whether nobody will tell of its process's end: no child, and not open for want of a descriptor.
  var isUnwatched: Bool { process != nil && !isChild && pidfd == nil }

  /// Opens its process, unless no descriptor is left: then the next one who needs it tries again.
  /// - Parameter most: where the descriptor would have a higher number than that, it is not kept.
  /// - Returns: whether it has a process, as far as anybody can tell.
  @discardableResult func openProcess(upTo most: Int32 = .max) -> Bool {
    guard let process else { return false }
    guard pidfd == nil else { return true }
    let result = linux_pidfd(process.pid)
    if result == -Int(ESRCH) { return false }
    guard result >= 0 else { return true }
    let opened = OwnedDescriptor(Int32(truncatingIfNeeded: result))
    // Looked at once it is open: what is no child may have ended, and another may have its number.
    if !isChild, (try? process.isRunning()) == false { return false }
    if opened.number <= most { pidfd = opened }
    return true
  }

  /// Sends the process a signal, if it has one.
  /// - Returns: false where that takes a descriptor and none is left.
  @discardableResult func kill(_ signal: Int32) -> Bool {
    openProcess()
    if let pidfd {
      _ = linux_pidfd_kill(pidfd.number, signal)
    } else if let child {
      // Nobody else has the number before the child is reaped.
      _ = linux_kill(child, signal)
    }
    return !isUnwatched
  }
}
