import DeviceTree
import Machine

extension FuzzTarget {
  /// Device trees that are given instead of the generated one, and overlays.
  static let overlay = FuzzTarget(
    name: "overlay", door: "supplied device trees and overlays",
    run: { bytes in
      var input = Input(bytes)
      let flags = input.byte()
      var changes = TreeChanges()
      if flags & 2 != 0 { changes.replacement = input.take(Int(input.number(UInt16.self))) }
      while !input.isEmpty, changes.overlays.count < 4 {
        changes.overlays.append(input.take(Int(input.number(UInt16.self))))
      }
      let architecture: Architecture = flags & 1 == 0 ? .arm64 : .riscv64
      guard let layout = try? layout(changes) else { return }
      let machine = machine(layout, architecture)
      let room = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.deviceTree.count, alignment: 8)
      defer { room.deallocate() }
      do throws(DeviceTreeError) {
        let count = try machine.writeTree(to: room, changes)
        hold(count <= room.count, "a tree is in its room")
      } catch { hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line") }
    },
    seeds: {
      [Architecture.arm64, .riscv64].enumerated().compactMap { index, architecture in
        guard let layout = try? layout(TreeChanges()) else { return nil }
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.deviceTree.count, alignment: 8)
        defer { room.deallocate() }
        guard let count = try? machine(layout, architecture).writeTree(to: room) else { return nil }
        return [UInt8(index) | 2, UInt8(count & 0xff), UInt8(count >> 8)] + room[..<count]
      }
    })

  private static func layout(_ changes: TreeChanges) throws(SecureLayout.Problem) -> SecureLayout {
    try SecureLayout(
      image: 0x8000_0000..<0x8000_4000, size: 1 << 20, deviceTree: MachineDescription.treeRoom(9, changes),
      hostPage: 4096, addressLimit: 1 << 40)
  }

  private static func machine(_ layout: SecureLayout, _ architecture: Architecture) -> MachineDescription {
    MachineDescription(applet: layout, architecture: architecture, arguments: Array("test.elf\0".utf8))
  }
}
