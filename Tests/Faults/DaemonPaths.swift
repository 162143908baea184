import CFaults
import CLinux
import Control
import JSON
import Launch
import Machine
import Monitor
import Platform
import TestSupport

@testable import Supervisor

/// The daemon and its workers: a worker is another instance of this program, with a scripted kernel of its own.
extension Path {
  static var daemonStart: Path {
    Path(name: "daemon: start and end of an applet", variants: [Variant.all[2]]) { _, _, stage throws(PathError) in
      try serve(stage, faults: "none", begin: stage.begin) { client throws(PathError) in
        _ = try client.call("Start", startParameters(stage, Variant.all[2]))
        let state = try client.call("Wait", named)["state"]
        // A worker that cannot record its end or its identity is reported as lost or failed.
        return state == nil ? "no state" : "ended"
      }
    }
  }

  static var daemonStop: Path {
    Path(name: "daemon: stop of an applet", variants: [Variant.all[2]]) { _, _, stage throws(PathError) in
      try serve(stage, faults: "none", script: "spin") { client throws(PathError) in
        _ = try client.call("Start", startParameters(stage, Variant.all[2]))
        stage.begin()
        let end = try client.call(
          "Stop", .object([JSONMember("name", .string("test")), JSONMember("grace", .integer(300))]))["end"]
        return end == nil ? "no end" : "ended"
      }
    }
  }

  /// The worker is started with the fault plan in its arguments.
  static var workerStart: Path {
    var path = Path(name: "worker: start, run, end", variants: Variant.systemMode) {
      _, variant, stage throws(PathError) in
      try serve(stage, faults: stage.workerFault, variant: variant) { client throws(PathError) in
        _ = try client.call("Start", startParameters(stage, variant))
        let reply = try client.call("Wait", named)
        guard let end = reply["end"] else { return "no end" }
        // The client gets the reason of a failed run.
        guard end["code"] == .integer(5) else { throw .control(String(decoding: end.encoded ?? [], as: UTF8.self)) }
        return "exited 5"
      }
    }
    path.isInWorker = true
    return path
  }

  private static let named: JSONValue = .object([JSONMember("name", .string("test"))])

  private static func startParameters(_ stage: Stage, _ variant: Variant) -> JSONValue {
    var guest = GuestRequest()
    guest.memory = 1 << 20
    var request = StartRequest()
    request.name = "test"
    request.image = stage.image(variant)
    if let spec = try? GuestSpec(guest) { request.guest = spec }
    request.hasInput = true
    return request.json
  }

  /// Starts a daemon, uses it as a client, and ends it with all of its processes.
  private static func serve(
    _ stage: Stage, faults: String, variant: Variant = Variant.all[2], script: String = "exit", begin: () -> Void = {},
    _ body: (Conversation) throws(PathError) -> String
  ) throws(PathError) -> String {
    // Its log goes to standard error.
    let errors = linux_dup(STDERR_FILENO)
    let nothing = linux_open("/dev/null", O_WRONLY, 0)
    dup2(Int32(nothing), STDERR_FILENO)
    defer {
      dup2(Int32(errors), STDERR_FILENO)
      _ = (linux_close(Int32(errors)), linux_close(Int32(nothing)))
    }
    var options = DaemonOptions()
    options.socket = stage.socket
    options.state = stage.directory
    options.workerArguments = ["faults", "worker", "\(variant.architecture.name)", script, stage.list, faults]
    options.isSandboxed = false
    begin()
    let daemon: Daemon
    do throws(DaemonFailure) { daemon = try Daemon(options) } catch { throw .control(error.description) }
    defer {
      stage.pause()
      let end = Clock.monotonic + 5_000_000_000
      for applet in daemon.applets { applet.phase.process?.signal(SIGKILL) }
      while daemon.applets.contains(where: { $0.phase.isAlive }), Clock.monotonic < end { daemon.step(for: 10_000_000) }
      for applet in daemon.applets { applet.directory.remove() }
      unlink(stage.socket)
      rmdir(stage.directory)
    }
    return try body(try Conversation(daemon, stage.socket))
  }
}

/// A client on the daemon's own thread, which lets the daemon work while it waits.
private final class Conversation {
  private let daemon: Daemon
  private let descriptor: Int32
  private var input = MessageBuffer()

  init(_ daemon: Daemon, _ socket: String) throws(PathError) {
    self.daemon = daemon
    descriptor = Int32(truncatingIfNeeded: client_connect(socket))
    guard descriptor >= 0 else { throw .broken("no connection to the daemon") }
  }

  deinit { client_close(descriptor) }

  func call(_ method: String, _ parameters: JSONValue) throws(PathError) -> JSONValue {
    let message = Call(Interface.name + "." + method, parameters).message
    guard client_send(descriptor, message, message.count) == message.count else { throw .left }
    let end = Clock.monotonic + 10_000_000_000
    while Clock.monotonic < end {
      daemon.step(for: 100_000_000)
      let count = input.fill { client_receive(descriptor, $0.baseAddress, $0.count) }
      // The daemon closes the connection of a client with which it cannot communicate.
      if count == 0 { throw .left }
      guard case .message(let bytes) = input.next() else { continue }
      guard let reply = Reply(message: bytes) else { throw .broken("what the daemon sends is no reply") }
      if let errorText = reply.errorText { throw .control(errorText) }
      return reply.parameters
    }
    throw .broken("\(method) is not answered")
  }
}
