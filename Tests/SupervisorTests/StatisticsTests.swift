import CLinux
import JSON
import Launch
import Testing

@testable import Supervisor

@Suite("Figures of applets")
struct StatisticsTests {
  @Test("tell how a run ended")
  func kinds() {
    let ends: [(RunEnd, EndKind)] = [
      (RunEnd(exited: 0), .exited), (RunEnd(exited: 121), .exited), (RunEnd(.fault, reason: ""), .fault),
      (RunEnd(.timeLimit, reason: ""), .limit), (RunEnd(.lockstep, reason: ""), .lockstep),
      (RunEnd(.stopped, reason: ""), .stopped), (RunEnd(.host, reason: ""), .other),
      (RunEnd(.reset, reason: ""), .other),
      (RunEnd(code: 137, signal: SIGKILL, reason: ""), .killed),
    ]
    for (end, kind) in ends { #expect(EndKind(end, wasStopped: false) == kind, "\(kind)") }
    // Also if it had to be killed, because it did not stop in time.
    #expect(EndKind(RunEnd(code: 137, signal: SIGKILL, reason: ""), wasStopped: true) == .stopped)
  }

  @Test("count ends of each kind")
  func counts() {
    var counts = EndCounts()
    counts[.fault] += 1
    counts[.fault] += 1
    counts[.exited] += 1
    #expect(EndKind.allCases.map { counts[$0] } == [1, 0, 0, 2, 0, 0, 0])
  }

  @Test("of a compromised worker are few names and numbers")
  func hostileCounts() {
    func count(_ name: JSONValue, _ count: JSONValue) -> JSONValue {
      .object([JSONMember("kind", name), JSONMember("count", count)])
    }
    let fair = [count(.string("wfi"), .integer(3)), count(.string("mmio_user"), .integer(.max))]
    #expect(StatisticsCall.counts(fair, of: "kind") == .array(fair))
    let unfair = [
      count(.string("wfi"), .integer(4)), count(.string("a"), .integer(-1)), count(.string("a"), .string("1")),
      count(.integer(1), .integer(1)), count(.string(""), .integer(1)), count(.string("a\"} 1\nb"), .integer(1)),
      count(.string(String(repeating: "a", count: 33)), .integer(1)), .null, .array([]),
    ]
    #expect(StatisticsCall.counts(fair + unfair, of: "kind") == .array(fair))
    let many = (0..<100).map { count(.string("a\($0)"), .integer(1)) }
    #expect(StatisticsCall.counts(many, of: "kind") == .array(Array(many.prefix(32))))
  }

  @Test("of a compromised worker are histograms with all buckets")
  func hostileLatencies() {
    func latency(_ call: String, _ sum: JSONValue, _ buckets: [JSONValue]) -> JSONValue {
      .object([JSONMember("call", .string(call)), JSONMember("sum", sum), JSONMember("buckets", .array(buckets))])
    }
    let buckets = (0..<12).map { JSONValue.integer($0) }
    let fair = latency("write", .integer(66), buckets)
    let unfair = [
      latency("write", .integer(1), buckets), latency("a", .integer(-1), buckets), latency("a", .null, buckets),
      latency("a", .integer(1), Array(buckets.dropLast())), latency("a", .integer(1), buckets + buckets),
      latency("a", .integer(1), buckets.dropLast() + [.integer(-1)]), latency("a b", .integer(1), buckets),
      latency("a", .integer(1), buckets.dropLast() + [.integer(.max)]), .string("write"),
    ]
    #expect(StatisticsCall.latencies([fair] + unfair) == .array([fair]))
  }

  @Test("are of the process itself, not of another one with its number")
  func usage() throws {
    var (state, began): (CChar, Int64) = (0, 0)
    try #require(linux_process_stat(0, &state, &began) == 0)
    let directory = AppletDirectory(state: "/nowhere", name: "one")
    func process(_ began: Int64) -> AppletProcess {
      AppletProcess(ProcessIdentity(pid: linux_getpid(), began: began), in: directory, isChild: true)
    }
    let own = process(began)
    let usage = try #require(own.usage())
    #expect(usage.resident > 1 << 20 && usage.guest == 0 && usage.monitor > 0)
    // A counter never goes back.
    own.monitorTime = 1 << 40
    #expect(own.usage()?.monitor == 1 << 40)
    #expect(process(began + 1).usage() == nil)
  }
}
