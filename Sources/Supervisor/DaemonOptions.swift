import CLinux
import Platform

/// Options of `swiftlet daemon`.
public struct DaemonOptions {
  /// Path of the control socket.
  public var socket = "/run/swiftlet/control.sock"
  /// The socket, if it was opened by systemd, or by this daemon before it reloaded.
  public var inheritedSocket: Int32?
  /// The lock on the state directory that this daemon had before it reloaded.
  var inheritedLock: Int32?
  /// Identity of the inherited socket's file, if this daemon created it.
  var inheritedFile: String?
  /// Descriptors of clients that this daemon had not closed when it reloaded.
  var leftDescriptors: [Int32] = []
  /// Whether the daemon removes the socket at its end, which it does not if systemd has opened it.
  public var ownsSocket = true
  /// The name by which a socket is passed on at a reload (linux_reexec), if the daemon created it.
  static let ownSocketName = "swiftlet-own"
  /// The state directory, with a directory for each applet.
  public var state = Daemon.runState
  /// The directory with the files of declared applets, NAME.json; nil for none.
  public var applets: String?
  /// The path of the program that applies them: it has the command `Daemon.declarationCommand`.
  var client = "/proc/self/exe"
  /// Directory of the control group in which applets' groups are created; nil for the one that systemd has delegated,
  /// if any.
  public var controlGroup: String?
  /// The group that may connect, in addition to root and the daemon's own user; nil for none.
  public var group: UInt32?
  /// The user as which workers run if the daemon is root.
  public var workerUser: UInt32?
  /// The group as which workers run if the daemon is root.
  public var workerGroup: UInt32?
  /// The path of the program of workers.
  public var worker = "/proc/self/exe"
  /// The arguments of the worker's program, including its name.
  public var workerArguments = ["swiftlet", Worker.command]
  /// Whether workers enter the sandbox.
  public var isSandboxed = true
  /// The format of the log.
  public var logFormat = Log.Format.text
  /// Nanoseconds that applets have to stop when the daemon ends.
  public var endGrace: Int64 = 10_000_000_000
  /// Nanoseconds in which an unprivileged connection must make its first call, complete a call, and read an error after
  /// which it is closed.
  var clientTimeout: Int64 = 30_000_000_000
  /// Maximum size of the images in pieces that have not been started yet, of all users, in bytes. One user may have half of it.
  var uploadLimit = 64 << 20
  /// The version of Swiftlet, for org.varlink.service.GetInfo.
  public var version = ""

  /// The defaults.
  public init() {}

  /// Takes the descriptors that systemd, or this daemon before it reloaded, has passed on. Closes all others except the
  /// standard streams.
  public mutating func takeHandedOver() {
    // systemd's sockets begin at 3 (sd_listen_fds(3)); only the first is used.
    guard linux_listen_fds() > 0 else {
      _ = linux_close_range(3)
      return
    }
    inheritedSocket = 3
    ownsSocket = linux_getenv("LISTEN_FDNAMES").map { String(cString: $0) } == Self.ownSocketName
    if ownsSocket { inheritedFile = linux_getenv("SWIFTLET_LISTENER").map { String(cString: $0) } }
    let lock = linux_handed_lock()
    guard lock >= 0 else {
      _ = linux_close_range(4)
      return
    }
    inheritedLock = lock
    // This includes the descriptor with which the directory was read, which is closed by now.
    leftDescriptors = AppletDirectory.names(in: "/proc/self/fd").compactMap { Int32($0) }
      .filter { $0 > lock && linux_take_left($0) }
  }
}

/// Why the daemon could not start.
public struct DaemonFailure: Error {
  /// A description, in one line.
  public let description: String
  init(_ description: String) { self.description = description }
}
