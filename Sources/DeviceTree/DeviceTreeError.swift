import CLibFDT

/// Why a device tree cannot be written, read or changed.
public enum DeviceTreeError: Error, Equatable, CustomStringConvertible {
  /// It needs more space than the layout has; `bytes` is the available size.
  case noSpace(bytes: Int)
  /// An error of libfdt, as a negative number (FDT_ERR_…).
  case library(Int32)
  /// An error in a user's file.
  case file(TreeFile, Problem)

  /// One of the files of `TreeChanges`.
  public enum TreeFile: Equatable, Sendable {
    /// The tree that replaces the generated one.
    case replacement
    /// An overlay, by its index.
    case overlay(Int)
  }

  /// The error in a file.
  public enum Problem: Equatable, Sendable {
    /// Not a flattened device tree, or a damaged one, with libfdt's error number.
    case malformed(Int32)
    /// It has more than `TreeChanges.maxBytes` bytes, or nodes deeper than `TreeChanges.maxDepth`.
    case tooLarge, tooDeep
    /// An overlay that cannot be applied to the tree, with libfdt's error number.
    case doesNotApply(Int32)
    /// The resulting tree would be too large; `bytes` is the available size.
    case noSpace(bytes: Int)
    /// The tree contradicts the guest's hardware: the node and the contradiction.
    case contradicts(String, Contradiction)
  }

  /// Contradictions between a tree and the guest's hardware.
  public enum Contradiction: Equatable, Sendable {
    /// Addresses and sizes must have two cells each, at the root and for reserved memory.
    case cells
    /// Memory that does not exist.
    case memory
    /// A CPU that does not exist, or an ISA extension that the CPUs do not have.
    case cpu, instructions
    /// Memory of the monitor that is not reserved.
    case unreserved
    /// Wrong address of the initrd.
    case initrd
    /// A device that does not exist.
    case device
    /// A property with another value.
    case property(String)
  }

  /// The error, without the name of the file.
  public var description: String {
    switch self {
    case .noSpace(let bytes): "the device tree does not fit \(bytes) bytes: give it fewer or shorter arguments"
    case .library(let code): "libfdt: \(Self.words(code))"
    case .file(_, let problem): problem.description
    }
  }

  /// libfdt's message for an error number.
  static func words(_ code: Int32) -> String { String(cString: fdt_strerror(code)) }
}

extension DeviceTreeError.Problem {
  /// The error, in words that follow the name of the file.
  public var description: String {
    switch self {
    case .malformed(-FDT_ERR_BADMAGIC): "not a flattened device tree: compile it with dtc"
    case .malformed(-FDT_ERR_TRUNCATED): "a truncated device tree: copy or compile it again"
    case .malformed(let code): "a damaged device tree (\(DeviceTreeError.words(code))): copy or compile it again"
    case .tooLarge: "larger than \(TreeChanges.maxBytes >> 10) KiB, the maximum size of a device tree"
    case .tooDeep: "its nodes are nested deeper than \(TreeChanges.maxDepth) levels"
    case .doesNotApply(-FDT_ERR_NOTFOUND):
      "the overlay does not apply: its target node or label is not in the guest's tree (see swiftlet dtb)"
    case .doesNotApply(-FDT_ERR_BADPHANDLE):
      "the overlay does not apply: it refers to a node that is not in the guest's tree (see swiftlet dtb)"
    case .doesNotApply(let code): "the overlay does not apply: \(DeviceTreeError.words(code))"
    case .noSpace(let bytes): "with it the device tree does not fit \(bytes) bytes"
    case .contradicts(let node, let contradiction):
      "contradicts the guest's hardware: \(node) \(contradiction.description)"
    }
  }
}

extension DeviceTreeError.Contradiction {
  var description: String {
    switch self {
    case .cells: "must have #address-cells and #size-cells of 2"
    case .memory: "is memory that the guest does not have"
    case .cpu: "is a CPU that the guest does not have"
    case .instructions: "has an extension that the CPU does not have"
    case .unreserved: "is used by the monitor and must be in /reserved-memory"
    case .initrd: "has a wrong address of the initrd"
    case .device: "is a device that the guest does not have"
    case .property(let name): "has a different \(name)"
    }
  }
}

/// A contradiction between a tree and the guest's hardware.
struct ContradictionError: Error {
  /// Path of the node.
  let node: String
  let what: DeviceTreeError.Contradiction
}
