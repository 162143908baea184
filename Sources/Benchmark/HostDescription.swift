import CLinux
import KVM
import Machine
import Platform

/// The machine that was measured on, for whoever reads the figures.
public struct HostDescription {
  /// A name and what is said, in the order of printing.
  public let facts: [(name: StaticString, value: String)]

  /// - Parameter countsInstructions: whether the clock counts instructions, as an emulated board's can.
  public init(architecture: Architecture, kernel: LinuxKernel, countsInstructions: Bool) {
    var facts: [(name: StaticString, value: String)] = []
    func text(_ path: String) -> String? {
      guard let file = try? FileContents(streaming: path, limit: 1 << 16, kernel: kernel) else { return nil }
      // The device tree's strings end with a zero byte, others with a line feed.
      return String(decoding: file.bytes.prefix { $0 != 0 && $0 != 0x0a }, as: UTF8.self)
    }
    facts.append(("architecture", architecture.name.description))
    if let board = text("/proc/device-tree/model") { facts.append(("board", board)) }
    facts.append(("cpu", Self.processor(architecture, kernel)))
    facts.append(("processors", "\(linux_processor_count())"))
    facts.append(("pages", "\(linux_page_size() >> 10) KiB"))
    facts.append(("kernel", text("/proc/sys/kernel/osrelease") ?? "unknown"))
    facts.append(("kvm", Self.features(architecture, kernel)))
    if let governor = text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
      facts.append(("governor", governor))
    }
    facts.append(
      (
        "clock",
        countsInstructions
          ? "instructions" : text("/sys/devices/system/clocksource/clocksource0/current_clocksource") ?? "unknown"
      ))
    self.facts = facts
  }

  /// What is said by a name.
  subscript(name: StaticString) -> String? {
    facts.first { $0.name.description == name.description }?.value
  }

  /// What KVM has that a call's time depends on.
  private static func features(_ architecture: Architecture, _ kernel: LinuxKernel) -> String {
    guard architecture == .arm64 else { return "calls by sbi" }
    do throws(KVMError) {
      let system = try System(kernel: kernel)
      let machine = try system.makeVirtualMachine()
      return "calls by \(try machine.forwardHypercalls(0...0) ? "hvc" : "mmio doorbell")"
        + ", addresses of \(addressBits(system.check(.addressBits))) bits"
    } catch { return error.description }
  }

  /// Bits of guests' addresses, by KVM_CAP_ARM_VM_IPA_SIZE: kernels without that capability answer 0, and have 40.
  static func addressBits(_ answer: Int) -> Int { answer > 0 ? answer : 40 }

  private static func processor(_ architecture: Architecture, _ kernel: LinuxKernel) -> String {
    guard let file = try? FileContents(streaming: "/proc/cpuinfo", limit: 1 << 16, kernel: kernel) else {
      return "unknown"
    }
    return processor(architecture, cpuinfo: String(decoding: file.bytes, as: UTF8.self))
  }

  /// The processor's name, by the text of /proc/cpuinfo.
  static func processor(_ architecture: Architecture, cpuinfo: String) -> String {
    var values: [(Substring, Substring)] = []
    for line in cpuinfo.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      values.append((trimmed(parts[0]), trimmed(parts[1])))
    }
    func value(_ name: String) -> String? { values.first { $0.0 == name }.map { String($0.1) } }
    if let name = value("model name") ?? value("uarch") { return name }
    guard architecture == .arm64 else { return value("isa") ?? "unknown" }
    let implementer = value("CPU implementer") ?? "?"
    let part = value("CPU part") ?? "?"
    return known(implementer, part) ?? "implementer \(implementer), part \(part)"
  }

  /// MIDR_EL1's implementer and part number (Arm's technical reference manuals of these cores).
  private static func known(_ implementer: String, _ part: String) -> String? {
    guard implementer == "0x41" else { return nil }
    switch part {
    case "0xd03": return "Cortex-A53"
    case "0xd05": return "Cortex-A55"
    case "0xd07": return "Cortex-A57"
    case "0xd08": return "Cortex-A72"
    case "0xd0b": return "Cortex-A76"
    case "0xd0c": return "Neoverse N1"
    case "0xd40": return "Neoverse V1"
    case "0xd49": return "Neoverse N2"
    default: return nil
    }
  }

  private static func trimmed(_ text: Substring) -> Substring {
    func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }
    guard let first = text.firstIndex(where: { !isBlank($0) }), let last = text.lastIndex(where: { !isBlank($0) })
    else { return "" }
    return text[first...last]
  }
}
