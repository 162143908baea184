import DeviceTree
import Foundation
import Machine
import Testing

/// Machines of every kind, with every interrupt controller, as Swiftlet creates them.
enum Machines {
  typealias Controller = MachineDescription.InterruptController

  static let gicV2 = Controller.gicV2(
    distributor: LinuxLayout.distributor, cpuInterface: LinuxLayout.cpuInterface)
  static let gicV3 = Controller.gicV3(
    distributor: LinuxLayout.distributor, redistributors: LinuxLayout.redistributors)
  static let plic = Controller.plic(base: LinuxLayout.plic, sources: LinuxLayout.interrupts)
  static let aia = Controller.aia(
    aplic: LinuxLayout.aplic, aplicSize: LinuxLayout.aplicSize, sources: LinuxLayout.interrupts,
    imsics: LinuxLayout.imsics, identities: 63)

  /// A Linux guest: 256 MiB, an initrd, the serial port, and a virtio console, entropy device and disk.
  static func linux(_ architecture: Architecture, _ controller: Controller, cpus: Int) -> MachineDescription {
    var machine = MachineDescription(
      architecture: architecture, kind: .linux, memory: [0x8000_0000..<0x9000_0000],
      cpus: describedCPUs(architecture, cpus))
    machine.interruptController = controller
    machine.serial = MachineDescription.SerialPort(
      window: MachineDescription.DeviceWindow(
        range: LinuxLayout.serial..<LinuxLayout.serial + 8,
        interrupt: MachineDescription.Interrupt(number: LinuxLayout.serialInterrupt, isEdge: false)))
    for number in 0..<3 as Range<UInt64> {
      let start = LinuxLayout.virtio + number * LinuxLayout.virtioStep
      machine.virtio.append(
        MachineDescription.DeviceWindow(
          range: start..<start + 0x200,
          interrupt: MachineDescription.Interrupt(
            number: LinuxLayout.firstVirtioInterrupt + UInt32(number), isEdge: true)))
    }
    machine.chosen.bootArguments = Array("console=ttyS0 panic=-1".utf8)
    machine.chosen.initrd = 0x8200_0000..<0x8200_1234
    machine.chosen.rngSeed = [1, 2, 3, 4]
    machine.chosen.kaslrSeed = 5
    machine.hypervisor = MachineDescription.Hypervisor(method: nil)
    return machine
  }

  static let clockOffset: Int64 = 0x18a0_0000_1234_5678

  static func applet(_ architecture: Architecture) -> MachineDescription {
    // The applet's image has two pages; the numbers are valid for every layout.
    let layout = try! SecureLayout(
      image: 0x8000_0000..<0x8000_1800, size: 16 << 20, hostPage: 4096, addressLimit: 1 << 38)
    var machine = MachineDescription(
      applet: layout, architecture: architecture, arguments: Array("hello\0one\0\0".utf8))
    machine.hypervisor?.clockOffset = clockOffset
    return machine
  }

  static func program(_ architecture: Architecture, cpus: Int = 2) -> MachineDescription {
    // As above.
    let layout = try! ProgramLayout(
      image: 0x8000_0000..<0x8000_1800, size: 16 << 20, deviceTree: 8192, hostPage: 4096, addressLimit: 1 << 38)
    var machine = MachineDescription(
      program: layout, architecture: architecture, arguments: Array("os.elf\0one\0".utf8))
    machine.cpus = describedCPUs(architecture, cpus)
    machine.chosen.rngSeed = [1, 2, 3, 4]
    machine.hypervisor?.clockOffset = clockOffset
    return machine
  }

  /// The same with memory that is shared with a peer.
  static func shared(_ machine: MachineDescription) -> MachineDescription {
    var machine = machine
    machine.share(0x7000_0000..<0x7001_0000)
    return machine
  }

  private static func describedCPUs(_ architecture: Architecture, _ count: Int) -> MachineDescription.CPUs {
    var cpus = MachineDescription.CPUs(count: count)
    if architecture == .riscv64 {
      cpus.isa = "rv64imafdc_zicbom_zicboz_sstc"
      cpus.cacheBlock = 64
      cpus.zeroBlock = 64
    }
    return cpus
  }

  /// By the name of the source in dts/, if there is one.
  static let all: [(name: String, machine: MachineDescription)] = [
    ("applet-arm64", applet(.arm64)), ("applet-riscv64", applet(.riscv64)),
    ("program-arm64", program(.arm64)), ("program-riscv64", program(.riscv64)),
    ("linux-arm64", linux(.arm64, gicV3, cpus: 2)), ("linux-riscv64", linux(.riscv64, plic, cpus: 2)),
    ("linux-arm64-gicv2", linux(.arm64, gicV2, cpus: 8)), ("linux-riscv64-aia", linux(.riscv64, aia, cpus: 2)),
    ("linux-arm64-20-cpus", linux(.arm64, gicV3, cpus: 20)),
    ("program-arm64-shared", shared(program(.arm64))), ("program-riscv64-shared", shared(program(.riscv64))),
    ("applet-arm64-shared", shared(applet(.arm64))),
  ]
  /// Number of those with a reference.
  static let references = 6
}

extension MachineDescription {
  /// The machine's tree as bytes.
  func tree(_ changes: TreeChanges = TreeChanges(), limit: Int = 32768) throws(DeviceTreeError) -> Data {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: limit, alignment: 8)
    defer { buffer.deallocate() }
    let size = try writeTree(to: buffer, changes)
    return Data(buffer.prefix(size))
  }
}

/// The device tree compiler.
enum DTC {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// - Parameter warnings: whether warnings are errors.
  static func run(_ arguments: [String], _ input: Data = Data(), warnings: Bool = true) throws -> Data {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["dtc"] + (warnings ? [] : ["-q"]) + arguments
    let (stdin, output, errors) = (Pipe(), Pipe(), Pipe())
    (process.standardInput, process.standardOutput, process.standardError) = (stdin, output, errors)
    try process.run()
    stdin.fileHandleForWriting.write(input)
    try stdin.fileHandleForWriting.close()
    let result = output.fileHandleForReading.readDataToEndOfFile()
    let standardError = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0, !warnings || standardError.isEmpty else {
      throw Failure(description: "dtc \(arguments.joined(separator: " ")): \(standardError)")
    }
    return result
  }

  /// The source of a tree, with sorted nodes and properties.
  static func source(of tree: Data, warnings: Bool = true) throws -> String {
    String(decoding: try run(["-I", "dtb", "-O", "dts", "-s", "-"], tree, warnings: warnings), as: UTF8.self)
  }

  /// The tree of a source or, with `/plugin/`, its overlay.
  static func compile(_ source: String, warnings: Bool = true) throws -> [UInt8] {
    Array(try run(["-I", "dts", "-O", "dtb", "-"], Data(source.utf8), warnings: warnings))
  }
}

/// The directory dts/.
let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../dts").standardized
