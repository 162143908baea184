import CLinux
import Control
import JSON
import Launch

/// `swiftlet stats`.
func stats(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let isLive = arguments.isStreaming && (arguments.isJSON || linux_isatty(STDOUT_FILENO))
  var before = try samples(arguments)
  while true {
    _ = linux_ppoll(nil, 0, 1_000_000_000)
    let now = try samples(arguments)
    let figures = now.map { sample in Usage(sample, since: before.first { $0.name == sample.name }) }
    if arguments.isJSON {
      try say(json: .object([JSONMember("applets", .array(figures.map { $0.json }))]))
    } else {
      let text = table(fitted(usageRows(figures), to: terminalWidth()))
      // The cursor goes home, and what was there is erased (ECMA-48, CUP and ED).
      try say(isLive ? "\u{1b}[H\u{1b}[J" + text : text)
    }
    if !isLive { return ExitCode.success.rawValue }
    before = now
  }
}

/// What an applet has used up to a time.
struct UsageSample {
  let name: String
  let state: String
  let restarts: Int64
  /// Process ID; 0 for none. The counts begin anew with each process.
  let pid: Int64
  /// CLOCK_MONOTONIC time, in nanoseconds.
  let time: Int64
  /// CPU time in milliseconds, number of calls, resident memory in bytes; nil if it does not run.
  let used: (cpu: Int64, calls: Int64, resident: Int64)?

  /// - Parameter reply: that of Inspect.
  init(_ reply: JSONValue, at time: Int64) {
    let applet = reply["applet"] ?? .null
    name = applet.text("name")
    state = applet.text("state")
    restarts = applet.number("restarts")
    pid = applet.number("pid")
    self.time = time
    if reply["cpu_time"] != nil {
      used = (reply.number("cpu_time"), reply.number("calls"), reply.number("resident"))
    } else {
      used = nil
    }
  }
}

/// The use of an applet between two samples.
struct Usage {
  let sample: UsageSample
  /// Tenths of a percent of one CPU, and calls per second; nil if it did not run all the time.
  let rates: (cpu: Int64, calls: Int64)?

  init(_ sample: UsageSample, since before: UsageSample?) {
    self.sample = sample
    guard let before, let used = sample.used, let first = before.used, before.pid == sample.pid else {
      rates = nil
      return
    }
    let milliseconds = max((sample.time - before.time) / 1_000_000, 1)
    // The counts are an applet's process', which may be compromised: any number is possible.
    func rate(_ count: Int64, _ before: Int64) -> Int64 {
      let difference = max(count.subtractingReportingOverflow(before).partialValue, 0)
      return min(difference, .max / 1000) * 1000 / milliseconds
    }
    rates = (rate(used.cpu, first.cpu), rate(used.calls, first.calls))
  }

  var json: JSONValue {
    var members = [JSONMember("name", .string(sample.name)), JSONMember("state", .string(sample.state))]
    if let rates {
      members.append(JSONMember("cpu_percent", .real(Double(rates.cpu) / 10)))
      members.append(JSONMember("calls_per_second", .integer(rates.calls)))
    }
    if let used = sample.used {
      members.append(JSONMember("resident", .integer(used.resident)))
      members.append(JSONMember("calls", .integer(used.calls)))
    }
    members.append(JSONMember("restarts", .integer(sample.restarts)))
    return .object(members)
  }
}

/// One row for each applet.
func usageRows(_ all: [Usage]) -> [[String]] {
  var rows = [["NAME", "STATE", "CPU", "MEMORY", "CALLS/S", "CALLS", "RESTARTS"]]
  for usage in all {
    let (sample, rates) = (usage.sample, usage.rates)
    rows.append([
      sample.name, sample.state, rates.map { "\($0.cpu / 10).\($0.cpu % 10)%" } ?? "-",
      sample.used.map { sizeText($0.resident) } ?? "-", rates.map { "\($0.calls)" } ?? "-",
      sample.used.map { "\($0.calls)" } ?? "-", "\(sample.restarts)",
    ])
  }
  return rows
}

/// A sample of each applet that was named, or of all that have not ended.
private func samples(_ arguments: AppletArguments) throws(Failure) -> [UsageSample] {
  var names = arguments.names
  if names.isEmpty { names = try listed(arguments.connect()).filter { !hasEnded($0) }.map { $0.text("name") } }
  var found: [UsageSample] = []
  for name in names {
    // If the daemon reloads, the call is repeated.
    let reply = try LastingCall("Inspect", named(name), arguments.connect).next()
    // It may have ended meanwhile.
    switch reply.error {
    case "org.swiftlet.Control.NoSuchApplet" where arguments.names.isEmpty: continue
    // One that was named may be started again.
    case "org.swiftlet.Control.HostFailure" where arguments.names.isEmpty || arguments.isStreaming: continue
    default: break
    }
    found.append(UsageSample(try accepted(reply, of: "Inspect"), at: linux_clock(CLOCK_MONOTONIC)))
  }
  return found
}
