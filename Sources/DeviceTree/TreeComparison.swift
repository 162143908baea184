import Machine

/// Checks that a user's device tree describes this guest. It may omit parts, and may have nodes that do not describe hardware,
/// but it may not contradict the guest's hardware.
struct TreeComparison {
  let machine: MachineDescription
  /// The tree that was generated for the guest.
  let generated: TreeReader
  let given: TreeReader

  /// Properties that must be equal if both trees have them. Phandles may differ.
  private static let fixed = [
    "compatible", "reg", "interrupts", "#interrupt-cells", "ranges", "method", "timebase-frequency", "clock-frequency",
    "riscv,ndev", "riscv,num-sources", "riscv,num-ids", "swiftlet,abi-version", "swiftlet,calls", "enable-method",
    "mmu-type",
  ]

  /// - Throws: the first contradiction.
  func check() throws(ContradictionError) {
    for name in ["#address-cells", "#size-cells"] where given.number(name, of: 0) != 2 {
      throw ContradictionError(node: "/", what: .cells)
    }
    // Names of the ancestors and of the node, and whether addresses of its children are the guest's.
    var path: [String] = []
    var isMapped: [Bool] = []
    var reserved: [Range<UInt64>] = []
    var memory: [Range<UInt64>] = []
    try given.forEachNode { (node, depth) throws(ContradictionError) in
      path.removeLast(path.count - min(depth, path.count))
      isMapped.removeLast(isMapped.count - min(depth, isMapped.count))
      let counts = isMapped.last ?? true
      path.append(given.name(of: node))
      isMapped.append(depth == 0 || counts && given.property("ranges", of: node) != nil)
      guard depth > 0 else { return }
      let name = "/" + path.dropFirst().joined(separator: "/")
      switch path[1] {
      case "cpus": try checkCPU(node, name, depth)
      case "reserved-memory":
        if depth == 2 { reserved += given.ranges(of: node) ?? [] }
        // The children use the root's cells; otherwise Linux reserves none of them (drivers/of/of_reserved_mem.c).
        for cells in ["#address-cells", "#size-cells"] where depth == 1 && given.number(cells, of: node) != 2 {
          throw ContradictionError(node: name, what: .cells)
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
        throw ContradictionError(
          node: "\(part.name)@" + String(part.range.lowerBound, radix: 16), what: .unreserved)
      }
    }
  }

  private func checkMemory(_ node: Int32, _ name: String) throws(ContradictionError) -> [Range<UInt64>] {
    guard let ranges = given.ranges(of: node), ranges.allSatisfy({ $0.isCovered(by: machine.memory) }) else {
      throw ContradictionError(node: name, what: .memory)
    }
    return ranges
  }

  private func checkCPU(_ node: Int32, _ name: String, _ depth: Int) throws(ContradictionError) {
    try checkFixed(node, name, except: "compatible")
    guard depth == 2, given.isText("cpu", "device_type", of: node) else { return }
    guard let number = given.number("reg", of: node), hasCPU(number) else {
      throw ContradictionError(node: name, what: .cpu)
    }
    for isa in given.strings("riscv,isa", of: node) where !Self.contains(machine.cpus.isa, isa) {
      throw ContradictionError(node: name, what: .instructions)
    }
    // The same in another format, which Linux prefers (bindings/riscv/extensions.yaml).
    for base in given.strings("riscv,isa-base", of: node) where base != "rv64i" {
      throw ContradictionError(node: name, what: .instructions)
    }
    for part in given.strings("riscv,isa-extensions", of: node)
    // The base includes these, or they are implied by "i" (arch/riscv/kernel/cpufeature.c).
    where !["zicntr", "zicsr", "zifencei", "zihpm"].contains(part) {
      let isa = part.utf8.count == 1 ? "rv64" + part : "rv64_" + part
      guard Self.contains(machine.cpus.isa, isa) else {
        throw ContradictionError(node: name, what: .instructions)
      }
    }
  }

  private func hasCPU(_ number: UInt64) -> Bool {
    (0..<machine.cpus.count).contains { machine.architecture.cpuID($0) == number }
  }

  /// Whether an ISA string has all extensions of another.
  static func contains(_ whole: String, _ part: String) -> Bool {
    let (all, some) = (whole.split(separator: "_"), part.split(separator: "_"))
    guard let base = all.first, let letters = some.first else { return some.isEmpty }
    return letters.hasPrefix("rv64") && letters.utf8.dropFirst(4).allSatisfy(base.utf8.dropFirst(4).contains)
      && some.dropFirst().allSatisfy(all.dropFirst().contains)
  }

  private func checkChosen(_ node: Int32, _ name: String) throws(ContradictionError) {
    let initrd = machine.chosen.initrd
    for (property, value) in [("linux,initrd-start", initrd?.lowerBound), ("linux,initrd-end", initrd?.upperBound)]
    where given.property(property, of: node) != nil && (value == nil || given.number(property, of: node) != value) {
      throw ContradictionError(node: name, what: .initrd)
    }
  }

  private func checkDevice(_ node: Int32, _ name: String, isMapped: Bool) throws(ContradictionError) {
    guard generated.node(at: name) == nil else { return try checkFixed(node, name) }
    // Addresses below a node without `ranges` are not the guest's (Devicetree Specification, 2.3.8).
    guard !isMapped || given.property("reg", of: node) == nil else {
      throw ContradictionError(node: name, what: .device)
    }
  }

  private func checkFixed(_ node: Int32, _ name: String, except: String = "") throws(ContradictionError) {
    guard let own = generated.node(at: name) else { return }
    for property in Self.fixed where property != except {
      guard let value = given.property(property, of: node) else { continue }
      guard let should = generated.property(property, of: own), value.elementsEqual(should) else {
        throw ContradictionError(node: name, what: .property(property))
      }
    }
    let wires = "interrupts-extended"
    guard given.property(wires, of: node) != nil else { return }
    guard given.wires(wires, of: node) == generated.wires(wires, of: own) else {
      throw ContradictionError(node: name, what: .property(wires))
    }
  }
}

extension Range<UInt64> {
  /// Whether each address is in one of the ranges.
  func isCovered(by ranges: [Range<UInt64>]) -> Bool {
    var start = lowerBound
    while start < upperBound {
      guard let next = ranges.first(where: { $0.contains(start) }) else { return false }
      start = next.upperBound
    }
    return true
  }
}
