import CLibFDT

/// libfdt updates an overlay's references at the offsets that its nodes `__fixups__` and `__local_fixups__` list, without checking
/// that they are within the named properties. They are checked here first.
extension TreeReader {
  /// Whether each listed offset has at least four bytes in its property, and none is within the two nodes themselves, since an
  /// update there would change what was checked.
  var hasSoundReferences: Bool {
    if let local = node(at: "/__local_fixups__"), !areSound(local, in: 0, isTop: true) { return false }
    guard let fixups = node(at: "/__fixups__") else { return true }
    return allProperties(of: fixups) { name, value in !Self.isHandle(name) && areSound(value) }
  }

  /// Local references: nodes and properties with the names of the overlay's own, and offsets as values.
  private func areSound(_ fixups: Int32, in node: Int32, isTop: Bool) -> Bool {
    let areInside = allProperties(of: fixups) { name, offsets in
      guard !Self.isHandle(name), offsets.count % 4 == 0, let value = property(name, of: node) else { return false }
      return stride(from: 0, to: offsets.count, by: 4).allSatisfy {
        isInside(UInt64(UInt32(bigEndian: offsets.loadUnaligned(fromByteOffset: $0, as: UInt32.self))), value)
      }
    }
    guard areInside else { return false }
    var child = fdt_first_subnode(tree, fixups)
    while child >= 0 {
      guard let name = fdt_get_name(tree, child, nil), !(isTop && Self.isReserved(name)) else { return false }
      let target = fdt_subnode_offset(tree, node, name)
      guard target >= 0, areSound(child, in: target, isTop: false) else { return false }
      child = fdt_next_subnode(tree, child)
    }
    return true
  }

  /// References to labels of the base tree: strings "path:property:offset", each terminated by a zero byte.
  private func areSound(_ value: Value) -> Bool {
    guard value.last == 0 else { return false }
    return value.dropLast().split(separator: 0, omittingEmptySubsequences: false).allSatisfy { text in
      let parts = text.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3, parts[0].first == UInt8(ascii: "/"), (1...9).contains(parts[2].count) else {
        return false
      }
      let path = parts[0].drop { $0 == UInt8(ascii: "/") }
      guard !path.starts(with: "__".utf8) else { return false }
      var offset: UInt64 = 0
      for digit in parts[2] {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return false }
        offset = offset * 10 + UInt64(digit - UInt8(ascii: "0"))
      }
      let node = UnsafeRawBufferPointer(rebasing: parts[0]).withMemoryRebound(to: CChar.self) {
        fdt_path_offset_namelen(tree, $0.baseAddress, Int32(clamping: $0.count))
      }
      guard node >= 0 else { return false }
      var length: Int32 = 0
      let found = UnsafeRawBufferPointer(rebasing: parts[1]).withMemoryRebound(to: CChar.self) {
        fdt_getprop_namelen(tree, node, $0.baseAddress, Int32(clamping: $0.count), &length)
      }
      return isInside(offset, Value(start: found, count: found == nil ? 0 : Int(length)))
    }
  }

  private func isInside(_ offset: UInt64, _ value: Value) -> Bool { offset + 4 <= UInt64(value.count) }

  /// libfdt changes these properties in any node.
  private static func isHandle(_ name: String) -> Bool { name == "phandle" || name == "linux,phandle" }

  /// Whether a node's name is reserved for overlays' own nodes.
  private static func isReserved(_ name: UnsafePointer<CChar>) -> Bool { strncmp(name, "__", 2) == 0 }

  private func allProperties(of node: Int32, _ body: (String, Value) -> Bool) -> Bool {
    var property = fdt_first_property_offset(tree, node)
    while property >= 0 {
      var name: UnsafePointer<CChar>?
      var length: Int32 = 0
      guard let value = fdt_getprop_by_offset(tree, property, &name, &length), let name, length >= 0,
        body(String(cString: name), Value(start: value, count: Int(length)))
      else { return false }
      property = fdt_next_property_offset(tree, property)
    }
    return true
  }
}
