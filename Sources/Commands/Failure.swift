import CLinux
import Launch
import Platform

/// Why a command failed.
enum Failure: Error {
  /// Invalid command line.
  case usage(Command?, String)
  /// Another error, with its exit status.
  case failed(ExitCode, String)

  /// The error, in one line.
  var message: String {
    switch self {
    case .usage(_, let message), .failed(_, let message): message
    }
  }

  /// A guest could not be created.
  init(_ error: LaunchError) {
    switch error.exitCode {
    case .usage: self = .usage(.run, error.description)
    case let code: self = .failed(code, error.description)
    }
  }
}

extension Failure {
  /// A file, or standard output, cannot be written.
  static func unwritable(_ what: String, _ error: Errno) -> Failure {
    .failed(.host, "\(what): cannot be written: \(error.description)")
  }
}

/// Writes a line to standard error with one write(2), so that lines of several processes are not mixed. An error cannot be
/// reported.
func complain(_ line: String) { try? writeAll((line + "\n").osBytes, to: STDERR_FILENO) }

/// Writes text to standard output.
/// - Throws: `Failure.failed(.host)` if it cannot be written.
func say(_ text: String) throws(Failure) { try say(bytes: text.osBytes) }

/// Writes bytes to standard output.
/// - Throws: as above.
func say(bytes: [UInt8]) throws(Failure) {
  do { try writeAll(bytes, to: STDOUT_FILENO) } catch { throw .unwritable("standard output", error) }
}
