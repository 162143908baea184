import CLinux

/// An error number of the kernel, errno(3).
public struct Errno: Error, Equatable, Sendable, CustomStringConvertible {
  /// The number, greater than zero, as `<errno.h>` defines it.
  public let code: Int32

  /// An error by its number, greater than zero.
  public init(_ code: Int32) { self.code = code }

  /// The error in the result of a system call: negative results are errors, as the kernel returns them.
  public init?(result: Int) {
    guard result < 0 else { return nil }
    code = Int32(truncatingIfNeeded: -result)
  }

  /// EINTR.
  public static let interrupted = Errno(EINTR)
  /// EAGAIN.
  public static let again = Errno(EAGAIN)
  /// ENOENT.
  public static let noEntry = Errno(ENOENT)
  /// ENODEV.
  public static let noDevice = Errno(ENODEV)
  /// ENXIO.
  public static let noSuchDevice = Errno(ENXIO)
  /// EACCES.
  public static let accessDenied = Errno(EACCES)
  /// EPERM.
  public static let notPermitted = Errno(EPERM)
  /// EISDIR.
  public static let isDirectory = Errno(EISDIR)
  /// EINVAL.
  public static let invalid = Errno(EINVAL)
  /// ENOMEM.
  public static let noMemory = Errno(ENOMEM)
  /// EOPNOTSUPP.
  public static let notSupported = Errno(EOPNOTSUPP)
  /// ENOSYS.
  public static let notImplemented = Errno(ENOSYS)
  /// EIO.
  public static let inputOutput = Errno(EIO)
  /// EFBIG.
  public static let tooBig = Errno(EFBIG)
  /// EPIPE.
  public static let brokenPipe = Errno(EPIPE)

  /// The message of strerror(3).
  public var description: String { String(cString: strerror(code)) }
}

/// Repeats a system call while it fails with EINTR. Only for calls that have no effect when they are interrupted.
@inline(__always)
package func uninterrupted(_ call: () -> Int) -> Int {
  while true {
    let result = call()
    if result != -Int(EINTR) { return result }
  }
}

/// The result of a system call; throws its error.
@inline(__always)
package func checked(_ result: Int) throws(Errno) -> Int {
  if result < 0 { throw Errno(Int32(truncatingIfNeeded: -result)) }
  return result
}
