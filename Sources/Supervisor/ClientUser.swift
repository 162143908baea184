import CLinux
import Platform

/// The connections of one user (SO_PEERCRED), with the resources that they share.
///
/// The limits do not apply to root and the daemon's own user, who can end the daemon anyway. Connections and memory are
/// reserved for them.
final class ClientUser {
  let id: UInt32
  var isTrusted: Bool { timeout == nil }
  /// Number of open connections.
  var connections = 0
  /// Bytes in the buffers of these connections.
  var bytes = 0
  /// Closes descriptors that the user has sent.
  let closer = Closer()

  /// Maximum number of connections of all unprivileged users, and of one.
  static let maxConnections = 192
  static let maxShare = 48
  /// Maximum size of the buffers of all of these connections, and of one.
  static let maxBytes = 16 << 20
  static let maxByteShare = 4 << 20
  /// Size that a connection's buffers may always have, in bytes.
  static let minBytes = 64 << 10
  /// If more descriptors than this wait to be closed, nothing is read from the user.
  static let maxClosing = 64

  /// Nanoseconds that a connection may be inactive (DaemonOptions.clientTimeout); nil for no limit.
  let timeout: Int64?

  init(_ id: UInt32, timeout: Int64?) {
    self.id = id
    self.timeout = timeout
  }

  /// Whether too many descriptors that they sent wait to be closed.
  var isClosingTooMuch: Bool { !isTrusted && closer.pending > Self.maxClosing }
}
