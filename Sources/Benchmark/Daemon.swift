import CBaseline
import CLinux
import Control
import JSON
import Machine
import Platform

extension Benchmark {
  static let daemon = Benchmark(
    name: "daemon",
    summary: "through a daemon: start, run and stop of an applet; memory of a daemon with 100, and of each",
    runs: 30
  ) { setting throws(BenchmarkError) in
    let process = try Process(setting.kernel)
    let hello = try TemporaryFile(Executable.applet(BASELINE_GUEST_HELLO, setting.architecture))
    let idle = try TemporaryFile(Executable.applet(BASELINE_GUEST_SLEEP, setting.architecture))
    let daemon = try RunningDaemon(process, setting.kernel)
    var started: [Int64] = []
    var ended: [Int64] = []
    var stopped: [Int64] = []
    var direct: [Int64] = []
    for turn in 0..<setting.runs + 1 {
      let start = try daemon.start("a", hello.path)
      let end = try daemon.call("Wait", "a")
      try daemon.call("Remove", "a")
      try daemon.start("a", idle.path)
      rest()
      let stop = try daemon.call("Stop", "a")
      try daemon.call("Remove", "a")
      let time = try process.time(.own(["run", hello.path]))
      // The first one warms the kernel's caches.
      guard turn > 0 else { continue }
      started.append(start.end - start.begin)
      ended.append(end.end - start.begin)
      stopped.append(stop.end - stop.begin)
      direct.append(time)
    }
    var killed = [Int64](repeating: 0, count: setting.runs)
    try checkBaseline(baseline_kill(&killed, killed.count))

    let names = (0..<100).map { "idle-\($0)" }
    for name in names { try daemon.start(name, idle.path) }
    let ownMemory = try daemon.resident(setting.kernel)
    let memories = try daemon.applets().map { pid throws(BenchmarkError) in try unshared(pid, setting.kernel) }
    for name in names {
      try daemon.call("Stop", name)
      try daemon.call("Remove", name)
    }
    let run = Samples(direct)
    // The baseline is `swiftlet run` of the same applet. The scheduler decides on which CPUs client, daemon and worker run, so that
    // the times vary.
    return [
      Measurement("daemon-start", Samples(started), baseline: run, tolerance: 15),
      Measurement("daemon-run", Samples(ended), baseline: run, tolerance: 15),
      Measurement("daemon-stop", Samples(stopped), baseline: Samples(killed), tolerance: 15),
      Measurement("daemon-memory", Samples([ownMemory]), unit: .bytes, tolerance: 20),
      Measurement("daemon-applet-memory", Samples(memories), unit: .bytes, tolerance: 10),
    ]
  }
}

/// A daemon that this program has started, and a connection to it.
private final class RunningDaemon {
  private let process: Int
  private let connection: OwnedFD
  private var input = MessageBuffer()
  private let directory: TemporaryDirectory

  init(_ program: borrowing Process, _ kernel: LinuxKernel) throws(BenchmarkError) {
    let directory = try TemporaryDirectory()
    let socket = directory.path + "/peer"
    let process = try program.start("daemon", "--socket", socket, "--state", directory.path + "/applets")
    self.directory = directory
    self.process = process
    var result = linux_connect(socket, true)
    // It listens within a few milliseconds, unless it has failed.
    for _ in 0..<1000 where result < 0 {
      rest()
      result = linux_connect(socket, true)
    }
    guard result >= 0 else {
      _ = baseline_end(process, SIGTERM)
      throw .daemon("it does not accept connections")
    }
    connection = OwnedFD(adopting: Int32(truncatingIfNeeded: result), kernel: kernel)
  }

  deinit { _ = baseline_end(process, SIGTERM) }

  @discardableResult
  func start(_ name: String, _ image: String) throws(BenchmarkError) -> Exchange {
    var request = StartRequest()
    request.name = name
    request.image = image
    return try call("Start", request.json)
  }

  @discardableResult
  func call(_ method: String, _ name: String) throws(BenchmarkError) -> Exchange {
    try call(method, .object([JSONMember("name", .string(name))]))
  }

  /// A call with its reply, and the times when they were sent and received.
  struct Exchange {
    let begin, end: Int64
    let reply: JSONValue
  }

  private func call(_ method: String, _ parameters: JSONValue) throws(BenchmarkError) -> Exchange {
    let message = Call(Interface.name + "." + method, parameters).message
    let begin = Clock.monotonic
    // A call fits the socket's buffer.
    guard linux_sendmsg(connection.number, message, message.count, -1) == message.count else {
      throw .daemon("it has ended")
    }
    while true {
      if case .message(let text) = input.next() {
        let end = Clock.monotonic
        guard let reply = Reply(message: text) else { throw .daemon("its reply is invalid") }
        if let error = reply.error { throw .daemon("\(method): \(error)") }
        return Exchange(begin: begin, end: end, reply: reply.parameters)
      }
      let count = input.fill { linux_read(connection.number, $0.baseAddress, $0.count) }
      guard count > 0 else { throw .daemon("it has ended") }
    }
  }

  /// Process ids of its applets.
  func applets() throws(BenchmarkError) -> [Int64] {
    guard case .array(let applets)? = try call("List", .object([])).reply["applets"] else { return [] }
    return applets.compactMap { if case .integer(let pid)? = $0["pid"] { pid } else { nil } }
  }

  /// Its resident memory, in bytes.
  func resident(_ kernel: LinuxKernel) throws(BenchmarkError) -> Int64 {
    try lines("/proc/\(process)/status", kernel).first { $0.hasPrefix("VmRSS:") }.map(bytes) ?? 0
  }
}

/// Private memory of a worker, in bytes, without its guest's, which is the only mapping of more than 8 MiB.
private func unshared(_ process: Int64, _ kernel: LinuxKernel) throws(BenchmarkError) -> Int64 {
  var sum: Int64 = 0
  var isGuest = false
  for line in try lines("/proc/\(process)/smaps", kernel) {
    if line.hasPrefix("Size:") { isGuest = bytes(line) > 8 << 20 }
    if line.hasPrefix("Private_"), !isGuest { sum += bytes(line) }
  }
  return sum
}

private func lines(_ path: String, _ kernel: LinuxKernel) throws(BenchmarkError) -> [Substring] {
  do throws(Errno) {
    let file = try FileContents(streaming: path, limit: 1 << 20, kernel: kernel)
    return String(decoding: file.bytes, as: UTF8.self).split(separator: "\n")
  } catch { throw .host(error) }
}

/// The number of a line such as "VmRSS:  1024 kB" (proc_pid_status(5)).
private func bytes(_ line: Substring) -> Int64 {
  let words = line.split(separator: " ")
  return words.count > 1 ? (Int64(words[words.count - 2]) ?? 0) << 10 : 0
}
