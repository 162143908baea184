import CLinux
import Control
import Platform

/// Applets that are declared by files.
extension Daemon {
  /// The command that applies the daemon's directory. Its arguments are the format of the log and the directory; its standard input
  /// is a connection to the daemon.
  public static let declarationCommand = "declarations"

  /// Starts, changes and removes applets as the directory of declarations says, once after each start of the program. A client in
  /// a process of its own does this, as `swiftlet apply --prune` would: reading files and images may block.
  func applyDeclarations() {
    guard let directory = options.applets, shutdownDeadline == nil else { return }
    let isNeeded =
      applets.contains { $0.configuration.request.declared != nil }
      || AppletDirectory.names(in: directory).contains { $0.hasSuffix(".json") }
    guard isNeeded else { return }
    // strdup(3) copies, freed below: they must exist until the program has started.
    let words = ["swiftlet", Self.declarationCommand, log.isJSON ? "json" : "text", directory]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var socket: Int32 = -1
    let result = linux_spawn_client(options.client, &arguments, standardError.number, &socket)
    if let errno = Errno(result: result) {
      return log.write(.error, "not applied", [("directory", directory), ("reason", errno.description)])
    }
    connections.append(Connection(socket, peer: Int32(truncatingIfNeeded: result), user: user(linux_geteuid())))
  }

  /// Records that a declared applet is to be started when its declaration is applied the next time, unless it is stopped meanwhile.
  func expectStart(of applet: AppletEntry) {
    guard applet.configuration.request.declared != nil else { return }
    applet.configuration.isExpected = true
    // Without the record, it stays as it is until its declaration is changed.
    try? applet.directory.write("configuration", applet.configuration.json)
  }
}
