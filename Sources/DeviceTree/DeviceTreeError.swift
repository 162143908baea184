import CLibFDT

/// Why a device tree could not be written, read or changed.
public enum DeviceTreeError: Error, Equatable {
  /// It needs more bytes than there is room for.
  case noRoom(bytes: Int)
  /// libfdt refused: a negative number of its own (FDT_ERR_…).
  case library(Int32)
  /// A file that the user gave.
  case file(TreeFile, Problem)

  /// One of the files of `TreeChanges`.
  public enum TreeFile: Equatable, Sendable {
    case replacement
    /// An overlay by its number among them.
    case overlay(Int)
  }

  /// What is wrong with it.
  public enum Problem: Equatable, Sendable {
    /// No flattened device tree, or a damaged one: libfdt's number.
    case malformed(Int32)
    /// More bytes than `TreeChanges.mostBytes`, or nodes deeper than `TreeChanges.mostDepth`.
    case tooLarge, tooDeep
    /// An overlay that does not apply to the tree: libfdt's number.
    case doesNotApply(Int32)
    /// The tree would not fit its room.
    case noRoom(bytes: Int)
    /// The tree says something else of the machine than is so: the node, and what.
    case contradicts(String, Contradiction)
  }

  /// What a tree can get wrong about its machine.
  public enum Contradiction: Equatable, Sendable {
    /// Addresses and sizes of two cells each, at the root and for reserved memory.
    case cells
    /// Memory where there is none.
    case memory
    /// A processor that there is not, or something that processors cannot do.
    case processor, instructions
    /// Memory that the monitor uses is not reserved.
    case unreserved
    /// An initial file system that is elsewhere, or is not.
    case initrd
    /// A device that there is not.
    case device
    /// A property that says something else.
    case property(String)
  }

  /// What happened, in words that go behind the name of what it happened to: the file's, where it is about one.
  public var description: String {
    switch self {
    case .noRoom(let bytes): "the device tree does not fit \(bytes) bytes: give it fewer or shorter arguments"
    case .library(let code): "the device tree library refuses: \(Self.words(code))"
    case .file(_, let problem): problem.description
    }
  }

  /// libfdt's own words for an error number of its.
  static func words(_ code: Int32) -> String { String(cString: fdt_strerror(code)) }
}

extension DeviceTreeError.Problem {
  public var description: String {
    switch self {
    case .malformed(-FDT_ERR_BADMAGIC): "no flattened device tree: compile it with dtc"
    case .malformed(-FDT_ERR_TRUNCATED): "a truncated device tree: copy or compile it again"
    case .malformed(let code): "a damaged device tree (\(DeviceTreeError.words(code))): copy or compile it again"
    case .tooLarge: "larger than \(TreeChanges.mostBytes >> 10) KiB, the most that a device tree may have here"
    case .tooDeep: "its nodes are deeper than \(TreeChanges.mostDepth) levels"
    case .doesNotApply(-FDT_ERR_NOTFOUND):
      "the overlay does not apply: it is for a node or label that the machine's tree does not have (swiftlet dtb shows it)"
    case .doesNotApply(-FDT_ERR_BADPHANDLE):
      "the overlay does not apply: it refers to a node that the machine's tree does not have (swiftlet dtb shows it)"
    case .doesNotApply(let code): "the overlay does not apply: \(DeviceTreeError.words(code))"
    case .noRoom(let bytes): "with it the device tree does not fit \(bytes) bytes"
    case .contradicts(let node, let contradiction): "contradicts the machine: \(node) \(contradiction.description)"
    }
  }
}

extension DeviceTreeError.Contradiction {
  var description: String {
    switch self {
    case .cells: "must have #address-cells and #size-cells of 2"
    case .memory: "is memory that the machine does not have"
    case .processor: "is a processor that the machine does not have"
    case .instructions: "names instructions that the processor does not have"
    case .unreserved: "is the monitor's, and must be in /reserved-memory"
    case .initrd: "says that the initial file system is where it is not"
    case .device: "is a device that the machine does not have"
    case .property(let name): "has another \(name)"
    }
  }
}
