import CLinux

/// Why a command ends without having done its work.
enum Failure: Error {
  /// `--help` was asked for: no failure, but the command's own work is not done.
  case help(Command)
  /// The words of the command line are off.
  case usage(Command?, String)
  /// Something else, with the exit status that says of which kind.
  case failed(Status, String)
}

/// Exit statuses of Swiftlet's own. 0 to 119 are left to applets, and 134 to their panics.
enum Status: Int32 {
  case success = 0
  /// `check` found that this host cannot run applets; the daemon refuses what it was asked for.
  case unable = 1
  /// Copies of the applet in lockstep differed.
  case lockstep = 120
  /// The applet broke a rule and was stopped: an exception, a call that does not exist, memory that is not its own.
  case brokeRule = 121
  /// Wrong words on the command line.
  case usage = 122
  /// The host cannot run it: no /dev/kvm, no permission, a failure of the kernel's.
  case host = 123
  /// The time limit was reached.
  case timeLimit = 124
  /// The file is no applet that can be run.
  case image = 126
  /// The file cannot be read.
  case unreadable = 127
  /// Stopped from outside.
  case stopped = 125
  /// A guest in system mode, Linux or other, asked for a reset.
  case reset = 133
  /// A Linux guest's kernel panicked.
  case panic = 134
}

/// Writes a line to standard error, in one write(2), so that lines of several processes do not mix.
func complain(_ line: String) { writeAll(line + "\n", to: STDERR_FILENO) }

/// Writes text to standard output.
func say(_ text: String) { writeAll(text, to: STDOUT_FILENO) }

/// Writes bytes to standard output.
func say(bytes: [UInt8]) { bytes.withUnsafeBytes { writeAll($0, to: STDOUT_FILENO) } }

private func writeAll(_ text: String, to descriptor: Int32) {
  var text = text
  text.withUTF8 { writeAll(UnsafeRawBufferPointer($0), to: descriptor) }
}

private func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) {
  var rest = bytes
  while !rest.isEmpty {
    let result = linux_write(descriptor, rest.baseAddress, rest.count)
    if result == -Int(EINTR) { continue }
    // Nobody is left to be told.
    guard result > 0 else { return }
    rest = UnsafeRawBufferPointer(rebasing: rest[result...])
  }
}
