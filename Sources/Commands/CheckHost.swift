import CLinux
import Control
import Platform
import Supervisor

/// Lines of `swiftlet check` about features that applets run without.

/// Control groups, for the daemon's limits of memory, CPU time and threads.
func checkControlGroups(_ report: inout CheckReport) throws(Failure) {
  let lost = "the daemon has no --process-memory, --cpu-percent and --threads: "
  let support = ControlGroupSupport.find()
  switch support {
  case .unmounted:
    try report.line(
      "control groups", false,
      lost + "cgroup v2 is not mounted at /sys/fs/cgroup (mount -t cgroup2 none /sys/fs/cgroup)",
      matters: false)
  case .mounted:
    try report.line(
      "control groups", false, lost + "v2, none is delegated: run the daemon as its unit, or give it --cgroup",
      matters: false)
  case .delegated(let path): try report.line("control groups", true, "v2, delegated: \(path)", matters: false)
  }
  guard support != .unmounted else { return }
  let hasMemory = ControlGroupSupport.hasMemoryController
  try report.line(
    "memory controller", hasMemory,
    hasMemory
      ? "" : "no --process-memory: boot with cgroup_enable=memory (Raspberry Pi OS: /boot/firmware/cmdline.txt)",
    matters: false)
}

/// How fast a guest's reads of the time are, and whether figures are repeatable.
func checkTimes(_ report: inout CheckReport) throws(Failure) {
  let source =
    word(of: "/sys/devices/system/clocksource/clocksource0/current_clocksource") ?? "an unknown clock source"
  switch linux_clock_needs_calls(CLOCK_MONOTONIC) {
  case 0: try report.line("fast clock", true, "\(source), read without a system call", matters: false)
  case 1:
    try report.line(
      "fast clock", false, "\(source): each read is a system call, which makes an applet's calls for the time slower",
      matters: false)
  default: try report.line("fast clock", false, "\(source): unknown, since this kernel has no seccomp", matters: false)
  }
  // CPUs whose frequencies change together have the same governor; clusters may differ.
  var governors: [String] = []
  for cpu in 0..<max(linux_processor_count(), 1) {
    let governor = word(of: "/sys/devices/system/cpu/cpu\(cpu)/cpufreq/scaling_governor")
    if let governor, !governors.contains(governor) { governors.append(governor) }
  }
  let isSteady = governors.allSatisfy { $0 == "performance" }
  try report.line(
    "steady frequency", isSteady,
    governors.isEmpty
      ? "the kernel does not scale the CPUs' frequency"
      : isSteady
        ? "governor performance"
        : "governor \(governors.reduce("") { $0.isEmpty ? $1 : $0 + ", " + $1 }): times vary with the load; for measurements, "
          + "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", matters: false)
}

/// The first word of a file; nil if there is none.
private func word(of path: String) -> String? {
  guard let file = try? FileContents(streaming: path, limit: 4096, kernel: LinuxKernel()) else { return nil }
  let word = file.bytes.prefix { $0 > 0x20 }
  return word.isEmpty ? nil : String(decoding: word, as: UTF8.self).printable()
}
