import CLinux
import Control
import Launch

@testable import Supervisor

/// This program as a daemon whose workers run another program: faults daemon SOCKET STATE PROGRAM ARGUMENT...
///
/// Processes that start slowly, hang, or end at a bad moment can be tested without KVM: Tests/Varlink/workers.py.
enum DaemonProcess {
  static func run(_ words: [String]) -> Int32 {
    guard words.count > 3 else { return 122 }
    var options = DaemonOptions()
    options.takeHandedOver()
    options.socket = words[0]
    options.state = words[1]
    options.worker = words[2]
    options.workerArguments = Array(words[3...])
    options.endGrace = 3_000_000_000
    func number(_ name: String) -> UInt32? {
      linux_getenv(name).flatMap { UInt32(String(cString: $0)) }
    }
    options.group = number("DAEMON_GROUP")
    options.applets = linux_getenv("DAEMON_APPLETS").map { String(cString: $0) }
    options.client = linux_getenv("DAEMON_CLIENT").map { String(cString: $0) } ?? options.client
    if let timeout = number("DAEMON_PATIENCE") { options.clientTimeout = Int64(timeout) * 1_000_000 }
    if let bytes = number("DAEMON_UPLOADS") { options.uploadLimit = Int(bytes) }
    do throws(DaemonFailure) { try Daemon(options).run() } catch {
      Log(format: .text).write(.error, "failed", [("reason", error.description)])
      return ExitCode.host.rawValue
    }
    return 0
  }
}
