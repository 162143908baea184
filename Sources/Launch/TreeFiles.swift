import CLinux
import DeviceTree
import Monitor
import Platform

/// Files with changes to a guest's device tree.
public struct TreeFiles: Equatable, Sendable {
  /// A tree that replaces the generated one.
  public var replacement: String?
  /// Overlays, in the order in which they are applied.
  public var overlays: [String] = []

  /// No files.
  public init() {}

  /// Reads the files.
  /// - Throws: `LaunchError.treeFile`.
  func read(_ kernel: any Kernel) throws(LaunchError) -> TreeChanges {
    var changes = TreeChanges()
    if let replacement { changes.replacement = try Self.contents(replacement, kernel) }
    for path in overlays { changes.overlays.append(try Self.contents(path, kernel)) }
    return changes
  }

  private static func contents(_ path: String, _ kernel: any Kernel) throws(LaunchError) -> [UInt8] {
    do { return try FileContents(path: path, limit: TreeChanges.maxBytes, kernel: kernel).array } catch {
      throw .treeFile(path, error)
    }
  }

  /// The file that is responsible for an error.
  /// - Parameter program: the guest's file, for other errors.
  func path(of error: DeviceTreeError, program: String) -> String {
    switch error {
    case .file(.replacement, _): replacement ?? program
    case .file(.overlay(let number), _): overlays.indices.contains(number) ? overlays[number] : program
    case .noSpace, .library: program
    }
  }
}
