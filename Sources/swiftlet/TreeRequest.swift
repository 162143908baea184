import CLinux
import DeviceTree
import Monitor
import Platform

/// The options that change a guest's device tree.
let treeOptions = [
  Option("overlay", argument: "FILE", help: "an overlay for the guest's device tree (.dtbo); may be repeated"),
  Option("dtb", argument: "FILE", help: "a device tree in place of the generated one"),
]

/// The files that the words of a command line name for the device tree.
struct TreeRequest {
  private(set) var replacement: String?
  private(set) var overlays: [String] = []

  /// Takes an option's value, if it is one of `treeOptions`.
  mutating func take(_ name: String, _ value: String) -> Bool {
    switch name {
    case "overlay": overlays.append(value)
    case "dtb": replacement = value
    default: return false
    }
    return true
  }

  /// Reads the files.
  func read(_ kernel: any Kernel) throws(Failure) -> TreeChanges {
    var changes = TreeChanges()
    if let replacement { changes.replacement = try Self.contents(replacement, kernel) }
    for path in overlays { changes.overlays.append(try Self.contents(path, kernel)) }
    return changes
  }

  private static func contents(_ path: String, _ kernel: any Kernel) throws(Failure) -> [UInt8] {
    do { return try FileContents(path: path, limit: TreeChanges.mostBytes, kernel: kernel).array } catch {
      guard error == Errno(EFBIG) else { throw .failed(.unreadable, "\(path): cannot be read: \(error.description)") }
      throw .failed(.image, "\(path): \(DeviceTreeError.Problem.tooLarge.description)")
    }
  }

  /// A failure to make the tree, with the file that it is about.
  /// - Parameter program: what else it may be about.
  func failure(_ error: DeviceTreeError, _ program: String) -> Failure {
    let path: String
    switch error {
    case .file(.replacement, _): path = replacement ?? program
    case .file(.overlay(let number), _): path = overlays.indices.contains(number) ? overlays[number] : program
    case .noRoom, .library: path = program
    }
    return .failed(.image, "\(path): \(error.description)")
  }
}
