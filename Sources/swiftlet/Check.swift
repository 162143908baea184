import CLinux
import KVM
import Machine
import Platform

/// `swiftlet check`: what this host has of what applets need, a line each.
func check(_ words: ParsedWords) throws(Failure) -> Int32 {
  if let word = words.operands.first { throw .usage(.check, "unexpected word '\(word)'") }
  var isAble = true

  func line(_ what: String, _ answer: Bool, _ words: String, matters: Bool = true) {
    say(padded(what, to: 18) + (answer ? "yes" : "no") + (words.isEmpty ? "" : (answer ? "  " : "   ") + words) + "\n")
    if !answer && matters { isAble = false }
  }
  func verdict() -> Int32 {
    say(isAble ? "This host can run applets.\n" : "This host cannot run applets.\n")
    return (isAble ? Status.success : .unable).rawValue
  }

  guard let architecture = Architecture.host else {
    line("architecture", false, "applets run on ARM64 and RISC-V hosts, and on emulated boards (make run)")
    return verdict()
  }
  line("architecture", true, "\(architecture.name), pages of \(linux_page_size() >> 10) KiB")

  let system: System
  do { system = try System(kernel: LinuxKernel()) } catch {
    if case .version = error {
      line("/dev/kvm", true, "present and permitted")
      line("API version", false, error.description)
    } else {
      line("/dev/kvm", false, error.description)
    }
    if architecture == .riscv64 { checkHypervisorExtension(line) }
    return verdict()
  }
  line("/dev/kvm", true, "present and permitted")
  line("API version", true, "12")
  if architecture == .riscv64 { checkHypervisorExtension(line) }
  for (name, capability, need) in [
    ("user memory", Capability.userMemory, "guests cannot be given memory: use Linux 5.0 or later"),
    ("register access", .oneRegister, "guests cannot be given registers: use Linux 5.0 or later"),
    ("immediate exit", .immediateExit, "guests cannot be stopped without a race: use Linux 4.11 or later"),
  ] {
    let answer = system.check(capability) != 0
    line(name, answer, answer ? "" : need)
  }
  line("vCPUs", true, "up to \(system.check(.maximumVCPUs)) a machine")
  line("memory slots", true, "up to \(system.check(.memorySlots)) a machine")

  do {
    let machine = try system.makeVirtualMachine()
    if architecture == .arm64 {
      let hasFilter = try machine.forwardHypercalls(0...0)
      line(
        "SMCCC filter", hasFilter,
        hasFilter
          ? "calls travel by HVC"
          : "calls travel by MMIO instead, a little slower; Linux 6.4 and later have the filter", matters: false)
    }
    _ = try machine.makeVCPU(number: 0, architecture: architecture)
    line("virtual machine", true, "made one with a vCPU")
  } catch {
    line(
      "virtual machine", false,
      "\(error.description): the kernel's log (dmesg) may say why; a host that is itself a guest needs nested KVM")
  }
  return verdict()
}

/// RISC-V: whether the processor has the H extension, by the kernel's own list.
private func checkHypervisorExtension(_ line: (String, Bool, String, Bool) -> Void) {
  guard let file = try? FileContents(streaming: "/proc/cpuinfo", limit: 1 << 20, kernel: LinuxKernel()) else {
    return line("H extension", false, "/proc/cpuinfo cannot be read: mount /proc", false)
  }
  let text = String(decoding: file.bytes, as: UTF8.self)
  // "isa : rv64imafdch_zicsr_…": single letters up to the first underscore.
  let letters = text.split(separator: "\n").first { $0.hasPrefix("isa") }?.split(separator: ":").last?
    .split(separator: "_").first
  let answer = letters?.dropFirst(5).contains("h") ?? false
  line(
    "H extension", answer,
    answer
      ? "" : "this processor has no hypervisor extension: a board whose processor has it is needed (README names some)",
    true)
}
