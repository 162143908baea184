import CLinux

/// The places of the daemon that a user runs for itself, after the XDG Base Directory Specification. Root's daemon is the system's.
enum UserPaths {
  static var isRoot: Bool { linux_geteuid() == 0 }

  /// The control socket; nil for root, or without XDG_RUNTIME_DIR, which systemd-logind sets.
  static var socket: String? { isRoot ? nil : runtimeDirectory.map { $0 + "/control.sock" } }

  /// The directory of the control socket.
  static var runtimeDirectory: String? { directory("XDG_RUNTIME_DIR").map { $0 + "/swiftlet" } }

  /// The directory for the applets' files; nil if neither XDG_STATE_HOME nor HOME is set.
  static var state: String? {
    (directory("XDG_STATE_HOME") ?? home(".local/state")).map { $0 + "/swiftlet/applets" }
  }

  /// The directory of declared applets; nil if neither XDG_CONFIG_HOME nor HOME is set.
  static var applets: String? {
    (directory("XDG_CONFIG_HOME") ?? home(".config")).map { $0 + "/swiftlet/applets.d" }
  }

  private static func home(_ path: String) -> String? { directory("HOME").map { $0 + "/" + path } }

  /// A directory from the environment. The specification says that relative paths are ignored.
  private static func directory(_ variable: String) -> String? {
    guard let value = linux_getenv(variable).map({ String(cString: $0) }), value.utf8.first == UInt8(ascii: "/") else {
      return nil
    }
    return value
  }
}
