import CLinux
import Control
import JSON
import Launch
import Monitor
import Platform

/// How a run of an applet ended: the kinds that are counted.
enum EndKind: String, CaseIterable {
  /// It exited by itself.
  case exited
  /// On request.
  case stopped
  /// Its process was killed by a signal.
  case killed
  case fault
  /// It reached a limit of time.
  case limit
  /// Its copies in lockstep differed.
  case lockstep
  /// Any other end: the host could not run it, or it requested a reset.
  case other

  init(_ end: RunEnd, wasStopped: Bool) {
    if wasStopped || end.isStopped {
      self = .stopped
    } else if end.status != nil {
      self = .exited
    } else if end.signal != nil {
      self = .killed
    } else {
      self =
        switch ExitCode(rawValue: end.code) {
        case .fault: .fault
        case .timeLimit: .limit
        case .lockstep: .lockstep
        case .success, .refused, .usage, .host, .stopped, .image, .unreadable, .reset, .panic, nil: .other
        }
    }
  }
}

/// Numbers of ended runs, by kind.
struct EndCounts {
  private var counts = [Int64](repeating: 0, count: EndKind.allCases.count)

  subscript(kind: EndKind) -> Int64 {
    get { counts[Self.index(kind)] }
    set { counts[Self.index(kind)] = newValue }
  }

  // The list has each case once.
  private static func index(_ kind: EndKind) -> Int { EndKind.allCases.firstIndex(of: kind) ?? 0 }

  /// An array of the interface's type EndCount.
  var json: JSONValue {
    .array(
      EndKind.allCases.map {
        .object([JSONMember("kind", .string($0.rawValue)), JSONMember("count", .integer(self[$0]))])
      })
  }
}

/// What an applet's process has used.
struct ProcessUsage {
  /// CPU time in the guest, and outside of it, in milliseconds.
  var guest: Int64
  var monitor: Int64
  /// Resident memory, in bytes.
  var resident: Int64
}

extension AppletProcess {
  /// What it has used; nil if it has ended.
  func usage() -> ProcessUsage? {
    var usage = linux_usage()
    guard linux_process_usage(pid, &usage) == 0, usage.began == identity.began else { return nil }
    // The kernel counts the whole exactly, but the guest's time by its clock ticks: their difference may go back a
    // little, which a counter must not.
    monitorTime = max(monitorTime, usage.cpu - usage.guest)
    return ProcessUsage(guest: usage.guest, monitor: monitorTime, resident: usage.resident)
  }
}

/// A call of Statistics that is being answered: asks the workers, some at a time.
final class StatisticsCall {
  /// Applets whose figures are not collected yet.
  fileprivate var rest: ArraySlice<AppletEntry>
  /// Whether the client takes several replies.
  fileprivate let isInParts: Bool
  /// Those that are being collected: the members of an object of the interface's type AppletStatistics for each.
  fileprivate var batch: [[JSONMember]] = []
  /// Those of earlier batches that were not sent yet.
  fileprivate var collected: [JSONValue] = []
  /// Number of workers that have not answered.
  private(set) var unanswered = 0

  /// Maximum number of workers that are asked at a time.
  fileprivate static let batchSize = 8
  /// Nanoseconds that a worker has to answer. Without its answer its part of the figures is missing.
  private static let timeout: Int64 = 1_000_000_000

  init(_ applets: ArraySlice<AppletEntry>, isInParts: Bool) {
    rest = applets
    self.isInParts = isInParts
  }

  /// Asks a worker, whose figures complete those at an index of the batch.
  fileprivate func ask(_ applet: AppletEntry, index: Int) -> WorkerCall? {
    unanswered += 1
    let call = try? WorkerCall(Call("Statistics"), to: applet.directory, timeout: Self.timeout) { [self] reply in
      unanswered -= 1
      guard let reply, reply.error == nil else { return }
      // The worker may be compromised: only numbers and their names are taken.
      for name in ["calls", "exits", "deadline_left", "cpu_budget_left"] {
        if case .integer(let number)? = reply.parameters[name], number >= 0 {
          batch[index].append(JSONMember(name, .integer(number)))
        }
      }
      for (name, label) in [("call_counts", "call"), ("exit_counts", "kind")] {
        if case .array(let counts)? = reply.parameters[name] {
          batch[index].append(JSONMember(name, Self.counts(counts, of: label)))
        }
      }
      if case .array(let latencies)? = reply.parameters["call_latencies"] {
        batch[index].append(JSONMember("call_latencies", Self.latencies(latencies)))
      }
    }
    // It is ending, or its queue is full.
    if call == nil { unanswered -= 1 }
    return call
  }

  /// Counts of a worker, of which each has another name: at most 32 with names of at most 32 letters.
  static func counts(_ counts: [JSONValue], of label: String) -> JSONValue {
    named(counts, label) {
      guard case .integer(let number)? = $0["count"], number >= 0 else { return nil }
      return [JSONMember("count", .integer(number))]
    }
  }

  /// Latencies of calls, in the same way.
  static func latencies(_ latencies: [JSONValue]) -> JSONValue {
    named(latencies, "call") {
      guard case .integer(let sum)? = $0["sum"], sum >= 0, case .array(let buckets)? = $0["buckets"],
        buckets.count == CallLatency.Histogram.bucketCount,
        buckets.allSatisfy({ if case .integer(let count) = $0 { count >= 0 && count < 1 << 48 } else { false } })
      else { return nil }
      return [JSONMember("sum", .integer(sum)), JSONMember("buckets", .array(buckets))]
    }
  }

  /// - Parameter members: what else is taken from an element; nil if it is not as it must be.
  private static func named(_ values: [JSONValue], _ label: String, _ members: (JSONValue) -> [JSONMember]?)
    -> JSONValue
  {
    var names: [String] = []
    var taken: [JSONValue] = []
    for value in values.prefix(32) {
      guard case .string(let name)? = value[label], (1...32).contains(name.utf8.count), name.utf8.allSatisfy(isPlain),
        !names.contains(name), let members = members(value)
      else { continue }
      names.append(name)
      taken.append(.object([JSONMember(label, .string(name))] + members))
    }
    return .array(taken)
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
    default: false
    }
  }

  /// The collected figures, as a reply.
  fileprivate func take() -> JSONValue {
    defer { collected = [] }
    return .object([JSONMember("applets", .array(collected))])
  }
}

/// The method Statistics.
extension Daemon {
  /// Sends the figures that are complete, and asks for more.
  func continueStatistics(_ connection: Connection, _ call: StatisticsCall) {
    for _ in 0..<ConsoleReader.turn where connection.waiting < ConsoleReader.chunk {
      guard call.unanswered == 0 else { return }
      call.collected += call.batch.map { .object($0) }
      call.batch = []
      if call.rest.isEmpty {
        return connection.reply(Reply(call.take()), tooLong: call.isInParts ? .replyTooLong : .expectedMore)
      }
      if call.isInParts, !call.collected.isEmpty {
        connection.reply(call.take(), continues: true)
        connection.flush()
      }
      let next = call.rest.prefix(StatisticsCall.batchSize)
      call.rest = call.rest.dropFirst(StatisticsCall.batchSize)
      call.batch = next.map { figures(of: $0) }
      for (index, applet) in next.enumerated() where applet.phase.isRunning {
        if let asked = call.ask(applet, index: index), !asked.isDone { workerCalls.append(asked) }
      }
    }
  }

  /// The daemon's part of the interface's type AppletStatistics.
  private func figures(of applet: AppletEntry) -> [JSONMember] {
    var members = [
      JSONMember("name", .string(applet.name)), JSONMember("state", .string(applet.phase.name)),
      JSONMember("restarts", .integer(applet.configuration.restarts)), JSONMember("ends", applet.ends.json),
    ]
    let started = applet.configuration.started.time
    if started > 0 { members.append(JSONMember("started", .integer(started))) }
    if let usage = applet.phase.process?.usage() {
      members.append(JSONMember("guest_time", .integer(usage.guest)))
      members.append(JSONMember("monitor_time", .integer(usage.monitor)))
      members.append(JSONMember("resident", .integer(usage.resident)))
    }
    return members
  }
}
