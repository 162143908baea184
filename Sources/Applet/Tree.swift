import DeviceTree
import Machine

extension GuestMemory {
  /// Writes the guest's device tree into the layout's pages for it.
  /// - Throws: `DeviceTreeError`: `.noSpace` if it does not fit, or an error in the changes.
  package mutating func writeTree(of machine: MachineDescription, _ changes: TreeChanges) throws(DeviceTreeError) {
    let range = layout.deviceTree
    _ = try machine.writeTree(
      to: bytes(at: range.lowerBound, count: Int(range.upperBound - range.lowerBound)), changes)
  }
}
