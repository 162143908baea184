import Machine

/// Whether a tree of the user's describes the machine that there is: it may say less, and things that are no part of the
/// machine, but nothing that is not so.
struct TreeComparison {
  let machine: MachineDescription
  /// The tree that is generated for the machine.
  let generated: TreeReader
  let given: TreeReader

  struct Mismatch: Error {
    /// Path of the node.
    let node: String
    let what: DeviceTreeError.Contradiction
  }

  /// What a node that both trees have must say alike where it says it. Numbers of nodes (phandles) are a tree's own.
  private static let fixed = [
    "compatible", "reg", "interrupts", "#interrupt-cells", "ranges", "method", "timebase-frequency", "clock-frequency",
    "riscv,ndev", "riscv,num-sources", "riscv,num-ids", "swiftlet,abi-version", "swiftlet,calls", "enable-method",
    "mmu-type",
  ]

  /// - Throws: the first thing that is not so.
  func check() throws(Mismatch) {
    for name in ["#address-cells", "#size-cells"] where given.number(name, of: 0) != 2 {
      throw Mismatch(node: "/", what: .cells)
    }
    // Names of the node's ancestors and its own, and whether the addresses of its children are the machine's.
    var path: [String] = []
    var isMapped: [Bool] = []
    var reserved: [Range<UInt64>] = []
    var memory: [Range<UInt64>] = []
    try given.forEachNode { (node, depth) throws(Mismatch) in
      path.removeLast(path.count - min(depth, path.count))
      isMapped.removeLast(isMapped.count - min(depth, isMapped.count))
      let counts = isMapped.last ?? true
      path.append(given.name(of: node))
      isMapped.append(depth == 0 || counts && given.property("ranges", of: node) != nil)
      guard depth > 0 else { return }
      let name = "/" + path.dropFirst().joined(separator: "/")
      switch path[1] {
      case "cpus": try checkProcessor(node, name, depth)
      case "reserved-memory":
        if depth == 2 { reserved += given.ranges(of: node) ?? [] }
        // What is below it has the root's cells, or Linux reserves none of it (drivers/of/of_reserved_mem.c).
        for cells in ["#address-cells", "#size-cells"] where depth == 1 && given.number(cells, of: node) != 2 {
          throw Mismatch(node: name, what: .cells)
        }
      case "chosen": try checkChosen(node, name)
      default:
        if given.isText("memory", "device_type", of: node) {
          memory += try checkMemory(node, name)
        } else {
          try checkDevice(node, name, isMapped: counts)
        }
      }
    }
    for part in machine.reserved where memory.contains(where: { $0.overlaps(part.range) }) {
      guard part.range.isCovered(by: reserved) else {
        throw Mismatch(
          node: "\(part.name)@" + String(part.range.lowerBound, radix: 16), what: .unreserved)
      }
    }
  }

  private func checkMemory(_ node: Int32, _ name: String) throws(Mismatch) -> [Range<UInt64>] {
    guard let ranges = given.ranges(of: node), ranges.allSatisfy({ $0.isCovered(by: machine.memory) }) else {
      throw Mismatch(node: name, what: .memory)
    }
    return ranges
  }

  private func checkProcessor(_ node: Int32, _ name: String, _ depth: Int) throws(Mismatch) {
    try checkFixed(node, name, except: "compatible")
    guard depth == 2, given.isText("cpu", "device_type", of: node) else { return }
    guard let number = given.number("reg", of: node), hasProcessor(number) else {
      throw Mismatch(node: name, what: .processor)
    }
    guard machine.architecture == .riscv64 else { return }
    for isa in given.strings("riscv,isa", of: node) where !Self.contains(machine.processors.isa, isa) {
      throw Mismatch(node: name, what: .instructions)
    }
    // The same in another manner, which Linux prefers (bindings/riscv/extensions.yaml).
    for base in given.strings("riscv,isa-base", of: node) where base != "rv64i" {
      throw Mismatch(node: name, what: .instructions)
    }
    for part in given.strings("riscv,isa-extensions", of: node)
    // These came with the base, or are no names of a machine's that says "i" (arch/riscv/kernel/cpufeature.c).
    where !["zicntr", "zicsr", "zifencei", "zihpm"].contains(part) {
      let isa = part.utf8.count == 1 ? "rv64" + part : "rv64_" + part
      guard Self.contains(machine.processors.isa, isa) else { throw Mismatch(node: name, what: .instructions) }
    }
  }

  private func hasProcessor(_ number: UInt64) -> Bool {
    (0..<machine.processors.count).contains { processor in
      switch machine.architecture {
      case .arm64: UInt64(MachineDescription.Processors.mpidr(processor)) == number
      case .riscv64: UInt64(processor) == number
      }
    }
  }

  /// Whether an ISA string names nothing that another does not.
  static func contains(_ whole: String, _ part: String) -> Bool {
    let (all, some) = (whole.split(separator: "_"), part.split(separator: "_"))
    guard let base = all.first, let letters = some.first else { return some.isEmpty }
    return letters.hasPrefix("rv64") && letters.utf8.dropFirst(4).allSatisfy(base.utf8.dropFirst(4).contains)
      && some.dropFirst().allSatisfy(all.dropFirst().contains)
  }

  private func checkChosen(_ node: Int32, _ name: String) throws(Mismatch) {
    let initrd = machine.chosen.initrd
    for (property, value) in [("linux,initrd-start", initrd?.lowerBound), ("linux,initrd-end", initrd?.upperBound)]
    where given.property(property, of: node) != nil && (value == nil || given.number(property, of: node) != value) {
      throw Mismatch(node: name, what: .initrd)
    }
  }

  private func checkDevice(_ node: Int32, _ name: String, isMapped: Bool) throws(Mismatch) {
    guard generated.node(at: name) == nil else { return try checkFixed(node, name) }
    // Addresses below a node without `ranges` are not the machine's (Devicetree Specification, 2.3.8).
    guard !isMapped || given.property("reg", of: node) == nil else { throw Mismatch(node: name, what: .device) }
  }

  private func checkFixed(_ node: Int32, _ name: String, except: String = "") throws(Mismatch) {
    guard let own = generated.node(at: name) else { return }
    for property in Self.fixed where property != except {
      guard let value = given.property(property, of: node) else { continue }
      guard let should = generated.property(property, of: own), value.elementsEqual(should) else {
        throw Mismatch(node: name, what: .property(property))
      }
    }
    let wires = "interrupts-extended"
    guard given.property(wires, of: node) != nil else { return }
    guard given.wires(wires, of: node) == generated.wires(wires, of: own) else {
      throw Mismatch(node: name, what: .property(wires))
    }
  }
}

extension Range<UInt64> {
  /// Whether each of its addresses lies in one of the ranges.
  func isCovered(by ranges: [Range<UInt64>]) -> Bool {
    var start = lowerBound
    while start < upperBound {
      guard let next = ranges.first(where: { $0.contains(start) }) else { return false }
      start = next.upperBound
    }
    return true
  }
}
