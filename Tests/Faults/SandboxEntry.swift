import CFaults
import CLinux
import Machine
import Platform

@testable import Launch

/// Entering the sandbox, each time in a process of its own: if a call fails, the process detects it and runs no guest.
extension Plan {
  /// The call that fails in the next child, and the outcome.
  nonisolated(unsafe) private static var fault: (call: host_call, number: Int, errno: Int32) = (HOST_CALLS, 0, 0)

  /// The exit statuses of a child.
  private enum End {
    /// The call was not made, or was made and its failure had no effect.
    static let entered: Int32 = 100
    static let enteredAlthough: Int32 = 101
    /// A failure with another errno than the call's, or of a call that cannot fail.
    static let wrong: Int32 = 102
    /// A typed failure with the errno.
    static let failed: Int32 = 1
  }

  /// Calls whose failure does not weaken the sandbox: not all kernels have them.
  private static func isOptional(_ call: host_call, _ errno: Int32) -> Bool {
    switch call {
    case HOST_CLOSE_RANGE: errno == ENOSYS
    case HOST_LANDLOCK_CREATE: errno == ENOSYS || errno == EOPNOTSUPP
    default: false
    }
  }

  /// Makes each call of the sandbox fail with each errno, and adds a row to the table.
  func tryEntries() {
    var count = Count()
    let calls = [
      HOST_CLOSE_RANGE, HOST_SET_GROUPS, HOST_SET_GROUP, HOST_SET_USER, HOST_CAPABILITIES, HOST_PROCESS_CONTROL,
      HOST_LANDLOCK_CREATE, HOST_LANDLOCK_RESTRICT,
    ]
    for call in calls {
      var number = 0
      // If a child does not reach a call, there are no further ones.
      while tryEntry(call, number, &count) { number += 1 }
      count.calls += number
    }
    add(count)
    print("| sandbox | \(count.calls) | \(count.cases) | \(count.errors) | \(count.successes) |")
  }

  /// - Returns: whether there is such a call.
  private func tryEntry(_ call: host_call, _ number: Int, _ count: inout Count) -> Bool {
    for errno in Errnos.of(call) {
      Self.fault = (call, number, errno)
      let end = in_child { Plan.enter() }
      if end == End.entered { return false }
      count.cases += 1
      switch end {
      case End.failed: count.errors += 1
      case End.enteredAlthough where Self.isOptional(call, errno): count.successes += 1
      default:
        complain("sandbox: \(String(cString: faults_name(call))) \(number) fails with \(errno): ended with \(end)")
      }
    }
    return true
  }

  /// The steps of a worker before it runs a guest.
  private static func enter() -> Int32 {
    faults_begin(fault.call, fault.number, fault.errno)
    var errno: Errno?
    do throws(Sandbox.Failure) {
      try Sandbox.closeInherited()
      errno = linux_is_root() ? Errno(result: linux_setresuid(65534, 65534)) : nil
      if errno == nil { try Sandbox.enter(.arm64, for: .worker(several: false)) }
    } catch {
      guard error.description.contains(error.step.name.description) else { return End.wrong }
      errno = error.errno
    }
    _ = faults_end()
    guard let errno else { return has_failed() ? End.enteredAlthough : End.entered }
    return errno.code == fault.errno ? End.failed : End.wrong
  }
}
