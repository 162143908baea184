import AppletABI
import CFaults
import CLinux
import Machine
import Platform
import TestSupport

@testable import Supervisor

/// This program as a worker of its own daemon: faults worker ARCHITECTURE SCRIPT LIST FAULT NAME.
enum WorkerProcess {
  /// Runs the applet for which the daemon has started it, on a scripted kernel.
  static func run(_ words: [String]) -> Int32 {
    guard words.count == 5 else { return 122 }
    let architecture: Architecture = words[0] == "arm64" ? .arm64 : .riscv64
    let kernel = ScriptedKernel(architecture)
    kernel.program = { guest in
      if words[1] == "spin" { return guest.spin(pc: 0x8000_0040) }
      return guest.entry == 0 ? guest.call(APPLET_CALL_NANOTIME) : guest.call(APPLET_CALL_EXIT_STATUS, 5)
    }
    var seen: [FaultPlan.Call] = []
    switch Fault(text: words[3]) {
    case .kvm(let call, let number, let errno):
      kernel.plan = FaultPlan(call: number, errno: errno) { $0 == call }
    case .host(let call, let number, let errno): faults_begin(call, number, errno)
    case .none:
      kernel.plan = FaultPlan(call: .max, errno: 0) {
        seen.append($0)
        return false
      }
      faults_begin(HOST_CALLS, -1, 0)
    }
    let status = Worker.run(kernel: kernel, architecture: architecture)
    let count = faults_end()
    if case .none = Fault(text: words[3]) { write(seen, (0..<count).map { faults_call($0) }, to: words[2]) }
    return status
  }

  /// Writes the calls that were made, one in each line.
  private static func write(_ calls: [FaultPlan.Call], _ host: [host_call], to path: String) {
    let lines =
      calls.map { Fault.kvm($0, number: 0, errno: 0).text } + host.map { Fault.host($0, number: 0, errno: 0).text }
    let bytes = Array(lines.joined(separator: "\n").utf8)
    let file = linux_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    _ = linux_write(Int32(file), bytes, bytes.count)
    _ = linux_close(Int32(file))
  }

  /// Reads this list.
  static func calls(in path: String) -> (kvm: [FaultPlan.Call], host: [host_call]) {
    guard let file = try? FileContents(path: path, limit: 1 << 20, kernel: LinuxKernel()) else { return ([], []) }
    var (kvm, host): ([FaultPlan.Call], [host_call]) = ([], [])
    for line in String(decoding: file.array, as: UTF8.self).split(separator: "\n") {
      switch Fault(text: String(line)) {
      case .kvm(let call, _, _): kvm.append(call)
      case .host(let call, _, _): host.append(call)
      case .none: break
      }
    }
    return (kvm, host)
  }
}

/// The call that fails, and the errno. It is identified by its index among calls of its kind, which depends little on
/// scheduling.
enum Fault {
  case none
  case kvm(FaultPlan.Call, number: Int, errno: Int32)
  case host(host_call, number: Int, errno: Int32)

  var errno: Int32 {
    switch self {
    case .none: 0
    case .kvm(_, _, let errno), .host(_, _, let errno): errno
    }
  }

  /// As text, for another process.
  var text: String {
    switch self {
    case .none: "none"
    case .kvm(.open, let number, let errno): "open:0:\(number):\(errno)"
    case .kvm(.map, let number, let errno): "map:0:\(number):\(errno)"
    case .kvm(.ioctl(let request), let number, let errno): "ioctl:\(request):\(number):\(errno)"
    case .host(let call, let number, let errno): "host:\(call.rawValue):\(number):\(errno)"
    }
  }

  init(text: String) {
    let parts = text.split(separator: ":")
    guard parts.count == 4, let value = UInt(parts[1]), let number = Int(parts[2]), let errno = Int32(parts[3]) else {
      self = .none
      return
    }
    switch parts[0] {
    case "open": self = .kvm(.open, number: number, errno: errno)
    case "map": self = .kvm(.map, number: number, errno: errno)
    case "ioctl": self = .kvm(.ioctl(value), number: number, errno: errno)
    default: self = .host(host_call(rawValue: UInt32(value)), number: number, errno: errno)
    }
  }
}
