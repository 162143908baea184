import CLinux
import Machine
import Platform

/// Restricts a process that runs guests, before its guest's first instruction; docs/sandbox.md has the reasons.
public enum Sandbox {
  /// Steps that can fail, with the kernel's names.
  public enum Step: Equatable, Sendable {
    /// In this order: close_range(2), capset(2), PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, Landlock, the seccomp filter.
    case closeRange, capabilities, dumpable, noNewPrivileges, landlock, filter

    var name: StaticString {
      switch self {
      case .closeRange: "close_range"
      case .capabilities: "capset"
      case .dumpable: "PR_SET_DUMPABLE"
      case .noNewPrivileges: "PR_SET_NO_NEW_PRIVS"
      case .landlock: "landlock_restrict_self"
      case .filter: "PR_SET_SECCOMP"
      }
    }
  }

  /// A step failed; the steps before it stay in effect.
  public struct Failure: Error, Equatable {
    /// The step.
    public let step: Step
    /// The error.
    public let errno: Errno

    /// The error and its remedy, in one line.
    public var description: String {
      switch (step, errno) {
      case (.landlock, .notSupported):
        "--require-sandbox: this kernel has no Landlock: use one with CONFIG_SECURITY_LANDLOCK and landlock in lsm="
      case (.filter, .invalid):
        "cannot enter the sandbox: \(step.name) failed: \(errno.description); "
          + "use a kernel with CONFIG_SECCOMP_FILTER, or --no-sandbox"
      default:
        "cannot enter the sandbox: \(step.name) failed: \(errno.description); use --no-sandbox to run without it"
      }
    }
  }

  /// Closes all inherited descriptors except standard input, output and error. To be called first.
  /// - Parameter kept: another one that stays open; nil for none.
  /// - Returns: the number of the descriptor that stays open, which may change.
  @discardableResult
  public static func closeInherited(except kept: Int32? = nil) throws(Failure) -> Int32? {
    guard let kept, kept > STDERR_FILENO else {
      try perform(.closeRange, linux_close_range(STDERR_FILENO + 1))
      return kept
    }
    let moved = STDERR_FILENO + 1
    try perform(.closeRange, linux_dup_to(kept, moved))
    try perform(.closeRange, linux_close_range(moved + 1))
    return moved
  }

  /// Whether the kernel supports the whole sandbox, including Landlock. Without Landlock only the seccomp filter denies access to files.
  public static var isWhole: Bool { linux_has_landlock() }

  /// Rejects a kernel without the whole sandbox.
  /// - Throws: if it is not supported.
  public static func requireWhole() throws(Failure) {
    if !isWhole { throw Failure(step: .landlock, errno: .notSupported) }
  }

  /// What the process runs, which determines what it may still do.
  public enum Content: Equatable, Sendable {
    /// An applet or a program in system mode; `several`: with several copies or CPUs, in parallel or not.
    case guest(several: Bool)
    /// The same in a worker, which communicates with the daemon.
    case worker(several: Bool)
    /// Linux and its peer; `services`: the peer has RPC services of other programs.
    case linux(services: Bool)

    package var filter: linux_filter_kind {
      switch self {
      case .guest(let several): several ? LINUX_FILTER_SEVERAL : LINUX_FILTER_ONE
      case .worker(let several): several ? LINUX_FILTER_WORKER_SEVERAL : LINUX_FILTER_WORKER
      case .linux(let services): services ? LINUX_FILTER_LINUX_SERVICES : LINUX_FILTER_LINUX
      }
    }
  }

  /// Enters the sandbox permanently: after this the process can run its guests, and do little else.
  /// - Parameter architecture: the host's.
  public static func enter(_ architecture: Architecture, for content: Content) throws(Failure) {
    // A user other than root may have capabilities, too: ambient ones, or those of the program's file.
    try perform(.capabilities, linux_drop_capabilities())
    try perform(.dumpable, linux_clear_dumpable())
    try perform(.noNewPrivileges, linux_set_no_new_privs())
    let landlock = linux_landlock()
    // Without Landlock, or if it is disabled at boot, the seccomp filter also forbids to open files.
    if landlock != -Int(ENOSYS), landlock != -Int(EOPNOTSUPP) { try perform(.landlock, landlock) }
    var filter = linux_filter(architecture.facts.auditNumber, content.filter)
    try perform(.filter, linux_seccomp(&filter))
  }

  private static func perform(_ step: Step, _ result: Int) throws(Failure) {
    if let errno = Errno(result: result) { throw Failure(step: step, errno: errno) }
  }
}
