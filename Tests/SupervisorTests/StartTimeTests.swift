import CLinux
import Control
import Testing

@testable import Supervisor

/// When applets were started, where the clock is set meanwhile.
struct StartTimeTests {
  /// A clock that was years behind when the run began, a minute ago.
  private static func began(boot: String) -> StartTime {
    StartTime(wall: 1000, uptime: linux_clock(CLOCK_BOOTTIME) / 1_000_000 - 60_000, boot: boot)
  }

  @Test func withinABootTheClockMayBeSet() {
    var start = Self.began(boot: "a")
    start.enter(boot: "a")
    let age = Daemon.wallClock - start.time
    #expect((60_000..<80_000).contains(age))
    let now = StartTime.now(boot: "a")
    #expect(abs(now.time - Daemon.wallClock) < 20_000)
  }

  @Test func ofAnotherBootOnlyTheClockIsKnown() {
    for boot in ["b", nil] {
      var start = Self.began(boot: "a")
      start.enter(boot: boot)
      #expect(start.time == 1000)
    }
    #expect(StartTime.now(boot: nil).uptime == nil)
    #expect(StartTime().time == 0)
  }

  /// The record says what is needed for that; one of an earlier version says the time by the clock alone.
  @Test func theRecordHasBoth() throws {
    var request = StartRequest()
    request.image = "/a.elf"
    var configuration = WorkerConfiguration(name: "a", request: request)
    configuration.started = Self.began(boot: "a")
    #expect(try #require(WorkerConfiguration(configuration.json)).started == configuration.started)
    configuration.started = StartTime(wall: 1000)
    #expect(try #require(WorkerConfiguration(configuration.json)).started.time == 1000)
  }

  /// A record's uptime that cannot be is no time before 1970 or in years to come.
  @Test func anyUptimeIsATime() {
    for uptime in [0, 1 << 50] as [Int64] {
      let time = StartTime(wall: 1000, uptime: uptime, boot: "a").time
      #expect((0...Daemon.wallClock).contains(time))
    }
  }
}
