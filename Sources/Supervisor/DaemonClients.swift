import CLinux
import Control
import Platform

/// Connections and their limits.
extension Daemon {
  /// Listens at the socket's path, unless another daemon does.
  static func listen(_ options: DaemonOptions) throws(DaemonFailure) -> OwnedFD {
    let path = options.socket
    let taken = DaemonFailure("\(path): in use by another daemon: end that first, or give another --socket")
    // If two daemons start at once, the second must not take the first one's socket for an unused one.
    let lock = path + ".lock"
    let held = linux_lock_path(lock)
    if held == -Int(EAGAIN) { throw taken }
    defer {
      if held >= 0 { _ = (linux_unlink(lock), linux_close(Int32(truncatingIfNeeded: held))) }
    }
    let probe = linux_connect(path, false)
    if probe >= 0 { _ = linux_close(Int32(truncatingIfNeeded: probe)) }
    switch Errno(result: probe) {
    // There is no socket, or it is unused.
    case Errno.noEntry, Errno(ECONNREFUSED): break
    // In use, even if its queue is full.
    case nil, Errno.again: throw taken
    case let errno?: throw DaemonFailure("\(path): \(errno.description)")
    }
    let listener = try own(path, linux_listen_at(path, options.group == nil ? 0o600 : 0o660))
    if let group = options.group { _ = linux_chown(path, UInt32.max, group) }
    return listener
  }

  /// The identity of a file as text: device and inode; nil if it does not exist.
  static func identity(of path: String) -> String? {
    var (device, inode): (UInt64, UInt64) = (0, 0)
    guard linux_file_identity(path, &device, &inode) == 0 else { return nil }
    return "\(device):\(inode)"
  }

  /// Removes the socket's file at the end, unless another daemon has replaced it.
  func removeSocket() {
    if let socketFile, Self.identity(of: options.socket) == socketFile { _ = linux_unlink(options.socket) }
  }

  func forget(_ connection: Connection) {
    if case .console(let reader)? = connection.pending { stopWatching(reader) }
    for applet in applets { applet.waiters.removeAll { $0.connection === connection } }
  }

  func accept() {
    while connections.count < Self.maxConnections {
      let result = linux_accept_client(listener.number)
      switch Errno(result: result) {
      case nil: break
      case Errno.again, Errno.interrupted, Errno(ECONNABORTED): return
      case let errno?:
        // Waiting clients are accepted when there are descriptors and memory; until then the listener is not polled.
        acceptsFrom = Clock.monotonic + 100_000_000
        let isFull = [Errno(EMFILE), Errno(ENFILE)].contains(errno)
        return log.write(.warning, isFull ? "descriptors exhausted" : "accept", [("reason", errno.description)])
      }
      let number = Int32(truncatingIfNeeded: result)
      var (pid, id, group): (Int32, UInt32, UInt32) = (0, UInt32.max, 0)
      let isKnown = linux_peer(number, &pid, &id, &group) == 0
      let user = user(id)
      let connection = Connection(number, peer: pid, user: user)
      if let refusal = refusal(isKnown, number, user, group) {
        log.write(.warning, "refused", [("pid", "\(pid)"), ("user", "\(id)"), ("error", refusal.name)])
        connection.reply(Reply(refusal))
        connection.flush()
        connection.close()
      }
      connections.append(connection)
    }
  }

  /// The error for a client that is not served; nil if it is served.
  private func refusal(_ isKnown: Bool, _ descriptor: Int32, _ user: ClientUser, _ group: UInt32) -> ControlError? {
    if !isKnown || !mayConnect(descriptor, user.id, group) { return .permissionDenied }
    if user.isTrusted { return nil }
    if user.connections > ClientUser.maxShare {
      return .hostFailure("this user already has \(ClientUser.maxShare) connections to the daemon")
    }
    if users.reduce(0, { $0 + ($1.isTrusted ? 0 : $1.connections) }) > ClientUser.maxConnections {
      return .hostFailure("the daemon has too many clients: try again later")
    }
    return nil
  }

  private func mayConnect(_ descriptor: Int32, _ user: UInt32, _ group: UInt32) -> Bool {
    if user == 0 || user == linux_geteuid() { return true }
    guard let allowed = options.group else { return false }
    return group == allowed || linux_peer_in_group(descriptor, allowed)
  }

  func disconnect(_ connection: Connection, because reason: String) {
    log.write(
      .warning, "client left",
      [("pid", "\(connection.peer)"), ("user", "\(connection.user.id)"), ("reason", reason)])
    connection.close()
  }

  /// Whether to delay reading, until the descriptors of its user are closed, or enough descriptors are free: if the
  /// table is full, the kernel closes received descriptors itself, on this thread.
  func isHeld(_ connection: Connection) -> Bool {
    guard !connection.user.isTrusted else { return false }
    return connection.user.isClosingTooMuch || descriptorsLeft < Int(LINUX_MOST_SENT)
  }

  /// A lower bound of the number of free descriptors.
  private var descriptorsLeft: Int {
    Int(descriptorLimit) - Self.uncounted - 2 * (connections.count + applets.count) - workerCalls.count
      - users.reduce(0) { $0 + $1.closer.pending }
  }

  /// The user with this ID.
  func user(_ id: UInt32) -> ClientUser {
    if let known = users.first(where: { $0.id == id }) { return known }
    let user = ClientUser(id, timeout: id == 0 || id == linux_geteuid() ? nil : options.clientTimeout)
    users.append(user)
    return user
  }
}
