import Testing

/// What the daemon tells about its applets in figures, and what ps(1) shows of them.
@Suite(.onlyInCheck)
struct DaemonMetricsTests {
  static let session = Session([Board.arm64, .riscv64].flatMap { figures($0) + processes($0) }, timeout: 300)

  @Test(arguments: session.cases)
  func figuresOfAppletsAreTold(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func figures(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "metrics for Prometheus",
        """
        swiftlet start --name one hello.elf; swiftlet wait one
        swiftlet start --name two --restart on-failure:1 --restart-delay 50ms null-read.elf; swiftlet wait two 2>/dev/null
        swiftlet start --name three --timeout 1000s --cpu-budget 500s loop.elf
        # The kernel counts the time of guests by its clock ticks.
        for i in $(seq 100); do
          swiftlet metrics --prometheus >/tmp/metrics
          if grep -q '{name="three",mode="guest"} [0-9.]*[1-9]' /tmp/metrics; then break; fi
          usleep 100000
        done
        grep -E '^swiftlet_(runs|restarts|applet_(state|restarts|ends)).* [1-9]' /tmp/metrics
        grep '"three"' /tmp/metrics | sed '/_ends_/d; /_by_kind_/d; s/ [0-9.]*[1-9][0-9.]*$/ N/; s/monitor"} .*/monitor"} N/'
        grep -c 'vm_exits_by_kind_total{name="three",kind="signal"} ' /tmp/metrics
        swiftlet stop three; swiftlet metrics --prometheus | grep '"three"' | grep -v -e ' 0$' -e _start_time_
        """,
        output: """
          one
          two
          three
          swiftlet_runs_started_total 4
          swiftlet_runs_ended_total 3
          swiftlet_runs_failed_total 2
          swiftlet_restarts_total 1
          swiftlet_applet_state{name="one",state="exited"} 1
          swiftlet_applet_state{name="two",state="failed"} 1
          swiftlet_applet_state{name="three",state="running"} 1
          swiftlet_applet_restarts_total{name="two"} 1
          swiftlet_applet_ends_total{name="one",kind="exited"} 1
          swiftlet_applet_ends_total{name="two",kind="fault"} 2
          swiftlet_applet_state{name="three",state="running"} N
          swiftlet_applet_restarts_total{name="three"} 0
          swiftlet_applet_start_time_seconds{name="three"} N
          swiftlet_applet_cpu_seconds_total{name="three",mode="guest"} N
          swiftlet_applet_cpu_seconds_total{name="three",mode="monitor"} N
          swiftlet_applet_resident_memory_bytes{name="three"} N
          swiftlet_applet_calls_total{name="three",call="write"} N
          swiftlet_applet_vm_exits_total{name="three"} N
          swiftlet_applet_deadline_remaining_seconds{name="three"} N
          swiftlet_applet_cpu_budget_remaining_seconds{name="three"} N
          1
          swiftlet_applet_state{name="three",state="stopped"} 1
          swiftlet_applet_ends_total{name="three",kind="stopped"} 1

          """),
      DaemonTests.daemon(
        board, "metrics over HTTP",
        """
        swiftlet start --name one loop.elf
        ask() { printf "$1 HTTP/1.1\\r\\nHost: board\\r\\n\\r\\n" | swiftlet metrics --prometheus --http | tr -d '\\r'; }
        ask 'GET /metrics' | sed '1,2p; /^$/q; d'
        ask 'GET /metrics' | sed '1,/^$/d' | grep -c '^swiftlet_applet_state{name="one",state="running"} 1$'
        ask 'GET /' | head -1; ask 'DELETE /metrics' | head -1; ask 'nonsense' | head -1
        """,
        output: """
          one
          HTTP/1.1 200 OK
          Content-Type: text/plain; version=0.0.4; charset=utf-8

          1
          HTTP/1.1 404 Not Found
          HTTP/1.1 405 Method Not Allowed
          HTTP/1.1 400 Bad Request

          """),
      DaemonTests.daemon(
        board, "metrics of many applets, and of one whose process is stopped",
        """
        for i in 1 2 3 4 5 6 7 8 9 10 11 12; do swiftlet start --name a$i sleep.elf 1000000000; done >/dev/null
        swiftlet metrics --prometheus | grep -c 'calls_total{name="a' # three names of calls each
        pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/a3/process)
        kill -STOP $pid
        swiftlet metrics --prometheus >/tmp/metrics; kill -CONT $pid
        grep -c 'calls_total{name="a' /tmp/metrics; grep '"a3"' /tmp/metrics | grep -c -E 'state="running"|resident'
        swiftlet metrics --prometheus | grep -c 'calls_total{name="a'
        """, output: "36\n33\n2\n36\n"),
    ]
  }

  private static func processes(_ board: Board) -> [Case] {
    [
      DaemonTests.daemon(
        board, "names in ps",
        """
        for name in led a-name-of-many-bytes; do
          swiftlet start --name $name loop.elf
          pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' $state/$name/process)
          cat /proc/$pid/comm; tr '\\0' ' ' </proc/$pid/cmdline | sed 's/ $//'; echo
        done
        """,
        output: """
          led
          sw-led
          swiftlet worker led
          a-name-of-many-bytes
          sw-a-name-of-ma
          swiftlet worker a-name-of-many-bytes

          """)
    ]
  }
}
