import DeviceTree
import Foundation
import Machine
import Testing

/// Machines of every kind, with every interrupt controller, as Swiftlet makes them.
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

  /// A Linux guest's: 256 MiB, an initrd, the serial port, console, random numbers and a disk by virtio.
  static func linux(_ architecture: Architecture, _ controller: Controller, cpus: Int) -> MachineDescription {
    var machine = MachineDescription(
      architecture: architecture, kind: .linux, memory: [0x8000_0000..<0x9000_0000],
      processors: processors(architecture, cpus))
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
    machine.chosen.bootArguments = "console=ttyS0 panic=-1"
    machine.chosen.initrd = 0x8200_0000..<0x8200_1234
    machine.chosen.rngSeed = [1, 2, 3, 4]
    machine.chosen.kaslrSeed = 5
    machine.hypervisor = MachineDescription.Hypervisor(method: nil)
    return machine
  }

  static func applet(_ architecture: Architecture) -> MachineDescription {
    // The applet's image is two pages; the numbers are fit for every layout.
    let layout = try! SecureLayout(
      image: 0x8000_0000..<0x8000_1800, size: 16 << 20, hostPage: 4096, addressLimit: 1 << 38)
    return MachineDescription(
      applet: layout, architecture: architecture, arguments: Array("hello\0one\0\0".utf8))
  }

  static func program(_ architecture: Architecture, cpus: Int = 2) -> MachineDescription {
    // As above.
    let layout = try! ProgramLayout(
      image: 0x8000_0000..<0x8000_1800, size: 16 << 20, deviceTree: 8192, hostPage: 4096, addressLimit: 1 << 38)
    var machine = MachineDescription(
      program: layout, architecture: architecture, arguments: Array("os.elf\0one\0".utf8))
    machine.processors = processors(architecture, cpus)
    machine.chosen.rngSeed = [1, 2, 3, 4]
    return machine
  }

  /// The same with the memory that it shares with a trusted applet.
  static func shared(_ machine: MachineDescription) -> MachineDescription {
    var machine = machine
    machine.share(0x7000_0000..<0x7001_0000)
    return machine
  }

  private static func processors(_ architecture: Architecture, _ count: Int) -> MachineDescription.Processors {
    var processors = MachineDescription.Processors(count: count)
    if architecture == .riscv64 {
      processors.isa = "rv64imafdc_zicbom_zicboz_sstc"
      processors.cacheBlock = 64
      processors.zeroBlock = 64
    }
    return processors
  }

  /// By the names of the sources in dts/ where there is one.
  static let all: [(name: String, machine: MachineDescription)] = [
    ("applet-arm64", applet(.arm64)), ("applet-riscv64", applet(.riscv64)),
    ("program-arm64", program(.arm64)), ("program-riscv64", program(.riscv64)),
    ("linux-arm64", linux(.arm64, gicV3, cpus: 2)), ("linux-riscv64", linux(.riscv64, plic, cpus: 2)),
    ("linux-arm64-gicv2", linux(.arm64, gicV2, cpus: 8)), ("linux-riscv64-aia", linux(.riscv64, aia, cpus: 2)),
    ("linux-arm64-20-cpus", linux(.arm64, gicV3, cpus: 20)),
    ("program-arm64-shared", shared(program(.arm64))), ("program-riscv64-shared", shared(program(.riscv64))),
    ("applet-arm64-shared", shared(applet(.arm64))),
  ]
  /// How many of them have a reference.
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

  /// - Parameter warnings: whether they are errors.
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
    let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0, !warnings || complaints.isEmpty else {
      throw Failure(description: "dtc \(arguments.joined(separator: " ")): \(complaints)")
    }
    return result
  }

  /// A tree's source, its nodes and properties sorted.
  static func source(of tree: Data, warnings: Bool = true) throws -> String {
    String(decoding: try run(["-I", "dtb", "-O", "dts", "-s", "-"], tree, warnings: warnings), as: UTF8.self)
  }

  /// The tree, or with `/plugin/` the overlay, of a source.
  static func compile(_ source: String, warnings: Bool = true) throws -> [UInt8] {
    Array(try run(["-I", "dts", "-O", "dtb", "-"], Data(source.utf8), warnings: warnings))
  }
}

/// The folder dts/.
let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../dts").standardized
