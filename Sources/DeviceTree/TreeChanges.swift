import CLibFDT

/// A user's changes to the generated device tree: a tree that replaces it, and overlays.
public struct TreeChanges: Equatable, Sendable {
  /// The contents of a file, at most `maxBytes`; nil for the generated tree.
  public var replacement: [UInt8]?
  /// The contents of files, each at most `maxBytes`, applied in this order.
  public var overlays: [[UInt8]] = []

  /// No changes.
  public init() {}

  /// Maximum size of a file, in bytes, and maximum depth of its nodes. libfdt's run time grows with the square of the size, and
  /// its stack with the depth.
  public static let maxBytes = 64 << 10
  /// Maximum depth of the nodes of a file.
  public static let maxDepth = 64

  /// Whether there are no changes.
  public var isEmpty: Bool { replacement == nil && overlays.isEmpty }

  /// Maximum size, in bytes, of a tree with the changes. A replacement that is no larger than the generated tree does not change
  /// the result, so that the memory layout stays the same. Overlays add little to their own size.
  /// - Parameter generated: maximum size of the generated tree, in bytes.
  func maxSize(_ generated: UInt64) -> UInt64 {
    overlays.reduce(max(generated, UInt64(replacement?.count ?? 0))) { $0 + UInt64($1.count) + 512 }
  }
}

extension MachineDescription {
  /// Writes the guest's tree with a user's changes, which may not contradict the guest's hardware.
  /// - Parameter buffer: memory for the tree, aligned to 8 bytes.
  /// - Returns: the tree's size in bytes.
  /// - Throws: `DeviceTreeError`; then the contents of the buffer are not valid.
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
      if result == -FDT_ERR_NOSPACE { throw .file(source, .noSpace(bytes: buffer.count)) }
      guard result == 0 else { throw .file(source, .doesNotApply(result)) }
      // An error here is this overlay's, since the tree before it was valid.
      try compare(buffer, generated, source)
    }
    if changes.overlays.isEmpty { try compare(buffer, generated, source) }
    updateClockOffset(in: buffer)
    let result = fdt_pack(buffer.baseAddress)
    guard result == 0 else { throw .library(result) }
    return Int(swiftlet_fdt_totalsize(buffer.baseAddress))
  }

  /// Sets the offset between the guest's clocks where the tree has one: a tree that was written for an earlier run has that run's.
  private func updateClockOffset(in buffer: UnsafeMutableRawBufferPointer) {
    guard let offset = hypervisor?.clockOffset else { return }
    let node = fdt_path_offset(buffer.baseAddress, "/hypervisor")
    guard node >= 0 else { return }
    // It fails, and changes nothing, if there is no such property of this size.
    _ = withUnsafeBytes(of: UInt64(bitPattern: offset).bigEndian) {
      fdt_setprop_inplace(buffer.baseAddress, node, "swiftlet,clock-offset", $0.baseAddress, 8)
    }
  }

  /// Copies a tree to the buffer; the rest of the buffer is available for overlays.
  private static func place(
    _ tree: borrowing TreeCopy, in buffer: UnsafeMutableRawBufferPointer, _ source: DeviceTreeError.TreeFile
  ) throws(DeviceTreeError) {
    let result = fdt_open_into(tree.bytes.baseAddress, buffer.baseAddress, Int32(clamping: buffer.count))
    if result == -FDT_ERR_NOSPACE { throw .file(source, .noSpace(bytes: buffer.count)) }
    guard result == 0 else { throw .library(result) }
  }

  /// A name from a file, safe to print.
  private static func printable(_ name: String) -> String {
    String(
      decoding: name.utf8.map { (UInt8(ascii: "!")...UInt8(ascii: "~")).contains($0) ? $0 : UInt8(ascii: "?") },
      as: UTF8.self)
  }

  private func compare(
    _ buffer: UnsafeMutableRawBufferPointer, _ generated: borrowing TreeCopy, _ source: DeviceTreeError.TreeFile
  ) throws(DeviceTreeError) {
    do throws(ContradictionError) {
      try TreeComparison(
        machine: self, generated: TreeReader(generated.bytes), given: TreeReader(UnsafeRawBufferPointer(buffer))
      )
      .check()
    } catch { throw .file(source, .contradicts(Self.printable(error.node), error.what)) }
  }
}

extension [UInt8] {
  /// The tree at the start of the buffer, with the size in its header.
  package init(treeIn buffer: UnsafeRawBufferPointer) {
    self.init()
    // The header begins with magic and size, of four bytes each.
    guard buffer.count >= 8 else { return }
    let size = UInt32(bigEndian: buffer.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    append(contentsOf: buffer.prefix(Int(size)))
  }
}

/// A tree in separately allocated memory, aligned for libfdt.
private struct TreeCopy: ~Copyable {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ tree: some Collection<UInt8>) {
    bytes = .allocate(byteCount: tree.count, alignment: 8)
    bytes.copyBytes(from: tree)
  }

  /// Checks that libfdt can traverse the whole tree without leaving it.
  borrowing func check(_ source: DeviceTreeError.TreeFile) throws(DeviceTreeError) {
    guard bytes.count <= TreeChanges.maxBytes else { throw .file(source, .tooLarge) }
    guard bytes.prefix(4).elementsEqual([0xd0, 0x0d, 0xfe, 0xed].prefix(bytes.count)) else {
      throw .file(source, .malformed(-FDT_ERR_BADMAGIC))
    }
    // Version 17's header has 40 bytes.
    guard bytes.count >= 40 else { throw .file(source, .malformed(-FDT_ERR_TRUNCATED)) }
    // Older versions have another alignment and other names; dtc writes 17, with the version at byte 20. Checked first, because
    // fdt_check_full of libfdt 1.6.1 dereferences a null pointer if the version is 15 or less and the root has no name.
    guard bytes.loadUnaligned(fromByteOffset: 20, as: UInt32.self) == UInt32(17).bigEndian else {
      throw .file(source, .malformed(-FDT_ERR_BADVERSION))
    }
    let result = fdt_check_full(bytes.baseAddress, bytes.count)
    guard result == 0 else { throw .file(source, .malformed(result)) }
    let reader = TreeReader(bytes)
    guard reader.depth <= TreeChanges.maxDepth else { throw .file(source, .tooDeep) }
    guard reader.hasSoundReferences else { throw .file(source, .malformed(-FDT_ERR_BADOVERLAY)) }
  }

  deinit { bytes.deallocate() }
}
