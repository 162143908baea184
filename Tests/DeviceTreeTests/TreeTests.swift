import DeviceTree
import Foundation
import Machine
import Testing

struct TreeTests {
  @Test(arguments: Machines.all.indices)
  func eachMachineHasATreeThatDtcAccepts(index: Int) throws {
    let text = try decompile(Machines.all[index].machine.tree())
    #expect(text.contains("swiftlet,monitor-1"))
  }

  @Test func aTreeThatDoesNotFitIsRefused() throws {
    let machine = Machines.applet(.arm64)
    let size = try machine.tree().count
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: size / 2) }
    #expect(throws: DeviceTreeError.self) { try machine.tree(limit: 0) }
  }
}
