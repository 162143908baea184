import CLinux
import DeviceTree
import KVM
import Machine
import Monitor
import Platform

/// The options of `swiftlet dtb`: those of `swiftlet run`, by the same numbers, and its own.
let dtbOptions =
  runOptions + [Option("output", short: "o", argument: "FILE", help: "where the tree goes (default: standard output)")]

/// `swiftlet dtb`: makes the machine that `swiftlet run` would, and writes its device tree in place of running it.
func dtb(_ words: ParsedWords) throws(Failure) -> Int32 {
  let output = words.options.last { $0.index >= runOptions.count }?.value
  if output == nil, linux_is_terminal(STDOUT_FILENO) {
    throw .usage(.dtb, "a device tree is no text for a terminal: give -o FILE, or read it with \"| dtc -I dtb -\"")
  }
  let words = ParsedWords(options: words.options.filter { $0.index < runOptions.count }, operands: words.operands)
  let tree: [UInt8]
  if words.isAboutLinux {
    let request = try LinuxRequest(words)
    tree = try request.makeMachine(LinuxKernel()).machine.deviceTree
  } else {
    let request = try RunRequest(words)
    tree = try request.makeContext(LinuxKernel()).deviceTree
  }
  try write(tree, to: output)
  return Status.success.rawValue
}

private func write(_ bytes: [UInt8], to path: String?) throws(Failure) {
  do throws(Errno) {
    var descriptor = STDOUT_FILENO
    if let path {
      let result = path.withCString { linux_open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0o666) }
      descriptor = Int32(truncatingIfNeeded: try checked(result))
    }
    defer { if path != nil { _ = linux_close(descriptor) } }
    var done = 0
    while done < bytes.count {
      let result = bytes.withUnsafeBytes { linux_write(descriptor, $0.baseAddress! + done, $0.count - done) }
      if result == -Int(EINTR) { continue }
      done += try checked(result)
    }
  } catch { throw .failed(.host, "\(path ?? "standard output"): cannot be written: \(error.description)") }
}
