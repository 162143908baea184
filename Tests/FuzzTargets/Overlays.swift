import DeviceTree
import Machine

extension FuzzTarget {
  /// Overlays, and device trees that replace the generated one.
  static let overlay = FuzzTarget(
    name: "overlay", input: "supplied device trees and overlays",
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
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.deviceTree.count, alignment: 8)
      defer { buffer.deallocate() }
      do throws(DeviceTreeError) {
        let count = try machine.writeTree(to: buffer, changes)
        hold(count <= buffer.count, "a tree is in its room")
      } catch { hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line") }
    },
    seeds: {
      [Architecture.arm64, .riscv64].enumerated().compactMap { index, architecture in
        guard let layout = try? layout(TreeChanges()) else { return nil }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.deviceTree.count, alignment: 8)
        defer { buffer.deallocate() }
        guard let count = try? machine(layout, architecture).writeTree(to: buffer) else { return nil }
        return [UInt8(index) | 2, UInt8(count & 0xff), UInt8(count >> 8)] + buffer[..<count]
      }
    })

  private static func layout(_ changes: TreeChanges) throws(SecureLayoutError) -> SecureLayout {
    try SecureLayout(
      image: 0x8000_0000..<0x8000_4000, size: 1 << 20, deviceTree: MachineDescription.maxTreeSize(9, changes),
      hostPage: 4096, addressLimit: 1 << 40)
  }

  private static func machine(_ layout: SecureLayout, _ architecture: Architecture) -> MachineDescription {
    MachineDescription(applet: layout, architecture: architecture, arguments: Array("test.elf\0".utf8))
  }
}
