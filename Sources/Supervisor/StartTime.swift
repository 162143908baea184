import CLinux
import JSON
import Platform

/// When a run of an applet began. The wall clock may be set afterwards, as on boards that get the time from the network: within a
/// boot, CLOCK_BOOTTIME says how long ago it was.
struct StartTime: Equatable {
  /// Milliseconds since 1970, by the clock as it was then; 0 for no run.
  var wall: Int64 = 0
  /// CLOCK_BOOTTIME at that time, in milliseconds; nil for another boot.
  var uptime: Int64?
  /// The boot, as /proc/sys/kernel/random/boot_id names it.
  var boot: String?

  /// Now.
  static func now(boot: String?) -> StartTime {
    StartTime(wall: Daemon.wallClock, uptime: boot == nil ? nil : bootClock, boot: boot)
  }

  /// Milliseconds since 1970, by the clock as it is now if the run began in this boot; 0 for no run.
  var time: Int64 {
    guard let uptime else { return wall }
    let time = max(Daemon.wallClock - max(Self.bootClock - uptime, 0), 0)
    // The two clocks are not read at once: one time for a run, unless the wall clock was set.
    return abs(time - wall) < 1000 ? wall : time
  }

  /// Forgets the time of a boot that is over.
  mutating func enter(boot: String?) {
    if boot == nil || boot != self.boot { uptime = nil }
  }

  private static var bootClock: Int64 { linux_clock(CLOCK_BOOTTIME) / 1_000_000 }

  /// The name of this boot; nil where /proc does not have it.
  static func readBoot() -> String? {
    guard
      let file = try? FileContents(
        streaming: "/proc/sys/kernel/random/boot_id", limit: 64, kernel: LinuxKernel())
    else { return nil }
    let name = file.bytes.prefix { $0 > UInt8(ascii: " ") }
    return name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
  }
}
