import CLinux
import Control
import Platform

/// Where the daemon makes control groups for applets with limits that take one: below a group that is left to it
/// (cgroup v2; the kernel's Documentation/admin-guide/cgroup-v2.rst).
struct ControlGroups {
  /// Folder of the group below which they are made.
  let root: String
  /// Controllers that it can hand on: "memory cpu pids".
  private let controllers: [String]

  /// Those that there is a limit for. A group with processes refuses the first, and by the others would become one of threads.
  private static let known = ["memory", "cpu", "pids"]
  /// The daemon's own group: one with groups below it may have no processes (the kernel's "no internal process
  /// constraint"). systemd puts the daemon there by itself from version 254 on (DelegateSubgroup=).
  private static let ownName = "daemon"

  /// - Throws: ENOENT where there is no control group.
  init(_ root: String) throws(Errno) {
    self.root = root
    let there = try ControlGroup(path: root).words(of: "cgroup.controllers")
    controllers = Self.known.filter { there.contains($0) }
  }

  /// Those below the group that systemd has delegated to this process, as it says by an attribute of the group (systemd's
  /// docs/CGROUP_DELEGATION.md); nil where it has not.
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

  /// The first limit of these that takes a controller that is not there; nil where there is none.
  func missing(for limits: AppletLimits) -> String? {
    limits.ofControlGroups.first { !controllers.contains($0.controller) }?.limit
  }

  /// Makes an applet's group, without limits and without processes.
  func make(for name: String) throws(Errno) -> ControlGroup {
    try prepare()
    // No file of a group's own has a name like this.
    let group = ControlGroup(path: root + "/applet-" + name)
    group.remove()
    try group.make()
    return group
  }

  /// Hands the controllers on to the groups below, the first time that one is made.
  private func prepare() throws(Errno) {
    let top = ControlGroup(path: root)
    let enabled = try top.words(of: "cgroup.subtree_control")
    let missing = controllers.filter { !enabled.contains($0) }
    guard !missing.isEmpty else { return }
    if try top.words(of: "cgroup.procs").contains("\(linux_process_id())") {
      let own = ControlGroup(path: root + "/" + Self.ownName)
      try own.make()
      try own.add(linux_process_id())
    }
    for controller in missing { try top.write("cgroup.subtree_control", "+" + controller) }
  }
}

/// A control group of an applet's.
struct ControlGroup {
  let path: String

  /// Makes it, unless it is there.
  func make() throws(Errno) {
    let result = linux_make_folder(path, 0o755)
    if result != -Int(EEXIST) { _ = try checked(result) }
  }

  /// Removes it; the kernel keeps one that has processes.
  func remove() { _ = linux_remove_folder(path) }

  /// Sets those limits that are there.
  func set(_ limits: AppletLimits) throws(Errno) {
    if let bytes = limits.processMemory {
      // Where there is swap it must not take what the limit refuses. Old kernels lack the files.
      try? write("memory.swap.max", "0")
      try? write("memory.oom.group", "1")
      try write("memory.max", "\(bytes)")
    }
    // Microseconds in each tenth of a second.
    if let percent = limits.cpuPercent { try write("cpu.max", "\(percent * 1000) 100000") }
    if let threads = limits.threads { try write("pids.max", "\(threads)") }
  }

  /// Moves a process into it.
  func add(_ pid: Int32) throws(Errno) { try write("cgroup.procs", "\(pid)") }

  /// Opens what a process writes "0" to in order to be in it.
  func openProcesses() throws(Errno) -> OwnedFD {
    try OwnedFD(opening: path + "/cgroup.procs", flags: O_WRONLY, kernel: LinuxKernel())
  }

  /// Whether the kernel has killed a process of it for want of memory.
  var isOutOfMemory: Bool { count("oom_kill", in: "memory.events") > 0 }
  /// Whether it was refused a thread.
  var isOutOfThreads: Bool { count("max", in: "pids.events") > 0 }

  /// The number behind a word.
  private func count(_ name: String, in file: String) -> Int {
    guard let words = try? words(of: file), let at = words.firstIndex(of: name), at + 1 < words.count else { return 0 }
    return Int(words[at + 1]) ?? 0
  }

  func write(_ file: String, _ text: String) throws(Errno) {
    let target = try OwnedFD(opening: path + "/" + file, flags: O_WRONLY, kernel: LinuxKernel())
    var text = text
    _ = try checked(text.withUTF8 { linux_write(target.number, $0.baseAddress, $0.count) })
  }

  /// What a file of it says.
  func words(of file: String) throws(Errno) -> [String] {
    let contents = try FileContents(streaming: path + "/" + file, limit: 64 << 10, kernel: LinuxKernel())
    return contents.bytes.split { $0 == 0x20 || $0 == 0x0a }.map { String(decoding: $0, as: UTF8.self) }
  }
}

/// Control groups of the applets.
extension Daemon {
  /// - Throws: InvalidParameter for a limit that this daemon cannot set.
  func checkLimits(_ limits: AppletLimits) throws(ControlError) {
    guard let groups else {
      if let first = limits.ofControlGroups.first { throw .invalidParameter(first.limit) }
      return
    }
    if let missing = groups.missing(for: limits) { throw .invalidParameter(missing) }
  }

  /// Makes the group that an applet's limits take, before its process is made; none where they take none.
  func makeGroup(for applet: AppletEntry) throws(ControlError) {
    let limits = applet.configuration.request.limits
    try checkLimits(limits)
    guard let groups, !limits.ofControlGroups.isEmpty else { return }
    do throws(Errno) {
      let group = try groups.make(for: applet.name)
      applet.group = group
      try group.set(limits)
    } catch { throw groupFailure(error) }
  }

  /// Changes limits of an applet that runs; its process moves to a group where it has been in none.
  func setGroupLimits(_ limits: AppletLimits, of applet: AppletEntry) throws(ControlError) {
    guard !limits.ofControlGroups.isEmpty else { return }
    try checkLimits(limits)
    do throws(Errno) {
      if let group = applet.group { return try group.set(limits) }
      guard let groups, let process = applet.process else { return }
      let group = try groups.make(for: applet.name)
      applet.group = group
      try group.add(process.pid)
      try group.set(limits)
    } catch { throw groupFailure(error) }
  }

  private func groupFailure(_ error: Errno) -> ControlError {
    .hostFailure(
      "no control group can be made or set below \(groups?.root ?? ""): \(error.description)"
        + ([Errno(EBUSY), .notSupported].contains(error) ? ": processes other than the daemon are in it" : ""))
  }

  /// Removes an applet's group once its process has ended.
  func removeGroup(of applet: AppletEntry) {
    applet.group?.remove()
    applet.group = nil
  }
}
