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

  @Test func aTreeThatDoesNotFitIsRefused() throws {
    let machine = Machines.applet(.arm64)
    let size = try machine.tree().count
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: size / 2) }
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: 0) }
  }

  /// The room that is set aside for a tree holds it, however many processors and arguments there are.
  @Test(arguments: [Architecture.arm64, .riscv64], [1, 2, 512])
  func aTreeFitsItsRoom(architecture: Architecture, cpus: Int) throws {
    var machine = Machines.program(architecture, cpus: cpus)
    machine.processors.isa = "rv64imafdcv" + String(repeating: "_zvknhb", count: 70)
    machine.chosen.arguments = [UInt8](repeating: 0x41, count: 5000)
    let room = MachineDescription.treeRoom(program: 5000, processors: cpus, TreeChanges())
    #expect(try machine.tree(limit: Int(room)).count <= Int(room))
    var applet = Machines.applet(architecture)
    applet.chosen.arguments = machine.chosen.arguments
    #expect(throws: Never.self) { try applet.tree(limit: Int(MachineDescription.treeRoom(5000, TreeChanges()))) }
  }
}
