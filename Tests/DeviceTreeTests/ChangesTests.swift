import DeviceTree
import Foundation
import Machine
import Testing

/// Overlays, and trees that replace the generated one: valid ones are accepted, damaged or contradictory ones are not.
struct ChangesTests {
  private static let machine = Machines.linux(.arm64, Machines.gicV3, cpus: 2)

  private static func overlay(_ text: String) throws -> [UInt8] {
    try DTC.compile("/dts-v1/; /plugin/; " + text, warnings: false)
  }

  private static func applied(_ overlays: [UInt8]..., to machine: MachineDescription = machine) throws(DeviceTreeError)
    -> Data
  {
    var changes = TreeChanges()
    changes.overlays = overlays
    return try machine.tree(changes)
  }

  private static func replaced(
    by tree: some Collection<UInt8>, of machine: MachineDescription = machine
  ) throws(DeviceTreeError) -> Data {
    var changes = TreeChanges()
    changes.replacement = Array(tree)
    return try machine.tree(changes)
  }

  /// The error for a tree that differs from the generated one in this text.
  private static func problem(
    _ old: String, _ new: String, _ machine: MachineDescription = machine
  ) throws -> DeviceTreeError.Problem? {
    let source = try DTC.source(of: machine.tree())
    try #require(source.contains(old), "\(old)")
    return try problem(source.replacingOccurrences(of: old, with: new), machine)
  }

  /// The error for a tree with an addition.
  private static func problem(more: String, _ machine: MachineDescription = machine) throws -> DeviceTreeError.Problem?
  {
    try problem(DTC.source(of: machine.tree()) + more, machine)
  }

  private static func problem(_ source: String, _ machine: MachineDescription) throws -> DeviceTreeError.Problem? {
    let changed = try DTC.compile(source, warnings: false)
    do throws(DeviceTreeError) { _ = try replaced(by: changed, of: machine) } catch {
      guard case .file(.replacement, let problem) = error else { throw error }
      #expect(!error.description.contains("\n"))
      return problem
    }
    return nil
  }

  @Test func aTreeOfAnEarlierRunGetsThisRunsClocks() throws {
    var machine = Machines.applet(.arm64)
    let earlier = try machine.tree()
    machine.hypervisor?.clockOffset = 0x1122_3344_5566_7788
    #expect(try DTC.source(of: Self.replaced(by: earlier, of: machine)) == DTC.source(of: machine.tree()))
    // One without clocks gets none.
    let source = try DTC.source(of: earlier).replacingOccurrences(of: "swiftlet,clock-offset", with: "other")
    let other = try DTC.compile(source, warnings: false)
    #expect(try DTC.source(of: Self.replaced(by: other, of: machine)) == DTC.source(of: Data(other)))
  }

  @Test func overlaysAreAppliedInOrder() throws {
    let tree = try Self.applied(
      Self.overlay("&{/chosen} { bootargs = \"quiet\"; };"),
      Self.overlay("&{/} { settings: settings { depth = <3>; other = <&settings>; }; };"),
      Self.overlay("&{/settings} { depth = <4>; };"))
    let text = try DTC.source(of: tree, warnings: false)
    #expect(text.contains("bootargs = \"quiet\""))
    #expect(text.contains("depth = <0x04>"))
    #expect(!text.contains("console=ttyS0"))
  }

  @Test(arguments: try FileManager.default.contentsOfDirectory(atPath: sources.appending(path: "overlays").path))
  func eachExampleAppliesToItsMachine(name: String) throws {
    let source = try String(contentsOf: sources.appending(path: "overlays/\(name)"), encoding: .utf8)
    let overlay = try DTC.compile(source)
    let isForLinux = name.hasPrefix("linux-")
    for (machineName, machine) in Machines.all where machineName.hasPrefix("linux-") == isForLinux {
      let text = try DTC.source(of: try Self.applied(overlay, to: machine))
      #expect(try text != DTC.source(of: machine.tree()), "\(machineName)")
    }
  }

  @Test(arguments: Machines.all.indices) func anEquivalentTreeIsAccepted(index: Int) throws {
    let machine = Machines.all[index].machine
    let tree = try machine.tree()
    #expect(try DTC.source(of: Self.replaced(by: tree, of: machine)) == DTC.source(of: tree))
  }

  @Test func aTreeMayOmitPartsAndDescribeOtherThings() throws {
    for (old, new) in [
      ("0x80000000 0x00 0x10000000", "0x80000000 0x00 0x8000000"),  // half of the memory
      ("console=ttyS0", "console=hvc0"), ("\tpsci {", "\tsettings {\n x = <1>;\n};\n\tpsci {"),
      ("\tpsci {", "\tlist {\n #address-cells = <1>;\n#size-cells = <0>;\n entry@5 {\n reg = <5>;\n};\n};\n\tpsci {"),
      ("model = \"Swiftlet Linux guest\"", "model = \"mine\""), ("kaslr-seed", "//"),
      ("compatible = \"arm,armv8\"", "compatible = \"arm,cortex-a72\""),
      ("dma-coherent;", "dma-coherent;\nstatus = \"disabled\";"),
    ] { #expect(try Self.problem(old, new) == nil, "\(new)") }
  }

  /// Phandles may differ, and extensions may be listed in the newer format.
  @Test func aTreeMayUseEquivalentProperties() throws {
    let riscv = Machines.linux(.riscv64, Machines.plic, cpus: 2)
    let tree = try DTC.source(of: riscv.tree())
    let numbered = tree.replacingOccurrences(of: "phandle = <0x100>", with: "phandle = <0x55>")
      .replacingOccurrences(of: "<0x100 0x09", with: "<0x55 0x09")
    #expect(numbered.contains("<0x55 0x09 0x101 0x09>"))
    #expect(try Self.problem(numbered, riscv) == nil)
    let extensions = "riscv,isa-base = \"rv64i\";\nriscv,isa-extensions = \"i\", \"m\", \"zicsr\", \"sstc\";\n"
    #expect(try Self.problem("riscv,isa = ", extensions + "riscv,isa = ", riscv) == nil)
  }

  @Test func aTreeMayNotContradictTheMachine() throws {
    let riscv = Machines.linux(.riscv64, Machines.plic, cpus: 2)
    let program = Machines.program(.riscv64)
    for (machine, old, new, node, what) in [
      (Self.machine, "0x80000000 0x00 0x10000000", "0x80000000 0x00 0x10001000", "/memory@80000000", .memory),
      (Self.machine, "0x80000000 0x00 0x10000000", "0x7f000000 0x00 0x1000000", "/memory@80000000", .memory),
      (Self.machine, "0x80000000 0x00 0x10000000", "0x80000000 0xffffffff 0xffffffff", "/memory@80000000", .memory),
      (Self.machine, "0x80000000 0x00 0x10000000", "0x80000000 0x10000000", "/memory@80000000", .memory),
      (Self.machine, "0x2000000 0x00 0x200", "0x2000000 0x00 0x400", "/virtio@2000000", .property("reg")),
      (Self.machine, "<0x00 0x02 0x01>", "<0x00 0x05 0x01>", "/virtio@2000000", .property("interrupts")),
      (Self.machine, "virtio@2000000", "virtio@3000000", "/virtio@3000000", .device),
      (
        Self.machine, "compatible = \"ns16550a\"", "compatible = \"arm,pl011\"", "/serial@1000000",
        .property("compatible")
      ),
      (Self.machine, "method = \"hvc\"", "method = \"smc\"", "/psci", .property("method")),
      (Self.machine, "arm,gic-v3", "arm,cortex-a15-gic", "/interrupt-controller@8000000", .property("compatible")),
      (Self.machine, "reg = <0x01>", "reg = <0x02>", "/cpus/cpu@1", .property("reg")),
      (Self.machine, "initrd-end = <0x00 0x82001234>", "initrd-end = <0x00 0x82001235>", "/chosen", .initrd),
      (
        Self.machine, "#address-cells = <0x02>;\n\t#size-cells = <0x02>", "#address-cells = <1>;\n\t#size-cells = <2>",
        "/", .cells
      ),
      (riscv, "timebase-frequency = <0x989680>", "timebase-frequency = <1>", "/cpus", .property("timebase-frequency")),
      (riscv, "rv64imafdc_", "rv64imafdcv_", "/cpus/cpu@0", .instructions),
      (riscv, "_sstc", "_sstc_zbb", "/cpus/cpu@0", .instructions),
      (riscv, "riscv,ndev = <0x1f>", "riscv,ndev = <0x3f>", "/interrupt-controller@c000000", .property("riscv,ndev")),
      (program, "method = \"sbi\"", "method = \"ecall\"", "/hypervisor", .property("method")),
      (program, "riscv,sv39", "riscv,sv57", "/cpus/cpu@0", .property("mmu-type")),
      (
        Self.machine, "enable-method = \"psci\"", "enable-method = \"spin-table\"", "/cpus/cpu@0",
        .property("enable-method")
      ),
      (
        riscv, "riscv,isa = ", "riscv,isa-base = \"rv32i\";\nriscv,isa = ", "/cpus/cpu@0", .instructions
      ),
      (
        riscv, "riscv,isa = ", "riscv,isa-extensions = \"i\", \"v\";\nriscv,isa = ", "/cpus/cpu@0", .instructions
      ),
      (
        riscv, "riscv,isa = ", "riscv,isa-extensions = \"i\", \"zbb\";\nriscv,isa = ", "/cpus/cpu@0", .instructions
      ),
      (
        riscv, "interrupts-extended = <0x100 0x09 0x101 0x09>", "interrupts-extended = <0x101 0x09 0x100 0x09>",
        "/interrupt-controller@c000000", .property("interrupts-extended")
      ),
      (
        riscv, "interrupts-extended = <0x100 0x09 0x101 0x09>", "interrupts-extended = <0x100 0x0b 0x101 0x0b>",
        "/interrupt-controller@c000000", .property("interrupts-extended")
      ),
      (
        riscv, "interrupts-extended = <0x100 0x09 0x101 0x09>", "interrupts-extended = <0x77 0x09>",
        "/interrupt-controller@c000000", .property("interrupts-extended")
      ),
      (
        program, "reserved-memory {\n\t\t#address-cells = <0x02>", "reserved-memory {\n\t\t#address-cells = <0x01>",
        "/reserved-memory", .cells
      ),
    ] as [(MachineDescription, String, String, String, DeviceTreeError.Contradiction)] {
      #expect(try Self.problem(old, new, machine) == .contradicts(node, what), "\(new)")
    }
    for (machine, more, node, what) in [
      (
        Self.machine, "&{/cpus} { cpu@2 { device_type = \"cpu\"; compatible = \"arm,armv8\"; reg = <2>; }; };",
        "/cpus/cpu@2", .cpu
      ),
      (
        program, "&{/reserved-memory} { /delete-node/ device-tree@80002000; };", "device-tree@80002000", .unreserved
      ),
      (
        Self.machine, "&{/} { bus { ranges; uart@3000000 { reg = <0 0x3000000 0 8>; }; }; };", "/bus/uart@3000000",
        .device
      ),
      (Self.machine, "&{/} { more { device_type = \"memory\"; reg = <1 0 0 1>; }; };", "/more", .memory),
      (Self.machine, "&{/} { more { device_type = \"memory\"; }; };", "/more", .memory),
      (Machines.applet(.arm64), "&{/chosen} { linux,initrd-start = <1>; };", "/chosen", .initrd),
    ] as [(MachineDescription, String, String, DeviceTreeError.Contradiction)] {
      #expect(try Self.problem(more: more, machine) == .contradicts(node, what), "\(more)")
    }
  }

  @Test func aTreeOfAnotherMachineIsRejected() throws {
    for (name, machine) in Machines.all {
      for (otherName, other) in Machines.all
      where name != otherName && !name.hasPrefix(otherName) && !otherName.hasPrefix(name) {
        let tree = try other.tree()
        #expect(throws: DeviceTreeError.self, "\(otherName) for \(name)") { try Self.replaced(by: tree, of: machine) }
      }
    }
  }

  @Test func anOverlayForAnotherTreeIsRejected() throws {
    for text in [
      "&{/soc/uart} { status = \"okay\"; };", "&uart0 { status = \"okay\"; };",
      "&{/} { x { y = <&uart0>; }; };",
    ] {
      let overlay = try Self.overlay(text)
      #expect {
        try Self.applied(overlay)
      } throws: { error in
        guard case .file(.overlay(0), .doesNotApply(let code))? = error as? DeviceTreeError else { return false }
        return code < 0 && (error as? DeviceTreeError)?.description.contains("does not apply") == true
      }
    }
    let more = try Self.overlay("&{/memory@80000000} { reg = <0 0x80000000 0 0x20000000>; };")
    let good = try Self.overlay("&{/chosen} { bootargs = \"quiet\"; };")
    #expect(throws: DeviceTreeError.file(.overlay(1), .contradicts("/memory@80000000", .memory))) {
      try Self.applied(good, more)
    }
    // A tree is not an overlay: it has no fragments, and changes nothing.
    let tree = Array(try Self.machine.tree())
    #expect(throws: Never.self) { try Self.applied(tree) }
  }

  // MARK: Damaged and hostile files

  @Test func invalidTreesAreRejected() throws {
    let overlay = try Self.overlay("&{/chosen} { bootargs = \"quiet\"; };")
    for count in 0..<overlay.count {
      #expect(throws: DeviceTreeError.self, "\(count) bytes") { try Self.applied(Array(overlay.prefix(count))) }
    }
    let error = #expect(throws: DeviceTreeError.self) { try Self.applied(Array("#!/bin/sh\necho no tree".utf8)) }
    #expect(error?.description == "not a flattened device tree: compile it with dtc")
    #expect(throws: DeviceTreeError.file(.overlay(0), .tooLarge)) {
      try Self.applied([UInt8](repeating: 0, count: TreeChanges.maxBytes + 1))
    }
    #expect(throws: DeviceTreeError.file(.replacement, .tooLarge)) {
      try Self.replaced(by: [UInt8](repeating: 0, count: TreeChanges.maxBytes + 1))
    }
  }

  @Test func nodesThatAreTooDeepAreRejected() throws {
    func nested(_ depth: Int) throws -> [UInt8] {
      try Self.overlay(
        "&{/} { " + String(repeating: "a { ", count: depth) + String(repeating: "}; ", count: depth) + "};")
    }
    // Root, fragment and __overlay__ are levels, too.
    #expect(throws: Never.self) { try Self.applied(nested(TreeChanges.maxDepth - 3)) }
    #expect(throws: DeviceTreeError.file(.overlay(0), .tooDeep)) { try Self.applied(nested(TreeChanges.maxDepth + 3)) }
  }

  @Test func changesThatDoNotFitAreRejected() throws {
    let overlay = try Self.overlay("&{/} { big { x = \"\(String(repeating: "x", count: 20000))\"; }; };")
    var changes = TreeChanges()
    changes.overlays = [overlay]
    #expect(throws: DeviceTreeError.file(.overlay(0), .noSpace(bytes: 16384))) {
      try Self.machine.tree(changes, limit: 16384)
    }
    changes.overlays = []
    changes.replacement = Array(try Self.applied(overlay))
    #expect(throws: DeviceTreeError.file(.replacement, .noSpace(bytes: 16384))) {
      try Self.machine.tree(changes, limit: 16384)
    }
    // The space that is reserved for an overlay is sufficient.
    changes = TreeChanges()
    changes.overlays = [overlay]
    #expect(throws: Never.self) {
      try Machines.applet(.riscv64).tree(changes, limit: Int(MachineDescription.maxTreeSize(64, changes)))
    }
  }

  /// References that libfdt would follow to addresses outside the overlay, or into the lists of references.
  @Test(arguments: [
    "__local_fixups__ { fragment { __overlay__ { x = <0x40000000>; }; }; };",
    "__local_fixups__ { fragment { __overlay__ { x = <5>; }; }; };",
    "__local_fixups__ { fragment { __overlay__ { x = <(-4)>; }; }; };",
    "__local_fixups__ { fragment { __overlay__ { y = <0>; }; }; };",
    "__local_fixups__ { fragment { missing { }; }; };",
    "__local_fixups__ { fragment { __overlay__ { x = [00 00]; }; }; };",
    "__local_fixups__ { x = <0>; __local_fixups__ { x = <0>; }; };",
    "__local_fixups__ { phandle = <1>; };",
    "__fixups__ { label = \"/fragment/__overlay__:x:4294967292\"; };",
    "__fixups__ { label = \"/fragment/__overlay__:x:5\"; };", "__fixups__ { label = \"/fragment/__overlay__:x:-1\"; };",
    "__fixups__ { label = \"/fragment/__overlay__:x\"; };", "__fixups__ { label = \"/fragment/__overlay__:x:\"; };",
    "__fixups__ { label = \"/nowhere:x:0\"; };", "__fixups__ { label = \"//__fixups__:label:0\"; };",
    "__fixups__ { label = \"fragment:x:0\"; };", "__fixups__ { label; };", "__fixups__ { label = [41]; };",
    "__fixups__ { phandle = <1>; };",
  ])
  func referencesThatLeadElsewhereAreRefused(nodes: String) throws {
    let overlay = try DTC.compile(
      "/dts-v1/; / { fragment { target-path = \"/\"; __overlay__ { x = <1 2>; }; }; " + nodes + " };", warnings: false)
    let error = #expect(throws: DeviceTreeError.self) { try Self.applied(overlay) }
    #expect(error?.description.contains("a damaged device tree") == true)
  }

  /// With any changed bytes of an overlay or a tree, the result is a tree or an error.
  @Test(arguments: 0..<4) func damagedFilesNeverTrap(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func random(_ below: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % below
    }
    let overlay = try Self.overlay(
      """
      &{/chosen} { bootargs = "quiet"; };
      &{/} { settings: settings { depth = <3>; other = <&settings>; inner { a = "b"; }; }; };
      &missing { x; };
      """)
    let good = try Self.overlay("&{/} { settings: settings { other = <&settings>; }; };")
    let tree = try Self.machine.tree()
    for round in 0..<(Int(ProcessInfo.processInfo.environment["ROUNDS"] ?? "") ?? 1500) {
      var file = round % 3 == 0 ? Array(tree) : round % 3 == 1 ? overlay : good
      for _ in 0...random(3) {
        let place = random(file.count)
        file[place] = [UInt8(random(256)), file[place] ^ 1 << UInt8(random(8)), 0, 0xff][random(4)]
      }
      do throws(DeviceTreeError) {
        let result = try round % 3 == 0 ? Self.replaced(by: file) : Self.applied(file)
        #expect(result.count <= 32768 && result.prefix(4) == Data([0xd0, 0x0d, 0xfe, 0xed]))
      } catch { #expect(!error.description.contains("\n")) }
    }
  }
}
