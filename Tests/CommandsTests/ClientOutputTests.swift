import Control
import JSON
import Launch
import Testing

@testable import Commands

/// What the commands of the daemon print for its replies.
struct ClientOutputTests {
  private func applet(_ name: String, _ state: String, _ more: [JSONMember] = []) -> JSONValue {
    .object(
      [
        JSONMember("name", .string(name)), JSONMember("state", .string(state)),
        JSONMember("image", .string("/usr/lib/applets/hello.elf")), JSONMember("memory", .integer(16 << 20)),
        JSONMember("started", .integer(1_700_000_000_000)), JSONMember("restarts", .integer(2)),
      ] + more)
  }

  private func end(_ code: Int64) -> JSONMember {
    JSONMember("end", .object([JSONMember("code", .integer(code)), JSONMember("reason", .string("it ended"))]))
  }

  @Test func listHasAnExitColumn() {
    let applets: [JSONValue] = [
      applet("a1", "exited", [end(3)]), applet("a2", "running", [JSONMember("pid", .integer(17))]),
    ]
    let list = JSONValue.object([JSONMember("applets", .array(applets))])
    #expect(
      listing(list, now: 1_700_000_090_000) == """
        NAME  STATE    EXIT  PID  AGE  RESTARTS  IMAGE
        a1    exited   3     -    1m   2         /usr/lib/applets/hello.elf
        a2    running  -     17   1m   2         /usr/lib/applets/hello.elf

        """)
  }

  @Test func linesFitATerminal() {
    let long = applet("a-name-that-is-very-long", "running")
    let list = JSONValue.object([JSONMember("applets", .array([long, applet("a2", "waiting")]))])
    let whole = listing(list, now: 1_700_000_000_000)
    #expect(listing(list, now: 1_700_000_000_000, width: 200) == whole)
    for width in [55, 60, 70, 80, 90] {
      let lines = listing(list, now: 1_700_000_000_000, width: width).split(separator: "\n")
      #expect(lines.count == 3 && lines.allSatisfy { $0.count <= width }, "\(width): \(lines)")
      #expect(lines.allSatisfy { $0.hasSuffix("IMAGE") || $0.hasSuffix("llo.elf") }, "\(width): \(lines)")
    }
    // Names lose characters last.
    #expect(listing(list, now: 0, width: 70).contains("a-name-that-is-very-long"))
    #expect(listing(list, now: 0, width: 55).contains("a-name-th…"))
  }

  @Test func filtersOfAKindAreAlternatives() throws {
    let applets = [applet("web-1", "running"), applet("web-2", "failed"), applet("db", "running")]
    func names(_ filters: String...) throws -> [String] {
      let filters = try filters.map { try #require(AppletFilter($0), "\($0)") }
      return applets.filter { AppletFilter.admit(filters, $0) }.map { $0.text("name") }
    }
    #expect(try names() == ["web-1", "web-2", "db"])
    #expect(try names("state=running") == ["web-1", "db"])
    #expect(try names("state=running", "state=failed") == ["web-1", "web-2", "db"])
    #expect(try names("name=web-*") == ["web-1", "web-2"])
    #expect(try names("name=web-*", "name=d?", "state=running") == ["web-1", "db"])
    #expect(try names("name=[a-c]*") == [])
    for text in ["state=up", "state=", "name=", "label=a", "running", ""] {
      #expect(AppletFilter(text) == nil, "\(text)")
    }
  }

  @Test func lastLinesOfAText() {
    /// In pieces of each size.
    func last(_ count: Int, _ text: String) -> String {
      let found = (1...4).map { size in
        let bytes = Array(text.utf8)
        let pieces = stride(from: 0, to: bytes.count, by: size).map { start in
          OutputPiece(Array(bytes[start..<min(start + size, bytes.count)]), time: Int64(start))
        }
        return String(decoding: lastLines(count, of: pieces).flatMap { $0.bytes }, as: UTF8.self)
      }
      #expect(Set(found).count == 1, "\(found)")
      return found[0]
    }
    #expect(last(1, "a\nb\n") == "b\n" && last(2, "a\nb\n") == "a\nb\n" && last(9, "a\nb\n") == "a\nb\n")
    #expect(last(1, "a\nb") == "b" && last(2, "a\nb\nc") == "b\nc")
    #expect(last(1, "a\n\n") == "\n" && last(2, "\n\n\n") == "\n\n")
    #expect(last(0, "a\n") == "" && last(3, "") == "" && last(1, "\n") == "\n")
  }

  @Test func timesAndSizesAreForPeople() throws {
    let text = timeText(1_700_000_000_007, withMilliseconds: true)
    #expect(text.wholeMatch(of: /2023-11-1[45]T[0-9:]{8}\.007[+-][0-9]{2}:[0-9]{2}/) != nil, "\(text)")
    #expect(timeText(1_700_000_000_007).wholeMatch(of: /2023-11-1[45]T[0-9:]{8}[+-][0-9:]{5}/) != nil)
    #expect(timeText(-1) == "-1")
    #expect(sizeText(0) == "0" && sizeText(1023) == "1023" && sizeText(1536) == "1.5K" && sizeText(1 << 20) == "1.0M")
    #expect(sizeText((5 << 30) + (3 << 28)) == "5.7G" && sizeText(.max).hasSuffix("T"))
  }

  @Test func timesAreParsed() {
    let now: Int64 = 1_700_000_000_000
    #expect(parseTime("10m", now: now) == now - 600_000 && parseTime("1.5", now: now) == now - 1500)
    #expect(parseTime("36500d", now: now) == 0 && parseTime("@1700000000", now: now) == now)
    #expect(parseTime("2023-11-14T22:13:20Z", now: now) == now)
    #expect(parseTime("2023-11-14T23:13:20.250+01:00", now: now) == now + 250)
    #expect(parseTime("2023-11-14 17:43-04:30", now: now) == now - 20_000)
    // What is printed can be given.
    #expect(parseTime(timeText(now + 7, withMilliseconds: true), now: now) == now + 7)
    #expect(parseTime(timeText(now), now: now) == now)
    #expect(parseTime("2023-11-14", now: now).map { abs($0 - now) < 36 * 3_600_000 } == true)
    for text in [
      "", "yesterday", "2023-13-01", "2023-11-14T22:13:20+1", "12:00", "@", "@x", "2023-11-14T1:2:3.x", "-5m",
    ] {
      #expect(parseTime(text, now: now) == nil, "\(text)")
    }
  }

  @Test func detailsSayWithWhatItWasStarted() {
    let reply = JSONValue.object([
      JSONMember(
        "applet",
        applet(
          "a1", "waiting",
          [
            JSONMember("ended", .integer(1_700_000_060_000)), end(121),
            JSONMember("next_start", .integer(1_700_000_095_000)),
          ])
      ),
      JSONMember("arguments", .array([.string("--level=3"), .string("it's on"), .string("")])),
      JSONMember(
        "restart",
        .object([
          JSONMember("policy", .string("on_failure")), JSONMember("limit", .integer(5)),
          JSONMember("delay", .integer(250)),
        ])),
      JSONMember(
        "limits", .object([JSONMember("deadline", .integer(60_000)), JSONMember("process_memory", .integer(1 << 26))])),
    ])
    let lines = inspection(reply, now: 1_700_000_090_000).split(separator: "\n").map { line in
      line.split(separator: " ", maxSplits: 1).map { $0.drop { $0 == " " } }.joined(separator: " ")
    }
    #expect(lines.contains("arguments --level=3 'it'\\''s on' ''"), "\(lines)")
    #expect(lines.contains { $0.hasPrefix("started 2023-11-1") && $0.hasSuffix(" (1m ago)") }, "\(lines)")
    #expect(lines.contains { $0.hasPrefix("ended 2023-11-1") && $0.hasSuffix(" (30s ago)") }, "\(lines)")
    #expect(lines.contains { $0.hasPrefix("next start") && $0.hasSuffix(" (in 5s)") }, "\(lines)")
    #expect(lines.contains("restart on-failure:5, after 250 ms") && lines.contains("restarts 2"), "\(lines)")
    #expect(lines.contains("timeout 60000 ms") && lines.contains("process-memory 67108864"), "\(lines)")
    #expect(lines.contains("end status 121: it ended"), "\(lines)")
  }

  @Test func ratesAreOfOneProcess() {
    func sample(_ pid: Int64, cpu: Int64, calls: Int64, at time: Int64) -> UsageSample {
      UsageSample(
        .object([
          JSONMember("applet", applet("a1", "running", [JSONMember("pid", .integer(pid))])),
          JSONMember("cpu_time", .integer(cpu)), JSONMember("calls", .integer(calls)),
          JSONMember("resident", .integer(2 << 20)),
        ]), at: time)
    }
    let before = sample(7, cpu: 100, calls: 1000, at: 5_000_000_000)
    let usage = Usage(sample(7, cpu: 1350, calls: 1500, at: 7_000_000_000), since: before)
    #expect(usageRows([usage])[1] == ["a1", "running", "62.5%", "2.0M", "250", "1500", "2"])
    #expect(usage.json["cpu_percent"] == .real(62.5) && usage.json["calls_per_second"] == .integer(250))
    // Started again, seen for the first time, and at rest.
    for usage in [
      Usage(sample(8, cpu: 10, calls: 10, at: 7_000_000_000), since: before), Usage(before, since: nil),
    ] { #expect(usageRows([usage])[1][2] == "-" && usage.json["cpu_percent"] == nil) }
    let ended = UsageSample(.object([JSONMember("applet", applet("a1", "waiting"))]), at: 0)
    // Of a process that is compromised.
    let greatest = Usage(
      sample(7, cpu: .max, calls: .max, at: 7_000_000_000), since: sample(7, cpu: .min, calls: 0, at: 0))
    #expect(greatest.rates?.cpu == 0 && greatest.rates?.calls ?? 0 > 0)
    #expect(usageRows([Usage(ended, since: before)])[1] == ["a1", "waiting", "-", "-", "-", "-", "2"])
  }

  @Test func refusalsSayWhatToDo() {
    let refusal = Reply(.wrongState("a1", state: "running"))
    #expect(refusal.errorText(of: "Remove") == "a1 is running: stop it first, or use swiftlet rm -f a1")
    let ended = Reply(.wrongState("a1", state: "exited"))
    #expect(ended.errorText(of: "Stop") == "a1 is exited: it has ended already; swiftlet restart a1 starts it again")
    #expect(
      ended.errorText(of: "SetLimits")
        == "a1 is exited: this needs a running applet; swiftlet restart a1 starts it again")
    #expect(Reply(.object([])).errorText(of: "Remove") == nil)
    #expect(Reply(.invalidParameter("image_descriptor")).lacksDescriptor)
    #expect(!Reply(.invalidParameter("image")).lacksDescriptor && !refusal.lacksDescriptor)
  }
}
