import CLinux
import Launch
import Monitor
import Platform

extension RunArguments {
  /// The options of `swiftlet dtb`: those of `swiftlet run`, and one more.
  static var dtbOptions: [Option<RunArguments>] {
    options + [
      Option("output", short: "o", argument: "FILE", help: "write the tree to this file (default: standard output)") {
        arguments, value in
        arguments.output = value
      }
    ]
  }
}

/// `swiftlet dtb`: creates the guest as `swiftlet run` would, and writes its device tree instead of running it.
func dtb(_ arguments: RunArguments) throws(Failure) -> Int32 {
  if arguments.output == nil, linux_isatty(STDOUT_FILENO) {
    throw .usage(.dtb, "a device tree is binary, and the output is a terminal: give -o FILE, or use \"| dtc -I dtb -\"")
  }
  let kernel = LinuxKernel()
  let tree =
    switch arguments.spec.mode {
    case .applet: try arguments.makeContext(kernel, peer: nil).deviceTree
    case .program(_, let peer): try arguments.makeContext(kernel, peer: peer).deviceTree
    case .linux(let options, let peer):
      try arguments.makeMachine(options, peer: peer, kernel).machine.deviceTree
    }
  try write(tree, to: arguments.output)
  return ExitCode.success.rawValue
}

private func write(_ tree: [UInt8], to path: String?) throws(Failure) {
  do throws(Errno) {
    guard let path else { return try writeAll(tree, to: STDOUT_FILENO) }
    let result = path.withOSString { linux_open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0o666) }
    let file = Int32(truncatingIfNeeded: try checked(result))
    try writeAll(tree, to: file)
    // Some file systems report a full disk only here (close(2)).
    _ = try checked(linux_close(file))
  } catch { throw .unwritable(path ?? "standard output", error) }
}
