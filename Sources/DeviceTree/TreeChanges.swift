import CLibFDT

/// What a user makes of the device tree that is generated for a machine: another tree in its place, and overlays.
public struct TreeChanges: Sendable {
  /// The contents of a file, at most `mostBytes` of them; nil for the generated tree.
  public var replacement: [UInt8]?
  /// The contents of files, each at most `mostBytes`, applied in this order.
  public var overlays: [[UInt8]] = []

  public init() {}

  /// Most bytes of a file, and most levels of its nodes. libfdt's time grows with the square of the one, and its stack with
  /// the other.
  public static let mostBytes = 64 << 10
  public static let mostDepth = 64

  /// Whether the tree stays as it is generated.
  public var isEmpty: Bool { replacement == nil && overlays.isEmpty }

  /// Bytes that a tree can need with the changes. One that takes the place of a generated one of its size needs no more than
  /// that: memory lies where it did. Merging an overlay adds little to its bytes.
  /// - Parameter generated: bytes that the generated tree can need.
  func room(_ generated: UInt64) -> UInt64 {
    overlays.reduce(max(generated, UInt64(replacement?.count ?? 0))) { $0 + UInt64($1.count) + 512 }
  }
}

extension MachineDescription {
  /// Writes the machine's tree with a user's changes, which may not make it say what is not so.
  /// - Parameter buffer: where it goes, from its first byte on; aligned to 8 bytes.
  /// - Returns: the tree's size in bytes.
  /// - Throws: `DeviceTreeError`; what is in the buffer then is no tree.
  package func writeTree(to buffer: UnsafeMutableRawBufferPointer, _ changes: TreeChanges) throws(DeviceTreeError)
    -> Int
  {
    let size = try writeTree(to: buffer)
    guard !changes.isEmpty else { return size }
    let generated = TreeCopy(UnsafeRawBufferPointer(rebasing: buffer[..<size]))
    var source = DeviceTreeError.TreeFile.replacement
    if let replacement = changes.replacement {
      let copy = TreeCopy(replacement)
      try copy.check(source)
      try Self.place(copy, in: buffer, source)
    } else {
      try Self.place(generated, in: buffer, .overlay(0))
    }
    for (number, overlay) in changes.overlays.enumerated() {
      source = .overlay(number)
      let copy = TreeCopy(overlay)
      try copy.check(source)
      let result = fdt_overlay_apply(buffer.baseAddress, copy.bytes.baseAddress)
      if result == -FDT_ERR_NOSPACE { throw .file(source, .noRoom(bytes: buffer.count)) }
      guard result == 0 else { throw .file(source, .doesNotApply(result)) }
      // What is wrong is this overlay's: what came before was right.
      try compare(buffer, generated, source)
    }
    if changes.overlays.isEmpty { try compare(buffer, generated, source) }
    let result = fdt_pack(buffer.baseAddress)
    guard result == 0 else { throw .library(result) }
    return Int(swiftlet_fdt_totalsize(buffer.baseAddress))
  }

  /// Puts a tree into the buffer with all the rest of it as room to grow.
  private static func place(
    _ tree: borrowing TreeCopy, in buffer: UnsafeMutableRawBufferPointer, _ source: DeviceTreeError.TreeFile
  ) throws(DeviceTreeError) {
    let result = fdt_open_into(tree.bytes.baseAddress, buffer.baseAddress, Int32(clamping: buffer.count))
    if result == -FDT_ERR_NOSPACE { throw .file(source, .noRoom(bytes: buffer.count)) }
    guard result == 0 else { throw .library(result) }
  }

  /// A name out of a file, fit for a message.
  private static func printable(_ name: String) -> String {
    String(decoding: name.utf8.map { (0x21...0x7e).contains($0) ? $0 : 0x3f }, as: UTF8.self)
  }

  private func compare(
    _ buffer: UnsafeMutableRawBufferPointer, _ generated: borrowing TreeCopy, _ source: DeviceTreeError.TreeFile
  ) throws(DeviceTreeError) {
    do throws(TreeComparison.Mismatch) {
      try TreeComparison(
        machine: self, generated: TreeReader(generated.bytes), given: TreeReader(UnsafeRawBufferPointer(buffer))
      )
      .check()
    } catch { throw .file(source, .contradicts(Self.printable(error.node), error.what)) }
  }
}

extension [UInt8] {
  /// The tree that begins at the first byte of a room for one, by what its header says of its size.
  package init(treeIn room: UnsafeRawBufferPointer) {
    self.init()
    // The header is magic and size, of four bytes each, and more.
    guard room.count >= 8 else { return }
    let size = UInt32(bigEndian: room.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    append(contentsOf: room.prefix(Int(size)))
  }
}

/// A tree in memory of its own, aligned as libfdt wants it.
private struct TreeCopy: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ tree: some Collection<UInt8>) {
    bytes = .allocate(byteCount: tree.count, alignment: 8)
    bytes.copyBytes(from: tree)
  }

  /// Sees that libfdt can walk all of it and stays inside.
  borrowing func check(_ source: DeviceTreeError.TreeFile) throws(DeviceTreeError) {
    guard bytes.count <= TreeChanges.mostBytes else { throw .file(source, .tooLarge) }
    guard bytes.prefix(4).elementsEqual([0xd0, 0x0d, 0xfe, 0xed].prefix(bytes.count)) else {
      throw .file(source, .malformed(-FDT_ERR_BADMAGIC))
    }
    // Version 17's header has 40 bytes.
    guard bytes.count >= 40 else { throw .file(source, .malformed(-FDT_ERR_TRUNCATED)) }
    // Older versions align and name things in another manner; it is 17 that dtc writes, with its version at byte 20. Looked at
    // first: fdt_check_full of libfdt 1.6.1 reads through a null pointer where a root of version 15 or less has no name.
    guard bytes.loadUnaligned(fromByteOffset: 20, as: UInt32.self) == UInt32(17).bigEndian else {
      throw .file(source, .malformed(-FDT_ERR_BADVERSION))
    }
    let result = fdt_check_full(bytes.baseAddress, bytes.count)
    guard result == 0 else { throw .file(source, .malformed(result)) }
    let reader = TreeReader(bytes)
    guard reader.depth <= TreeChanges.mostDepth else { throw .file(source, .tooDeep) }
    guard reader.hasSoundReferences else { throw .file(source, .malformed(-FDT_ERR_BADOVERLAY)) }
  }

  deinit { bytes.deallocate() }
}
