import DeviceTree
import Machine

extension GuestMemory {
  /// Writes the device tree of a machine into the layout's pages for it.
  /// - Throws: `DeviceTreeError`: `.noRoom` where the layout has too little room, and what is wrong with the changes.
  package mutating func writeTree(of machine: MachineDescription, _ changes: TreeChanges) throws(DeviceTreeError) {
    let range = layout.deviceTree
    _ = try machine.writeTree(
      to: bytes(at: range.lowerBound, count: Int(range.upperBound - range.lowerBound)), changes)
  }
}
