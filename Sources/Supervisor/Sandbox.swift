import CLinux
import Machine
import Platform

/// What a process that runs applets gives up before its guest's first instruction; docs/sandbox.md has the reasons.
public enum Sandbox {
  /// Steps that can fail, by the kernel's names for them.
  public enum Step: Equatable, Sendable {
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

  /// The kernel refuses a step; the steps before it stay done.
  public struct Failure: Error, Equatable {
    public let step: Step
    public let errno: Errno

    /// What failed and what to do about it, in one line.
    public var description: String {
      "the sandbox cannot be entered: \(step.name) failed: \(errno.description); "
        + (step == .filter && errno == .invalid
          ? "use a kernel with CONFIG_SECCOMP_FILTER, or --no-sandbox" : "--no-sandbox runs without it")
    }
  }

  /// Closes what the process was started with, other than standard input, output and error: to be called first.
  public static func closeInherited() throws(Failure) { try perform(.closeRange, linux_close_from(3)) }

  /// What the process runs, which decides what it may still do.
  public enum Content: Equatable, Sendable {
    /// An applet or a program in system mode; `several`: in several copies or on several processors, on threads or not.
    case guest(several: Bool)
    /// The same, started by the daemon, which talks to it.
    case worker(several: Bool)
    /// Linux, and an applet beside it.
    case linux

    package var filter: linux_filter_kind {
      switch self {
      case .guest(let several): several ? LINUX_FILTER_SEVERAL : LINUX_FILTER_ONE
      case .worker(let several): several ? LINUX_FILTER_WORKER_SEVERAL : LINUX_FILTER_WORKER
      case .linux: LINUX_FILTER_LINUX
      }
    }
  }

  /// Enters the sandbox, for good: after this the process can run the guests that it has, and little else.
  /// - Parameter architecture: the host's.
  public static func enter(_ architecture: Architecture, for content: Content) throws(Failure) {
    if linux_is_root() { try perform(.capabilities, linux_drop_capabilities()) }
    try perform(.dumpable, linux_hide_memory())
    try perform(.noNewPrivileges, linux_no_new_privileges())
    let landlock = linux_landlock()
    // A kernel without Landlock, or with it turned off at boot: the filter refuses to open files as well.
    if landlock != -Int(ENOSYS), landlock != -Int(EOPNOTSUPP) { try perform(.landlock, landlock) }
    var filter = linux_filter(architecture.auditNumber, content.filter)
    try perform(.filter, linux_seccomp(&filter))
  }

  private static func perform(_ step: Step, _ result: Int) throws(Failure) {
    if let errno = Errno(result: result) { throw Failure(step: step, errno: errno) }
  }
}
