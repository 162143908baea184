import JSON
import Launch
import Testing

@testable import Commands

/// A strict reader of Prometheus' text format, version 0.0.4.
private struct Metrics {
  /// The values of samples, by name and labels as they are written.
  private(set) var values: [String: String] = [:]
  private(set) var types: [String: String] = [:]

  init(_ text: String) throws {
    #expect(text.hasSuffix("\n"))
    var current = ""
    var expectsType = false
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      if let help = line.wholeMatch(of: /# HELP (swiftlet_[a-z_]+) ([A-Z].*\.)/) {
        // All samples of a metric are together.
        #expect(types["\(help.1)"] == nil && !expectsType, "\(line)")
        current = "\(help.1)"
        expectsType = true
      } else if let type = line.wholeMatch(of: /# TYPE (swiftlet_[a-z_]+) (counter|gauge|histogram)/) {
        #expect(expectsType && type.1 == current, "\(line)")
        #expect((type.2 == "counter") == current.hasSuffix("_total"), "\(line)")
        types[current] = "\(type.2)"
        expectsType = false
      } else {
        let sample = try #require(
          line.wholeMatch(
            of:
              /(swiftlet_[a-z_]+)((?:\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})?) (-?[0-9]+(?:\.[0-9]+)?)/
          ),
          "\(line)")
        let isPart =
          types[current] == "histogram" && ["_bucket", "_sum", "_count"].contains { sample.1 == current + $0 }
        #expect((sample.1 == current || isPart) && !expectsType, "\(line)")
        let name = "\(sample.1)\(sample.2)"
        #expect(values[name] == nil, "\(line)")
        values[name] = "\(sample.3)"
      }
    }
  }
}

struct PrometheusTests {
  private static let counters = json(
    """
    {"applets":2,"running":1,"started":7,"ended":6,"failed":1,"restarts":3,"connections":2,"calls":90,"resident":1048576,
     "descriptors":14,"uptime":61005}
    """)
  private static let running = json(
    """
    {"name":"led.1","state":"running","restarts":2,"ends":[{"kind":"exited","count":1},{"kind":"fault","count":2}],
     "started":1764530000123,"guest_time":1250,"monitor_time":40,"resident":2097152,"calls":1000003,
     "call_counts":[{"call":"nanotime","count":1000000},{"call":"write","count":3}],"exits":1000400,
     "call_latencies":[{"call":"nanotime","sum":16000001,"buckets":[7,0,2,0,0,0,0,0,0,0,0,1]}],
     "exit_counts":[{"kind":"hvc","count":1000003},{"kind":"mmio_user","count":0}],"deadline_left":0,
     "cpu_budget_left":500}
    """)
  private static let failed = json(#"{"name":"b","state":"failed","restarts":0,"ends":[{"kind":"exited","count":0}]}"#)

  private static func json(_ text: String) -> JSONValue {
    var text = text
    return text.withUTF8 { JSONValue(parsing: UnsafeRawBufferPointer($0)) } ?? .null
  }

  @Test func everyFigureIsASample() throws {
    let metrics = try Metrics(exposition(counters: Self.counters, applets: [Self.running, Self.failed]))
    for (name, value) in [
      ("swiftlet_runs_started_total", "7"), ("swiftlet_runs_ended_total", "6"), ("swiftlet_runs_failed_total", "1"),
      ("swiftlet_restarts_total", "3"), ("swiftlet_daemon_calls_total", "90"), ("swiftlet_daemon_connections", "2"),
      ("swiftlet_daemon_resident_memory_bytes", "1048576"), ("swiftlet_daemon_open_fds", "14"),
      ("swiftlet_daemon_uptime_seconds", "61.005"),
      (#"swiftlet_applet_state{name="led.1",state="running"}"#, "1"),
      (#"swiftlet_applet_state{name="b",state="failed"}"#, "1"),
      (#"swiftlet_applet_restarts_total{name="led.1"}"#, "2"), (#"swiftlet_applet_restarts_total{name="b"}"#, "0"),
      (#"swiftlet_applet_ends_total{name="led.1",kind="exited"}"#, "1"),
      (#"swiftlet_applet_ends_total{name="led.1",kind="fault"}"#, "2"),
      (#"swiftlet_applet_ends_total{name="b",kind="exited"}"#, "0"),
      (#"swiftlet_applet_start_time_seconds{name="led.1"}"#, "1764530000.123"),
      (#"swiftlet_applet_cpu_seconds_total{name="led.1",mode="guest"}"#, "1.25"),
      (#"swiftlet_applet_cpu_seconds_total{name="led.1",mode="monitor"}"#, "0.04"),
      (#"swiftlet_applet_resident_memory_bytes{name="led.1"}"#, "2097152"),
      (#"swiftlet_applet_calls_total{name="led.1",call="nanotime"}"#, "1000000"),
      (#"swiftlet_applet_calls_total{name="led.1",call="write"}"#, "3"),
      (#"swiftlet_applet_call_duration_seconds_bucket{name="led.1",call="nanotime",le="0.000001"}"#, "7"),
      (#"swiftlet_applet_call_duration_seconds_bucket{name="led.1",call="nanotime",le="0.000004"}"#, "7"),
      (#"swiftlet_applet_call_duration_seconds_bucket{name="led.1",call="nanotime",le="0.000016"}"#, "9"),
      (#"swiftlet_applet_call_duration_seconds_bucket{name="led.1",call="nanotime",le="1.048576"}"#, "9"),
      (#"swiftlet_applet_call_duration_seconds_bucket{name="led.1",call="nanotime",le="+Inf"}"#, "10"),
      (#"swiftlet_applet_call_duration_seconds_sum{name="led.1",call="nanotime"}"#, "0.016000001"),
      (#"swiftlet_applet_call_duration_seconds_count{name="led.1",call="nanotime"}"#, "10"),
      (#"swiftlet_applet_vm_exits_total{name="led.1"}"#, "1000400"),
      (#"swiftlet_applet_vm_exits_by_kind_total{name="led.1",kind="hvc"}"#, "1000003"),
      (#"swiftlet_applet_vm_exits_by_kind_total{name="led.1",kind="mmio_user"}"#, "0"),
      (#"swiftlet_applet_deadline_remaining_seconds{name="led.1"}"#, "0"),
      (#"swiftlet_applet_cpu_budget_remaining_seconds{name="led.1"}"#, "0.5"),
    ] { #expect(metrics.values[name] == value, "\(name)") }
    // What an applet does not have is no sample.
    #expect(metrics.values.count == 27 + 14)
  }

  @Test func withoutAppletsThereAreTheDaemonsOwn() throws {
    let metrics = try Metrics(exposition(counters: Self.counters, applets: []))
    #expect(metrics.types.count == 9 && metrics.types.keys.allSatisfy { !$0.contains("applet") })
  }

  @Test func labelsAreEscaped() throws {
    var text = Exposition()
    text.add(
      "swiftlet_a", .gauge, "Help.", [Exposition.Sample(labels: [("name", "a\\b\"c\nd"), ("x", "é")], value: "1")])
    #expect(
      text.text == "# HELP swiftlet_a Help.\n# TYPE swiftlet_a gauge\nswiftlet_a{name=\"a\\\\b\\\"c\\nd\",x=\"é\"} 1\n")
  }

  @Test(arguments: [
    (0, "0"), (1, "0.001"), (10, "0.01"), (100, "0.1"), (1000, "1"), (61500, "61.5"), (-1001, "-1.001"),
  ])
  func millisecondsAreSeconds(milliseconds: Int64, text: String) {
    #expect(Exposition.seconds(milliseconds) == text)
  }
}

struct HTTPTests {
  private func request(_ text: String) -> HTTPRequest { HTTPRequest(Array(text.utf8)) }

  @Test func theFirstLineDecides() {
    let metrics = HTTPRequest.request(method: "GET", path: "/metrics")
    #expect(request("GET /metrics HTTP/1.1\r\nHost: pi:9736\r\nAccept: */*\r\n\r\n") == metrics)
    #expect(request("GET /metrics HTTP/1.0\n\n") == metrics)
    #expect(request("GET /metrics?debug=1 HTTP/1.1\r\n\r\n") == metrics)
    #expect(request("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab") == .request(method: "POST", path: "/"))
  }

  @Test(arguments: ["", "GET", "GET /metrics HTTP/1.1\r\n", "GET /metrics HTTP/1.1\r\nHost: pi\r\n", "\r\n"])
  func aRequestWithoutItsEmptyLineIsIncomplete(text: String) { #expect(request(text) == .incomplete) }

  @Test(arguments: [
    "GET /metrics\r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n", "GET /metrics HTTP/2.0\r\n\r\n",
    "/metrics HTTP/1.1\r\n\r\n",
    "GET metrics HTTP/1.1\r\n\r\n", "GET /met\u{1b}rics HTTP/1.1\r\n\r\n", "GET /metrics HTTP/1.1 x\r\n\r\n",
    "\r\n\r\n",
    " /metrics HTTP/1.1\r\n\r\n", "\0\n\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  ])
  func anInvalidRequestIsStatus400(text: String) {
    #expect(request(text) == .invalid)
    #expect(response(to: request(text)).hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
  }

  @Test func aRequestThatDoesNotEndIsInvalid() {
    let start = "GET /metrics HTTP/1.1\r\nX: "
    #expect(request(start + String(repeating: "x", count: HTTPRequest.limit - start.utf8.count - 1)) == .incomplete)
    #expect(request(start + String(repeating: "x", count: HTTPRequest.limit - start.utf8.count)) == .invalid)
  }

  private func response(to request: HTTPRequest) -> String {
    String(decoding: HTTPResponse(to: request) { "swiftlet_restarts_total 1\n" }.bytes, as: UTF8.self)
  }

  @Test func responses() {
    let head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    #expect(response(to: .request(method: "GET", path: "/metrics")) == head + "swiftlet_restarts_total 1\n")
    #expect(response(to: .request(method: "HEAD", path: "/metrics")) == head)
    #expect(response(to: .request(method: "GET", path: "/")).hasPrefix("HTTP/1.1 404 Not Found\r\n"))
    let post = response(to: .request(method: "POST", path: "/metrics"))
    #expect(post.hasPrefix("HTTP/1.1 405 Method Not Allowed\r\n") && post.contains("\r\nAllow: GET, HEAD\r\n"))
    #expect(response(to: .incomplete).hasPrefix("HTTP/1.1 408 Request Timeout\r\n"))
  }

  @Test func aDaemonThatDoesNotAnswerIsStatus503() {
    let response = HTTPResponse(to: .request(method: "GET", path: "/metrics")) { () throws(Failure) in
      throw .failed(.host, "/run/swiftlet/control.sock: no such file")
    }
    let text = String(decoding: response.bytes, as: UTF8.self)
    #expect(text.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
    #expect(text.hasSuffix("\r\n\r\n/run/swiftlet/control.sock: no such file\n"))
  }
}
