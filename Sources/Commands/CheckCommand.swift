import CLinux
import JSON
import KVM
import Launch
import Machine
import Platform

/// Arguments of `swiftlet check`.
struct CheckArguments: CommandArguments {
  var isJSON = false

  mutating func take(operands: [String]) throws(ArgumentError) { try NoArguments().take(operands: operands) }

  static var options: [Option<CheckArguments>] {
    [Option("json", help: "print the lines as JSON") { arguments, _ in arguments.isJSON = true }]
  }
}

/// What `swiftlet check` prints: a line for each feature, and at the end whether applets can run.
struct CheckReport {
  private let isJSON: Bool
  private var isAble = true
  private var lines: [JSONValue] = []

  init(isJSON: Bool) { self.isJSON = isJSON }

  /// A feature, and whether the host has it.
  /// - Parameters:
  ///   - values: details, or what to do.
  ///   - matters: whether applets need it.
  mutating func line(_ what: String, _ answer: Bool, _ values: String, matters: Bool = true) throws(Failure) {
    if !answer && matters { isAble = false }
    if isJSON {
      lines.append(
        .object([
          JSONMember("name", .string(what)), JSONMember("present", .bool(answer)),
          JSONMember("required", .bool(matters)), JSONMember("detail", .string(values)),
        ]))
    } else {
      try say(
        padded(what, to: 18) + (answer ? "yes" : "no") + (values.isEmpty ? "" : (answer ? "  " : "   ") + values) + "\n"
      )
    }
  }

  /// - Returns: the exit status.
  func verdict() throws(Failure) -> Int32 {
    if isJSON {
      try say(json: .object([JSONMember("able", .bool(isAble)), JSONMember("features", .array(lines))]))
    } else {
      try say(isAble ? "This host can run applets.\n" : "This host cannot run applets.\n")
    }
    return (isAble ? ExitCode.success : .refused).rawValue
  }
}

/// `swiftlet check`: prints a line for each feature that applets need, or run better with.
func check(_ arguments: CheckArguments) throws(Failure) -> Int32 {
  var report = CheckReport(isJSON: arguments.isJSON)
  guard let architecture = Architecture.host else {
    try report.line("architecture", false, "applets run on ARM64 and RISC-V hosts, and on emulated boards (make run)")
    return try report.verdict()
  }
  try report.line("architecture", true, "\(architecture.name), pages of \(linux_page_size() >> 10) KiB")

  let system: System
  do { system = try System(kernel: LinuxKernel()) } catch {
    if case .version = error {
      try report.line("/dev/kvm", true, "present and permitted")
      try report.line("API version", false, error.description)
    } else {
      try report.line("/dev/kvm", false, error.description)
    }
    if architecture == .riscv64 { try checkHypervisorExtension(&report) }
    return try report.verdict()
  }
  try report.line("/dev/kvm", true, "present and permitted")
  try report.line("API version", true, "12")
  if architecture == .riscv64 { try checkHypervisorExtension(&report) }
  for (name, capability, need) in [
    ("user memory", Capability.userMemory, "guest memory cannot be mapped: use Linux 5.0 or later"),
    ("register access", .oneRegister, "guest registers cannot be accessed: use Linux 5.0 or later"),
    ("immediate exit", .immediateExit, "guests cannot be stopped without a race: use Linux 4.11 or later"),
  ] {
    let answer = system.check(capability) != 0
    try report.line(name, answer, answer ? "" : need)
  }
  try report.line("vCPUs", true, "up to \(system.check(.maximumVCPUs)) in a VM")
  try report.line("memory slots", true, "up to \(system.check(.memorySlots)) in a VM")

  var hasFilter: Bool?
  var hasAArch32: Bool?
  var failure: KVMError?
  do throws(KVMError) {
    let machine = try system.makeVirtualMachine()
    if architecture.facts.usesSMCCC { hasFilter = try machine.forwardHypercalls(0...0) }
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    if let narrow = architecture.narrow {
      hasAArch32 = try narrow.isSupported { (id) throws(KVMError) in try vcpu.register(id) }
    }
  } catch { failure = error }
  if let hasFilter {
    try report.line(
      "SMCCC filter", hasFilter,
      hasFilter
        ? "calls use HVC"
        : "calls use MMIO, which is slightly slower; the filter was added in Linux 6.4", matters: false)
  }
  try report.line(
    "virtual machine", failure == nil,
    failure.map {
      "\($0.description): see the kernel's log (dmesg); a host that is itself a guest needs nested virtualization"
    } ?? "created, with a vCPU")
  if let hasAArch32 {
    try report.line(
      "AArch32", hasAArch32, hasAArch32 ? "applets of 32 bits, too" : "no applets of 32 bits", matters: false)
  }
  let hasLandlock = linux_has_landlock()
  try report.line(
    "Landlock", hasLandlock,
    hasLandlock
      ? ""
      : "only the seccomp filter denies access to files; enable CONFIG_SECURITY_LANDLOCK, and landlock in lsm=",
    matters: false)
  try checkControlGroups(&report)
  try checkTimes(&report)
  return try report.verdict()
}

/// RISC-V: checks for the H extension in the kernel's list.
private func checkHypervisorExtension(_ report: inout CheckReport) throws(Failure) {
  guard let file = try? FileContents(streaming: "/proc/cpuinfo", limit: 1 << 20, kernel: LinuxKernel()) else {
    return try report.line("H extension", false, "/proc/cpuinfo cannot be read: mount /proc", matters: false)
  }
  let text = String(decoding: file.bytes, as: UTF8.self)
  // "isa : rv64imafdch_zicsr_…": single-letter extensions up to the first underscore.
  let letters = text.split(separator: "\n").first { $0.hasPrefix("isa") }?.split(separator: ":").last?
    .split(separator: "_").first
  let answer = letters?.dropFirst(5).contains("h") ?? false
  try report.line(
    "H extension", answer,
    answer
      ? "" : "this CPU has no hypervisor extension, which is required (see README)")
}
