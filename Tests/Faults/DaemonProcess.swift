import CLinux
import Control

@testable import Supervisor

/// This program as a daemon whose applets' processes run a program of the test's: faults daemon SOCKET STATE PROGRAM WORD...
///
/// What a daemon does with processes that start slowly, hang, or die at a bad moment needs no KVM: Tests/Varlink/workers.py.
enum DaemonProcess {
  static func run(_ words: [String]) -> Int32 {
    guard words.count > 3 else { return 122 }
    var options = DaemonOptions()
    options.takeHandedOver()
    options.socket = words[0]
    options.state = words[1]
    options.worker = words[2]
    options.workerWords = Array(words[3...])
    options.endGrace = 3_000_000_000
    do throws(DaemonFailure) { try Daemon(options).run() } catch {
      Log(format: .text).write(.error, "failed", [("reason", error.description)])
      return RunEnd.hostCode
    }
    return 0
  }
}
