import CFaults
import CLinux
import Platform

/// The resources of the process, as the kernel reports them.
struct Resources: Equatable, CustomStringConvertible {
  let descriptors: Int
  let threads: Int
  let timers: Int

  static var now: Resources {
    Resources(
      descriptors: Int(count_entries("/proc/self/fd")), threads: Int(count_entries("/proc/self/task")),
      timers: text("/proc/self/timers").split(separator: "\n").count { $0.hasPrefix("ID:") })
  }

  var description: String { "\(descriptors) descriptors, \(threads) threads, \(timers) timers" }

  private static func text(_ path: String) -> String {
    let file = linux_open(path, O_RDONLY, 0)
    guard file >= 0 else { return "" }
    defer { _ = linux_close(Int32(file)) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = linux_read(Int32(file), &bytes, bytes.count)
    return String(decoding: bytes[..<max(count, 0)], as: UTF8.self)
  }
}
