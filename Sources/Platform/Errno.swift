import CLinux

/// An error number of the kernel, errno(3).
public struct Errno: Error, Equatable, Sendable, CustomStringConvertible {
  /// The number, greater than zero, as `<errno.h>` defines it.
  public let code: Int32

  public init(_ code: Int32) { self.code = code }

  /// The error in a system call's answer: negative numbers are errors, as the kernel itself returns them.
  public init?(result: Int) {
    guard result < 0 else { return nil }
    code = Int32(truncatingIfNeeded: -result)
  }

  public static let interrupted = Errno(EINTR)
  public static let again = Errno(EAGAIN)
  public static let noEntry = Errno(ENOENT)
  public static let noDevice = Errno(ENODEV)
  public static let noSuchDevice = Errno(ENXIO)
  public static let accessDenied = Errno(EACCES)
  public static let notPermitted = Errno(EPERM)
  public static let isDirectory = Errno(EISDIR)
  public static let invalid = Errno(EINVAL)
  public static let noMemory = Errno(ENOMEM)
  public static let notSupported = Errno(EOPNOTSUPP)
  public static let tooBig = Errno(EFBIG)
  public static let brokenPipe = Errno(EPIPE)

  /// What strerror(3) says of it.
  public var description: String { String(cString: strerror(code)) }
}

/// Makes a system call again as long as a signal interrupts it: for calls of which nothing has been done then.
@inline(__always)
package func uninterrupted(_ call: () -> Int) -> Int {
  while true {
    let result = call()
    if result != -Int(EINTR) { return result }
  }
}

/// The value of a system call's answer, or its error.
@inline(__always)
package func checked(_ result: Int) throws(Errno) -> Int {
  if result < 0 { throw Errno(Int32(truncatingIfNeeded: -result)) }
  return result
}
