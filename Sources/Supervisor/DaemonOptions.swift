import CLinux
import Platform

/// What `swiftlet daemon` is told.
public struct DaemonOptions {
  /// Path of the control socket.
  public var socket = "/run/swiftlet/control.sock"
  /// The socket where systemd has opened it, or this daemon before it reloaded.
  public var inheritedSocket: Int32?
  /// The lock on the state's folder that this daemon had before it reloaded.
  var inheritedLock: Int32?
  /// Whether the socket is the daemon's to remove at its end: not one that systemd has opened.
  public var ownsSocket = true
  /// The name by which a socket of its own is handed over at a reload (linux_execute_again).
  static let ownSocketName = "swiftlet-own"
  /// The folder of the applets' files, a folder each.
  public var state = "/run/swiftlet/applets"
  /// Folder of the control group below which applets' groups are made; nil for the one that systemd has delegated, if any.
  public var controlGroup: String?
  /// Who may connect beside root and the daemon's own user; nil for nobody.
  public var group: UInt32?
  /// Whose rights workers take where the daemon is root.
  public var workerUser: UInt32?
  public var workerGroup: UInt32?
  /// The program that workers run, and its words.
  public var worker = "/proc/self/exe"
  public var workerWords = ["swiftlet", Worker.command]
  public var isSandboxed = true
  public var logFormat = Log.Format.text
  /// Nanoseconds that applets have to end when the daemon does.
  public var endGrace: Int64 = 10_000_000_000
  public var version = ""

  public init() {}

  /// Takes what systemd, or this daemon before it reloaded, has handed over, and closes all other descriptors but the standard
  /// streams.
  public mutating func takeHandedOver() {
    // systemd's sockets begin at 3 (sd_listen_fds(3)); all but the first are none of ours.
    guard linux_handed_over() > 0 else {
      _ = linux_close_from(3)
      return
    }
    inheritedSocket = 3
    ownsSocket = linux_environment("LISTEN_FDNAMES").map { String(cString: $0) } == Self.ownSocketName
    let lock = linux_handed_lock()
    if lock >= 0 { inheritedLock = lock }
    _ = linux_close_from(lock >= 0 ? lock + 1 : 4)
  }
}

/// Why the daemon could not start.
public struct DaemonFailure: Error {
  public let description: String
  init(_ description: String) { self.description = description }
}
