import CLinux
import Control
import Launch
import Platform

/// Creates control groups for applets whose limits need one, in a group that is delegated to the daemon (cgroup v2; the
/// kernel's Documentation/admin-guide/cgroup-v2.rst).
struct ControlGroups {
  /// Directory of the group in which they are created.
  let root: String
  /// The controllers that can be enabled for them: "memory cpu pids".
  private let controllers: [String]

  /// Controllers that limits use. If a group has processes, the kernel rejects the first one for its children, and
  /// makes the group threaded for the others (cgroup.type).
  private static let known = ["memory", "cpu", "pids"]
  /// The daemon's own group, since a group with children must not have processes (the kernel's "no internal process
  /// constraint"). systemd creates it since version 254 (DelegateSubgroup=).
  private static let ownName = "daemon"

  /// - Throws: ENOENT if it is not a control group.
  init(_ root: String) throws(Errno) {
    self.root = root
    let there = try ControlGroup(path: root).words(of: "cgroup.controllers")
    controllers = Self.known.filter { there.contains($0) }
  }

  /// Those in the group that systemd has delegated to this process, as an attribute of the group says (systemd's
  /// docs/CGROUP_DELEGATION.md); nil if there is none.
  static func delegated() -> ControlGroups? {
    // The line of cgroup v2 is "0::/system.slice/swiftlet.service" (cgroups(7)).
    guard let words = try? ControlGroup(path: "/proc/self").words(of: "cgroup"),
      let line = words.first(where: { $0.hasPrefix("0::/") })
    else { return nil }
    let own = "/sys/fs/cgroup" + line.dropFirst(3)
    if linux_is_delegated(own) { return try? ControlGroups(own) }
    guard own.hasSuffix("/" + ownName) else { return nil }
    let above = String(own.dropLast(ownName.utf8.count + 1))
    return linux_is_delegated(above) ? try? ControlGroups(above) : nil
  }

  /// The first of these limits whose controller is not available; nil if all are.
  func missing(for limits: GuestLimits) -> String? {
    limits.ofControlGroups.first { !controllers.contains($0.controller) }?.limit
  }

  /// Creates an applet's group, without limits and processes.
  func make(for name: String) throws(Errno) -> ControlGroup {
    try prepare()
    // No file of cgroup v2 has a name like this.
    let group = ControlGroup(path: root + "/applet-" + name)
    group.remove()
    try group.make()
    return group
  }

  /// Moves this process out of the group, into one of its own below it. What it starts from then on is not in the group either.
  func leave() throws(Errno) {
    guard try ControlGroup(path: root).words(of: "cgroup.procs").contains("\(linux_getpid())") else { return }
    let own = ControlGroup(path: root + "/" + Self.ownName)
    try own.make()
    try own.add(linux_getpid())
  }

  /// Enables the controllers for child groups, when the first one is created.
  private func prepare() throws(Errno) {
    let top = ControlGroup(path: root)
    let enabled = try top.words(of: "cgroup.subtree_control")
    let missing = controllers.filter { !enabled.contains($0) }
    guard !missing.isEmpty else { return }
    try leave()
    for controller in missing { try top.write("cgroup.subtree_control", "+" + controller) }
  }
}

/// The control group of an applet.
struct ControlGroup {
  let path: String

  /// Creates it, unless it exists.
  func make() throws(Errno) {
    let result = linux_mkdir(path, 0o755)
    if result != -Int(EEXIST) { _ = try checked(result) }
  }

  /// Removes it, unless it has processes.
  func remove() { _ = linux_rmdir(path) }

  /// Sets the limits that are not nil.
  func set(_ limits: GuestLimits) throws(Errno) {
    if let bytes = limits.processMemory {
      // Swap must not be used in excess of the limit. Old kernels lack the files.
      try? write("memory.swap.max", "0")
      try? write("memory.oom.group", "1")
      try write("memory.max", "\(bytes)")
    }
    // Microseconds in each period of 100 ms.
    if let percent = limits.cpuPercent { try write("cpu.max", "\(percent * 1000) 100000") }
    if let threads = limits.threads { try write("pids.max", "\(threads)") }
  }

  /// Moves a process into it.
  func add(_ pid: Int32) throws(Errno) { try write("cgroup.procs", "\(pid)") }

  /// Opens the file to which a process writes "0" to join the group.
  func openProcesses() throws(Errno) -> OwnedFD {
    try OwnedFD(opening: path + "/cgroup.procs", flags: O_WRONLY, kernel: LinuxKernel())
  }

  /// Bytes of memory in use; nil if it is not known.
  var memoryUsed: Int64? { (try? words(of: "memory.current"))?.first.flatMap { Int64($0) } }
  /// Whether the kernel has killed one of its processes because of its memory limit.
  var isOutOfMemory: Bool { count("oom_kill", in: "memory.events") > 0 }
  /// Whether the creation of a thread was rejected.
  var isOutOfThreads: Bool { count("max", in: "pids.events") > 0 }

  /// The number after a key.
  private func count(_ name: String, in file: String) -> Int {
    guard let words = try? words(of: file), let at = words.firstIndex(of: name), at + 1 < words.count else { return 0 }
    return Int(words[at + 1]) ?? 0
  }

  func write(_ file: String, _ text: String) throws(Errno) {
    let target = try OwnedFD(opening: path + "/" + file, flags: O_WRONLY, kernel: LinuxKernel())
    var text = text
    _ = try checked(text.withUTF8 { linux_write(target.number, $0.baseAddress, $0.count) })
  }

  /// The words in one of its files.
  func words(of file: String) throws(Errno) -> [String] {
    let contents = try FileContents(streaming: path + "/" + file, limit: 64 << 10, kernel: LinuxKernel())
    return contents.bytes.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }.map {
      String(decoding: $0, as: UTF8.self)
    }
  }
}

/// What this host offers a daemon for limits by control groups.
public enum ControlGroupSupport: Equatable, Sendable {
  /// Control groups of version 2 are not mounted.
  case unmounted
  /// They are mounted, but no group is delegated to the daemon.
  case mounted
  /// The directory of the group that is delegated: to this process, or to the system's unit.
  case delegated(String)

  /// Where they are mounted.
  private static let root = "/sys/fs/cgroup"

  /// The support of this host.
  public static func find() -> ControlGroupSupport {
    guard (try? ControlGroup(path: root).words(of: "cgroup.controllers")) != nil else { return .unmounted }
    if let own = ControlGroups.delegated() { return .delegated(own.root) }
    let unit = root + "/system.slice/swiftlet.service"
    return linux_is_delegated(unit) ? .delegated(unit) : .mounted
  }

  /// Whether the kernel has the controller of memory.
  public static var hasMemoryController: Bool {
    (try? ControlGroup(path: root).words(of: "cgroup.controllers"))?.contains("memory") ?? false
  }
}

/// Control groups of the applets.
extension Daemon {
  /// - Throws: InvalidParameter for a limit that this daemon cannot set.
  func checkLimits(_ limits: GuestLimits) throws(ControlError) {
    guard let groups else {
      if let first = limits.ofControlGroups.first { throw .invalidParameter(first.limit) }
      return
    }
    if let missing = groups.missing(for: limits) { throw .invalidParameter(missing) }
  }

  /// Creates the group that an applet's limits need, before its process is created.
  func makeGroup(for configuration: inout WorkerConfiguration) throws(ControlError) {
    let limits = configuration.request.guest.limits
    try checkLimits(limits)
    guard let groups, !limits.ofControlGroups.isEmpty else { return }
    do throws(Errno) {
      let group = try groups.make(for: configuration.name)
      configuration.controlGroup = group.path
      try group.set(limits)
    } catch { throw groupFailure(error) }
  }

  /// Changes limits of a running applet. Its process moves to a group if it was in none.
  func setGroupLimits(_ limits: GuestLimits, of applet: AppletEntry) throws(ControlError) {
    guard !limits.ofControlGroups.isEmpty else { return }
    try checkLimits(limits)
    // The kernel would reclaim memory, and kill, until the limit holds: write(2) would wait for it.
    if let limit = limits.processMemory, let used = applet.configuration.cgroup?.memoryUsed, used > limit {
      throw .hostFailure("\(applet.name) uses \(used) bytes already: give a higher limit, or stop it first")
    }
    do throws(Errno) {
      if let group = applet.configuration.cgroup { return try group.set(limits) }
      guard let groups, let process = applet.phase.process else { return }
      let group = try groups.make(for: applet.name)
      do throws(Errno) { try group.add(process.pid) } catch {
        group.remove()
        throw error
      }
      applet.configuration.controlGroup = group.path
      try group.set(limits)
    } catch { throw groupFailure(error) }
  }

  private func groupFailure(_ error: Errno) -> ControlError {
    .hostFailure(
      "cannot create or change a control group in \(groups?.root ?? ""): \(error.description)"
        + ([Errno(EBUSY), .notSupported].contains(error) ? ": other processes than the daemon are in it" : ""))
  }

  /// Removes an applet's group when its process has ended.
  func removeGroup(of configuration: inout WorkerConfiguration) {
    configuration.cgroup?.remove()
    configuration.controlGroup = nil
  }
}
