import DeviceTree
import Foundation
import Machine
import Testing

/// Machines of every kind, with every interrupt controller.
enum Machines {
  static func linux(_ architecture: Architecture, _ controller: MachineDescription.InterruptController, cpus: Int)
    -> MachineDescription
  {
    var machine = MachineDescription(
      architecture: architecture, kind: .linux, memory: [0x8000_0000..<0x9000_0000],
      processors: MachineDescription.Processors(count: cpus))
    machine.interruptController = controller
    machine.serial = MachineDescription.SerialPort(
      window: MachineDescription.DeviceWindow(
        range: 0x100_0000..<0x100_1000, interrupt: MachineDescription.Interrupt(number: 1, isEdge: false)))
    for number in 0..<3 as Range<UInt64> {
      let start = 0x200_0000 + number * 0x1000
      machine.virtio.append(
        MachineDescription.DeviceWindow(
          range: start..<start + 0x200,
          interrupt: MachineDescription.Interrupt(number: 8 + UInt32(number), isEdge: true)))
    }
    machine.chosen.bootArguments = "console=ttyS0"
    machine.chosen.initrd = 0x8800_0000..<0x8800_1234
    machine.chosen.rngSeed = [1, 2, 3, 4]
    machine.chosen.kaslrSeed = 5
    machine.hypervisor = MachineDescription.Hypervisor(method: architecture == .arm64 ? .hvc : .sbi)
    return machine
  }

  static func applet(_ architecture: Architecture) -> MachineDescription {
    // The applet's image is two pages; the numbers are fit for every layout.
    let layout = try! SecureLayout(
      image: 0x8000_0000..<0x8000_1800, size: 16 << 20, hostPage: 4096, addressLimit: 1 << 38)
    let machine = MachineDescription(
      applet: layout, architecture: architecture, arguments: Array("hello\0one\0\0".utf8))
    return machine
  }

  static let all: [(name: String, machine: MachineDescription)] = [
    ("applet-arm64", applet(.arm64)),
    ("applet-riscv64", applet(.riscv64)),
    ("gicv2", linux(.arm64, .gicV2(distributor: 0x10_0000, cpuInterface: 0x11_0000), cpus: 2)),
    ("gicv3", linux(.arm64, .gicV3(distributor: 0x10_0000, redistributors: 0x20_0000), cpus: 20)),
    ("plic", linux(.riscv64, .plic(base: 0xc00_0000, sources: 31), cpus: 2)),
    (
      "aia",
      linux(
        .riscv64,
        .aia(aplic: 0xc00_0000, aplicSize: 0x8000, sources: 31, imsics: 0xd00_0000, identities: 63), cpus: 2)
    ),
  ]
}

extension MachineDescription {
  /// The machine's tree as bytes.
  func tree(limit: Int = 16384) throws(DeviceTreeError) -> Data {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: limit, alignment: 8)
    defer { buffer.deallocate() }
    let size = try writeTree(to: buffer)
    return Data(buffer.prefix(size))
  }
}

/// dtc, with every warning of its an error.
/// - Returns: the tree's source, its nodes and properties sorted.
func decompile(_ tree: Data) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = ["dtc", "-I", "dtb", "-O", "dts", "-s", "-"]
  let (input, output, errors) = (Pipe(), Pipe(), Pipe())
  (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
  try process.run()
  input.fileHandleForWriting.write(tree)
  try input.fileHandleForWriting.close()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  #expect(process.terminationStatus == 0 && complaints.isEmpty, "\(complaints)")
  return text
}
