import CLibFDT

/// Reads a flattened device tree that has passed `fdt_check_full`, or that libfdt has written. The bytes must outlive it.
struct TreeReader {
  let tree: UnsafeRawPointer?

  init(_ bytes: UnsafeRawBufferPointer) { tree = bytes.baseAddress }
  init(_ bytes: UnsafeMutableRawBufferPointer) { self.init(UnsafeRawBufferPointer(bytes)) }

  /// A property's value.
  typealias Value = UnsafeRawBufferPointer

  /// Calls `body` for each node, the root first, with its offset and depth; the root's is 0.
  func forEachNode<Failure: Error>(_ body: (_ node: Int32, _ depth: Int) throws(Failure) -> Void) throws(Failure) {
    var depth: Int32 = 0
    var node: Int32 = 0
    while node >= 0, depth >= 0 {
      try body(node, Int(depth))
      node = fdt_next_node(tree, node, &depth)
    }
  }

  /// The deepest level of a node below the root.
  var depth: Int {
    var deepest = 0
    forEachNode { deepest = max(deepest, $1) }
    return deepest
  }

  /// A node's name with its unit address; empty for the root.
  func name(of node: Int32) -> String { fdt_get_name(tree, node, nil).map { String(cString: $0) } ?? "" }

  /// A node by its path.
  func node(at path: String) -> Int32? {
    let node = path.withCString { fdt_path_offset(tree, $0) }
    return node < 0 ? nil : node
  }

  /// A property of a node; nil if it has none.
  func property(_ name: String, of node: Int32) -> Value? {
    var length: Int32 = 0
    guard let value = name.withCString({ fdt_getprop(tree, node, $0, &length) }), length >= 0 else { return nil }
    return Value(start: value, count: Int(length))
  }

  /// Whether a property is this string, alone or as the first of a list.
  func isText(_ text: String, _ name: String, of node: Int32) -> Bool {
    strings(name, of: node).first.map { $0 == text } ?? false
  }

  /// A property as strings.
  func strings(_ name: String, of node: Int32) -> [String] {
    guard let value = property(name, of: node) else { return [] }
    return value.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }

  /// A property of one or two cells, as a number.
  func number(_ name: String, of node: Int32) -> UInt64? {
    guard let value = property(name, of: node), value.count == 4 || value.count == 8 else { return nil }
    return value.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// A list of phandles, each with one cell, as in `interrupts-extended`, with the nodes' paths in place of the phandles; nil if
  /// it is not such a list.
  func wires(_ name: String, of node: Int32) -> [String]? {
    guard let value = property(name, of: node), value.count % 8 == 0 else { return nil }
    var wires: [String] = []
    for offset in stride(from: 0, to: value.count, by: 8) {
      let number = UInt32(bigEndian: value.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      let cell = UInt32(bigEndian: value.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
      var path = [CChar](repeating: 0, count: 256)
      let target = fdt_node_offset_by_phandle(tree, number)
      guard target >= 0, fdt_get_path(tree, target, &path, Int32(path.count)) == 0 else { return nil }
      path.withUnsafeBufferPointer { if let start = $0.baseAddress { wires.append(String(cString: start)) } }
      wires.append(String(cell))
    }
    return wires
  }

  /// `reg` with addresses and sizes of two cells each; nil if it is not such a list, or a range wraps around.
  func ranges(of node: Int32) -> [Range<UInt64>]? {
    guard let value = property("reg", of: node), value.count % 16 == 0 else { return nil }
    var ranges: [Range<UInt64>] = []
    for offset in stride(from: 0, to: value.count, by: 16) {
      let start = UInt64(bigEndian: value.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      let size = UInt64(bigEndian: value.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
      let (end, overflow) = start.addingReportingOverflow(size)
      guard !overflow else { return nil }
      ranges.append(start..<end)
    }
    return ranges
  }
}
