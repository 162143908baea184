import AppletABI
import Machine

extension MachineDescription {
  /// Writes the generated tree in flattened form.
  /// - Parameter buffer: memory for the tree, aligned to 8 bytes.
  /// - Returns: the tree's size in bytes.
  /// - Throws: `DeviceTreeError.noSpace` if the buffer is too small.
  package func writeTree(to buffer: UnsafeMutableRawBufferPointer) throws(DeviceTreeError) -> Int {
    var tree = TreeWriter(buffer)
    tree.node("") { root in
      root.property("#address-cells", 2)
      root.property("#size-cells", 2)
      root.property("compatible", kind.compatible)
      root.property("model", kind.model)
      if let interruptController, interruptController.isInherited {
        root.property("interrupt-parent", Phandle.interruptController)
      }
      writeChosen(&root)
      if let first = memory.first {
        root.node("memory", at: first.lowerBound) {
          $0.property("device_type", "memory")
          $0.reg(memory)
        }
      }
      writeReserved(&root)
      writeCPUs(&root)
      writeInterruptController(&root)
      writeDevices(&root)
      writeHypervisor(&root)
    }
    return try tree.finish()
  }

  private func writeChosen(_ root: inout TreeWriter) {
    root.node("chosen") { node in
      if !chosen.bootArguments.isEmpty {
        (chosen.bootArguments + [0]).withUnsafeBytes { node.property("bootargs", bytes: $0) }
      }
      if let serial {
        node.property("stdout-path", text: "/serial@" + String(serial.window.range.lowerBound, radix: 16))
      }
      if let initrd = chosen.initrd {
        node.property("linux,initrd-start", wide: initrd.lowerBound)
        node.property("linux,initrd-end", wide: initrd.upperBound)
      }
      chosen.rngSeed.withUnsafeBytes { if !$0.isEmpty { node.property("rng-seed", bytes: $0) } }
      if let seed = chosen.kaslrSeed { node.property("kaslr-seed", wide: seed) }
    }
  }

  private func writeReserved(_ root: inout TreeWriter) {
    guard !reserved.isEmpty else { return }
    root.node("reserved-memory") { node in
      node.property("#address-cells", 2)
      node.property("#size-cells", 2)
      node.property("ranges")
      for part in reserved {
        node.node(part.name, at: part.range.lowerBound) {
          $0.reg(part.range)
          if part.isUnmapped { $0.property("no-map") }
        }
      }
    }
  }

  private func writeHypervisor(_ root: inout TreeWriter) {
    guard let hypervisor else { return }
    root.node("hypervisor") { node in
      node.property("compatible", "swiftlet,monitor-1")
      node.property("swiftlet,abi-version", UInt32(APPLET_ABI_MAJOR), UInt32(APPLET_ABI_MINOR))
      if let method = hypervisor.method {
        node.property("method", method.name)
        node.property("swiftlet,calls", 0, UInt32(APPLET_CALL_LAST))
        if let offset = hypervisor.clockOffset {
          node.property("swiftlet,clock-offset", wide: UInt64(bitPattern: offset))
        }
      }
      chosen.arguments.withUnsafeBytes { if !$0.isEmpty { node.property("swiftlet,arguments", bytes: $0) } }
    }
  }
}

extension MachineDescription.Kind {
  var compatible: StaticString {
    switch self {
    case .applet: "swiftlet,applet"
    case .program: "swiftlet,program"
    case .linux: "swiftlet,linux"
    }
  }

  var model: StaticString {
    switch self {
    case .applet: "Swiftlet applet"
    case .program: "Swiftlet bare-metal program"
    case .linux: "Swiftlet Linux guest"
    }
  }
}

/// Phandles.
enum Phandle {
  /// The interrupt parent of devices: GIC, PLIC, APLIC.
  static let interruptController: UInt32 = 1
  static let imsics: UInt32 = 2
  /// riscv64: the local interrupt controller of hart n is this plus n.
  static let firstHart: UInt32 = 0x100
}
