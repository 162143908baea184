import DeviceTree
import Foundation
import Machine
import Testing

struct TreeTests {
  @Test(arguments: Machines.all.indices)
  func eachMachineHasATreeThatDtcAccepts(index: Int) throws {
    let text = try DTC.source(of: Machines.all[index].machine.tree())
    #expect(text.contains("swiftlet,monitor-1"))
  }

  @Test func aTreeThatDoesNotFitIsRejected() throws {
    let machine = Machines.applet(.arm64)
    let size = try machine.tree().count
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: size / 2) }
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: 0) }
  }

  /// The space that is reserved for a tree is sufficient for any number of CPUs and arguments.
  @Test(arguments: [Architecture.arm64, .riscv64], [1, 2, 512])
  func treesFitTheirMaximumSize(architecture: Architecture, cpus: Int) throws {
    var machine = Machines.program(architecture, cpus: cpus)
    machine.cpus.isa = "rv64imafdcv" + String(repeating: "_zvknhb", count: 70)
    machine.chosen.arguments = [UInt8](repeating: 0x41, count: 5000)
    let buffer = MachineDescription.maxTreeSize(program: 5000, cpus: cpus, TreeChanges())
    #expect(try machine.tree(limit: Int(buffer)).count <= Int(buffer))
    var applet = Machines.applet(architecture)
    applet.chosen.arguments = machine.chosen.arguments
    #expect(throws: Never.self) { try applet.tree(limit: Int(MachineDescription.maxTreeSize(5000, TreeChanges()))) }
  }
}
