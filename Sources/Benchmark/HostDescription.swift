import CLinux
import KVM
import Machine
import Platform

/// A description of the host, for readers of the results.
public struct HostDescription {
  /// Names and values, in the order of printing.
  public let facts: [(name: StaticString, value: String)]

  /// - Parameter countsInstructions: whether the clock counts instructions, as an emulated board's can.
  public init(architecture: Architecture, kernel: LinuxKernel, countsInstructions: Bool) {
    var facts: [(name: StaticString, value: String)] = []
    func text(_ path: String) -> String? {
      guard let file = try? FileContents(streaming: path, limit: 1 << 16, kernel: kernel) else { return nil }
      // Strings of the device tree end with a zero byte, others with a line feed.
      return String(decoding: file.bytes.prefix { $0 != 0 && $0 != 0x0a }, as: UTF8.self)
    }
    facts.append(("architecture", architecture.name.description))
    if let board = text("/proc/device-tree/model") { facts.append(("board", board)) }
    facts.append(("cpu", Self.cpu(kernel)))
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

  /// The value for a name.
  subscript(name: StaticString) -> String? {
    facts.first { $0.name.description == name.description }?.value
  }

  /// The features of KVM on which the cost of a call depends.
  private static func features(_ architecture: Architecture, _ kernel: LinuxKernel) -> String {
    guard architecture.facts.usesSMCCC else { return "calls by \(architecture.facts.programCall.name)" }
    do throws(KVMError) {
      let system = try System(kernel: kernel)
      let machine = try system.makeVirtualMachine()
      return "calls by \(try machine.forwardHypercalls(0...0) ? "hvc" : "mmio doorbell")"
        + ", addresses of \(addressBits(system.check(.addressBits))) bits"
    } catch { return error.description }
  }

  /// Bits of guest-physical addresses, from KVM_CAP_ARM_VM_IPA_SIZE: 0 means 40.
  static func addressBits(_ answer: Int) -> Int { answer > 0 ? answer : 40 }

  private static func cpu(_ kernel: LinuxKernel) -> String {
    guard let file = try? FileContents(streaming: "/proc/cpuinfo", limit: 1 << 16, kernel: kernel) else {
      return "unknown"
    }
    return cpu(cpuinfo: String(decoding: file.bytes, as: UTF8.self))
  }

  /// The CPU's name, from the text of /proc/cpuinfo.
  static func cpu(cpuinfo: String) -> String {
    var values: [(Substring, Substring)] = []
    for line in cpuinfo.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2 else { continue }
      values.append((trimmed(parts[0]), trimmed(parts[1])))
    }
    func value(_ name: String) -> String? { values.first { $0.0 == name }.map { String($0.1) } }
    if let name = value("model name") ?? value("uarch") { return name }
    guard let implementer = value("CPU implementer") else { return value("isa") ?? "unknown" }
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
