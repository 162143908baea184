import Machine

/// The nodes of CPUs, interrupt controllers and devices. Bindings: Documentation/devicetree/bindings of Linux.
extension MachineDescription {
  func writeCPUs(_ root: inout TreeWriter) {
    switch architecture {
    case .arm64, .aarch32: writeARM64CPUs(&root)
    case .riscv64: writeRISCV64CPUs(&root)
    }
  }

  private func writeARM64CPUs(_ root: inout TreeWriter) {
    root.node("cpus") { node in
      node.property("#address-cells", 1)
      node.property("#size-cells", 0)
      for number in 0..<cpus.count {
        let mpidr = architecture.cpuID(number)
        node.node("cpu", at: mpidr) {
          $0.property("device_type", "cpu")
          $0.property("compatible", "arm,armv8")
          $0.property("reg", UInt32(truncatingIfNeeded: mpidr))
          if kind != .applet { $0.property("enable-method", "psci") }
        }
      }
    }
    if kind == .applet { return }
    root.node("psci") {
      $0.property("compatible", "arm,psci-1.0\0arm,psci-0.2")
      $0.property("method", "hvc")
    }
    // A program may use the virtual timer without an interrupt controller by polling it; there is no interrupt.
    if kind == .program, interruptController == nil {
      root.node("timer") { $0.property("compatible", "arm,armv8-timer") }
    }
  }

  private func writeRISCV64CPUs(_ root: inout TreeWriter) {
    root.node("cpus") { node in
      node.property("#address-cells", 1)
      node.property("#size-cells", 0)
      node.property("timebase-frequency", cpus.timebase)
      for number in 0..<cpus.count { writeHart(number, &node) }
    }
  }

  private func writeHart(_ number: Int, _ node: inout TreeWriter) {
    node.node("cpu", at: UInt64(number)) { cpu in
      cpu.property("device_type", "cpu")
      cpu.property("compatible", "riscv")
      cpu.property("reg", UInt32(truncatingIfNeeded: number))
      cpu.property("riscv,isa", text: cpus.isa)
      // An applet has neither privileged registers nor interrupts, and each node and property adds to its start time.
      if kind == .applet { return }
      cpu.property("mmu-type", "riscv,sv39")
      if cpus.cacheBlock != 0 { cpu.property("riscv,cbom-block-size", cpus.cacheBlock) }
      if cpus.zeroBlock != 0 { cpu.property("riscv,cboz-block-size", cpus.zeroBlock) }
      cpu.node("interrupt-controller") {
        $0.property("compatible", "riscv,cpu-intc")
        $0.property("#address-cells", 0)
        $0.property("#interrupt-cells", 1)
        $0.property("interrupt-controller")
        $0.property("phandle", Phandle.firstHart + UInt32(truncatingIfNeeded: number))
      }
    }
  }

  func writeInterruptController(_ root: inout TreeWriter) {
    guard let interruptController else { return }
    switch interruptController {
    case .gicV2(let distributor, let cpuInterface):
      writeGIC(&root, "arm,cortex-a15-gic", distributor..<distributor + 0x1000, cpuInterface..<cpuInterface + 0x2000)
      // Bits 15 to 8 are the mask of CPUs that get a private interrupt (interrupt-controller/arm,gic.yaml).
      writeTimer(&root, mask: (1 << UInt32(min(cpus.count, 8)) - 1) << 8)
    case .gicV3(let distributor, let redistributors):
      let end = redistributors + UInt64(cpus.count) * 0x2_0000
      writeGIC(&root, "arm,gic-v3", distributor..<distributor + 0x1_0000, redistributors..<end)
      writeTimer(&root, mask: 0)
    case .plic(let base, let sources):
      root.node("interrupt-controller", at: base) {
        $0.property("compatible", "sifive,plic-1.0.0")
        $0.reg(base..<base + 0x400_0000)
        $0.property("#address-cells", 0)
        $0.property("#interrupt-cells", 1)
        $0.property("interrupt-controller")
        $0.property("interrupts-extended", cells: externalInterrupts)
        $0.property("riscv,ndev", sources)
        $0.property("phandle", Phandle.interruptController)
      }
    case .aia(let aplic, let aplicSize, let sources, let imsics, let identities):
      root.node("interrupt-controller", at: imsics) {
        $0.property("compatible", "riscv,imsics")
        $0.reg(imsics..<imsics + UInt64(cpus.count) * 0x1000)
        $0.property("#address-cells", 0)
        $0.property("#interrupt-cells", 0)
        $0.property("interrupt-controller")
        $0.property("msi-controller")
        $0.property("#msi-cells", 0)
        $0.property("interrupts-extended", cells: externalInterrupts)
        $0.property("riscv,num-ids", identities)
        $0.property("phandle", Phandle.imsics)
      }
      root.node("interrupt-controller", at: aplic) {
        $0.property("compatible", "riscv,aplic")
        $0.reg(aplic..<aplic + aplicSize)
        $0.property("#address-cells", 0)
        $0.property("#interrupt-cells", 2)
        $0.property("interrupt-controller")
        $0.property("msi-parent", Phandle.imsics)
        $0.property("riscv,num-sources", sources)
        $0.property("phandle", Phandle.interruptController)
      }
    }
  }

  /// riscv64: interrupt 9, supervisor external, of each CPU.
  private var externalInterrupts: [UInt32] {
    var cells: [UInt32] = []
    cells.reserveCapacity(cpus.count * 2)
    for number in 0..<cpus.count {
      cells.append(Phandle.firstHart + UInt32(truncatingIfNeeded: number))
      cells.append(9)
    }
    return cells
  }

  private func writeGIC(
    _ root: inout TreeWriter, _ compatible: StaticString, _ first: Range<UInt64>, _ second: Range<UInt64>
  ) {
    root.node("interrupt-controller", at: first.lowerBound) {
      $0.property("compatible", compatible)
      $0.reg([first, second])
      $0.property("#address-cells", 0)
      $0.property("#interrupt-cells", 3)
      $0.property("interrupt-controller")
      $0.property("phandle", Phandle.interruptController)
    }
  }

  /// arm64: the architectural timer, with the private interrupts that KVM raises for it: secure, non-secure, virtual,
  /// hypervisor; level-triggered, active low, as in the GIC's binding.
  private func writeTimer(_ root: inout TreeWriter, mask: UInt32) {
    let flags = mask | 8
    root.node("timer") {
      $0.property("compatible", "arm,armv8-timer")
      $0.property("interrupts", cells: [1, 13, flags, 1, 14, flags, 1, 11, flags, 1, 10, flags])
      $0.property("always-on")
    }
  }

  func writeDevices(_ root: inout TreeWriter) {
    if let serial {
      root.node("serial", at: serial.window.range.lowerBound) {
        $0.property("compatible", "ns16550a")
        $0.reg(serial.window.range)
        $0.property("clock-frequency", serial.clock)
        writeInterrupt(serial.window.interrupt, &$0)
      }
    }
    for window in virtio {
      root.node("virtio", at: window.range.lowerBound) {
        $0.property("compatible", "virtio,mmio")
        $0.reg(window.range)
        $0.property("dma-coherent")
        writeInterrupt(window.interrupt, &$0)
      }
    }
  }

  private func writeInterrupt(_ interrupt: Interrupt?, _ device: inout TreeWriter) {
    guard let interrupt, let interruptController else { return }
    if !interruptController.isInherited { device.property("interrupt-parent", Phandle.interruptController) }
    // IRQ_TYPE_EDGE_RISING or IRQ_TYPE_LEVEL_HIGH.
    let type: UInt32 = interrupt.isEdge ? 1 : 4
    switch interruptController {
    case .gicV2, .gicV3: device.property("interrupts", 0, interrupt.number, type)
    case .plic: device.property("interrupts", interrupt.number)
    case .aia: device.property("interrupts", interrupt.number, type)
    }
  }
}

extension MachineDescription.InterruptController {
  /// Whether the root has it as the interrupt parent of all nodes. Where harts have their own controllers, these would inherit
  /// it, although they are its parents; Linux before 6.19 then finds no root controller (drivers/of/irq.c, `of_irq_init`).
  var isInherited: Bool {
    switch self {
    case .gicV2, .gicV3: true
    case .plic, .aia: false
    }
  }
}
