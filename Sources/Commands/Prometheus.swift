import Control
import JSON

/// A text in Prometheus' exposition format, version 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats): metrics, each with its samples together.
struct Exposition {
  private(set) var text = ""

  enum Kind: String { case counter, gauge, histogram }

  /// A sample of a metric.
  struct Sample {
    /// Of a histogram: "_bucket", "_sum" or "_count".
    var suffix = ""
    var labels: [(name: String, value: String)] = []
    let value: String
  }

  /// Adds a metric, unless it has no samples.
  /// - Parameter help: one line.
  mutating func add(_ name: String, _ kind: Kind, _ help: String, _ samples: [Sample]) {
    guard !samples.isEmpty else { return }
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    for sample in samples {
      text += name + sample.suffix
      if !sample.labels.isEmpty {
        text += "{" + sample.labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",") + "}"
      }
      text += " \(sample.value)\n"
    }
  }

  /// In a label's value a backslash, a quote and a line feed are escaped.
  static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Milliseconds, or another part of a second, in seconds: "1.25".
  static func seconds(_ count: Int64, partsOfSecond parts: UInt64 = 1000) -> String {
    var (whole, rest) = count.magnitude.quotientAndRemainder(dividingBy: parts)
    var text = (count < 0 ? "-" : "") + "\(whole)"
    if rest > 0 { text += "." }
    while rest > 0 {
      (whole, rest) = (rest * 10).quotientAndRemainder(dividingBy: parts)
      text += "\(whole)"
    }
    return text
  }
}

/// The replies of Metrics and Statistics in Prometheus' text format.
/// - Parameter applets: values of the interface's type AppletStatistics.
func exposition(counters: JSONValue, applets: [JSONValue]) -> String {
  var result = Exposition()
  addCounters(counters, to: &result)
  addStates(applets, to: &result)
  addRuns(applets, to: &result)
  return result.text
}

/// The daemon's own.
private func addCounters(_ counters: JSONValue, to result: inout Exposition) {
  func add(_ member: String, _ name: String, _ kind: Exposition.Kind, _ help: String) {
    guard case .integer(let value)? = counters[member] else { return }
    result.add(name, kind, help, [Exposition.Sample(value: "\(value)")])
  }
  add("started", "swiftlet_runs_started_total", .counter, "Processes of applets that the daemon has started.")
  add("ended", "swiftlet_runs_ended_total", .counter, "Runs of applets that have ended.")
  add("failed", "swiftlet_runs_failed_total", .counter, "Runs of applets that ended with a failure.")
  add("restarts", "swiftlet_restarts_total", .counter, "Restarts of applets.")
  add("calls", "swiftlet_daemon_calls_total", .counter, "Calls that clients have made on the control socket.")
  add("connections", "swiftlet_daemon_connections", .gauge, "Open connections of clients.")
  add("resident", "swiftlet_daemon_resident_memory_bytes", .gauge, "Resident memory of the daemon itself.")
  add("descriptors", "swiftlet_daemon_open_fds", .gauge, "Open file descriptors of the daemon.")
  if case .integer(let uptime)? = counters["uptime"] {
    result.add(
      "swiftlet_daemon_uptime_seconds", .gauge, "Time since the daemon began, or was reloaded.",
      [Exposition.Sample(value: Exposition.seconds(uptime))])
  }
}

/// What every applet has.
private func addStates(_ applets: [JSONValue], to result: inout Exposition) {
  result.add(
    "swiftlet_applet_state", .gauge, "The state of the applet, with the value 1.",
    applets.map { sample($0, "1", [("state", $0.text("state"))]) })
  result.add(
    "swiftlet_applet_restarts_total", .counter, "Restarts of the applet.",
    applets.map { sample($0, "\($0.number("restarts"))") })
  result.add(
    "swiftlet_applet_ends_total", .counter, "Ended runs of the applet since the daemon began, by how they ended.",
    counts(applets, "ends", by: "kind"))
  result.add(
    "swiftlet_applet_start_time_seconds", .gauge, "When the applet was last started, since 1970.",
    samples(applets, "started") { Exposition.seconds($0) })
}

/// What an applet has that runs.
private func addRuns(_ applets: [JSONValue], to result: inout Exposition) {
  result.add(
    "swiftlet_applet_cpu_seconds_total", .counter, "CPU time of the current run, in the guest and in the monitor.",
    samples(applets, "guest_time", [("mode", "guest")]) { Exposition.seconds($0) }
      + samples(applets, "monitor_time", [("mode", "monitor")]) { Exposition.seconds($0) })
  result.add(
    "swiftlet_applet_resident_memory_bytes", .gauge, "Resident memory of the applet's process, with its guest.",
    samples(applets, "resident") { "\($0)" })
  result.add(
    "swiftlet_applet_calls_total", .counter, "Calls that the applet has made in its current run.",
    counts(applets, "call_counts", by: "call"))
  result.add(
    "swiftlet_applet_call_duration_seconds", .histogram,
    "Time that the monitor took to answer a call, of samples: up to 256 calls after each scrape.",
    applets.flatMap { applet in applet.list("call_latencies").flatMap { latency(applet, $0) } })
  result.add(
    "swiftlet_applet_vm_exits_total", .counter, "Exits of the applet's virtual machine in its current run.",
    samples(applets, "exits") { "\($0)" })
  result.add(
    "swiftlet_applet_vm_exits_by_kind_total", .counter, "Of these, the ones that KVM counts by kind.",
    counts(applets, "exit_counts", by: "kind"))
  result.add(
    "swiftlet_applet_deadline_remaining_seconds", .gauge, "Time until the applet reaches its deadline.",
    samples(applets, "deadline_left") { Exposition.seconds($0) })
  result.add(
    "swiftlet_applet_cpu_budget_remaining_seconds", .gauge, "CPU time that is left of the applet's budget.",
    samples(applets, "cpu_budget_left") { Exposition.seconds($0) })
}

/// The histogram of one call: each bucket has those before it, too.
private func latency(_ applet: JSONValue, _ latency: JSONValue) -> [Exposition.Sample] {
  let labels = [(name: "call", value: latency.text("call"))]
  func part(_ suffix: String, _ value: String, _ more: [(name: String, value: String)] = []) -> Exposition.Sample {
    var part = sample(applet, value, labels + more)
    part.suffix = suffix
    return part
  }
  var (samples, count, bound): ([Exposition.Sample], Int64, Int64) = ([], 0, 1)
  let buckets = latency.list("buckets")
  for (index, bucket) in buckets.enumerated() {
    if case .integer(let number) = bucket { count &+= number }
    let isLast = index == buckets.count - 1
    let text = isLast ? "+Inf" : Exposition.seconds(bound, partsOfSecond: 1_000_000)
    samples.append(part("_bucket", "\(count)", [(name: "le", value: text)]))
    bound &*= 4
  }
  samples.append(part("_sum", Exposition.seconds(latency.number("sum"), partsOfSecond: 1_000_000_000)))
  samples.append(part("_count", "\(count)"))
  return samples
}

private func sample(_ applet: JSONValue, _ value: String, _ labels: [(name: String, value: String)] = [])
  -> Exposition.Sample
{
  Exposition.Sample(labels: [("name", applet.text("name"))] + labels, value: value)
}

/// A sample of each element of a list of counts, with its name as a label.
private func counts(_ applets: [JSONValue], _ member: String, by label: String) -> [Exposition.Sample] {
  applets.flatMap { applet in
    applet.list(member).map { sample(applet, "\($0.number("count"))", [(label, $0.text(label))]) }
  }
}

/// A sample of each applet that has this member.
private func samples(
  _ applets: [JSONValue], _ member: String, _ labels: [(name: String, value: String)] = [],
  _ text: (Int64) -> String
) -> [Exposition.Sample] {
  applets.compactMap {
    guard case .integer(let value)? = $0[member] else { return nil }
    return sample($0, text(value), labels)
  }
}
