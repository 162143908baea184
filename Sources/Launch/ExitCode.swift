import Applet
import CLinux
import DeviceTree
import Monitor
import Platform

/// Swiftlet's own exit statuses. All others belong to applets, and so does 134 for their panics. How a run ended is never concluded from
/// the number: `RunEnd` says it.
///
/// `swiftlet run` and the daemon's workers exit with them, and the control interface has them in `End.code`.
public enum ExitCode: Int32, Sendable {
  /// Success.
  case success = 0
  /// `check` found that this host cannot run applets; or the daemon rejected the request.
  case refused = 1
  /// Copies of an applet in lockstep diverged.
  case lockstep = 120
  /// The applet was stopped for a fault: an exception, an undefined call, or access to memory without permission.
  case fault = 121
  /// Invalid command line.
  case usage = 122
  /// The host cannot run the guest: no /dev/kvm, no permission, an error of the kernel.
  case host = 123
  /// The run reached its deadline.
  case timeLimit = 124
  /// Stopped from outside.
  case stopped = 125
  /// The file is not a valid image.
  case image = 126
  /// The file cannot be read.
  case unreadable = 127
  /// A guest in system mode, including Linux, requested a reset.
  case reset = 133
  /// A Linux guest's kernel panicked.
  case panic = 134
}

extension ExitCode {
  /// Whether an applet's own status has the number of one of Swiftlet's for `run`, so that the number alone does not say how the run
  /// ended. 134 means the same for both: a panic.
  public static func isAmbiguous(_ status: UInt8) -> Bool {
    switch ExitCode(rawValue: Int32(status)) {
    case .lockstep, .fault, .usage, .host, .timeLimit, .stopped, .image, .unreadable, .reset: true
    case .success, .refused, .panic, nil: false
    }
  }
}

extension ExecError {
  /// The exit status of a run that ends with this error.
  public var exitCode: ExitCode {
    switch self {
    case .limit: .timeLimit
    case .stopped: .stopped
    case .lockstep: .lockstep
    case .fault, .unknownCall, .badRange, .transferLimit, .badRequest, .unexpectedExit, .shim: .fault
    case .kvm, .output, .input, .host, .noRegister, .noCPU, .running: .host
    }
  }
}

extension ImageError {
  /// The exit status for such a file.
  public var exitCode: ExitCode { isUnreadable ? .unreadable : .image }
}

extension LinuxError {
  /// The exit status for this error.
  public var exitCode: ExitCode {
    switch self {
    case .kernel(let problem): problem.isUnreadable ? .unreadable : .image
    case .layout, .pageSize, .deviceTree: .image
    case .port(_, Errno(EEXIST)): .usage
    case .initrd, .disk, .port: .unreadable
    case .unexpectedExit, .access: .fault
    case .noInterruptController, .cpus, .hostMemory, .kvm, .host, .output, .running: .host
    }
  }
}
