import CLinux
import Control
import JSON
import Platform

/// The directory of an applet: its files, which outlive the daemon and from which the next one takes over.
///
///     configuration   the configuration of the worker
///     process         process ID and start time of its process
///     console         the output of the applet
///     times           when parts of it were written
///     input           the FIFO of its input
///     image           a copy of its image, as long as it is to be restarted
///     requests        the worker's listening socket
///     end             how the last run ended; locked while its process exists
///     values          the values of KV
///     stopping        the time limit of a stop, if the daemon reloads meanwhile
struct AppletDirectory {
  let path: String

  init(state: String, name: String) { path = state + "/" + name }

  private static let files = [
    "configuration", "process", "console", "times", "input", "requests", "end", "values", "image",
  ]

  /// Maximum size of a record, in bytes: that of a call and the daemon's additions.
  private static let maxRecordSize = 4 << 20
  /// Maximum size of the record that a worker writes, which may be compromised: parsed values take about thirty times
  /// as much memory as their text.
  static let maxEndSize = 256 << 10

  /// The path of a file in it.
  func file(_ name: String) -> String { path + "/" + name }

  /// Creates the directory, after removing what an earlier daemon left incomplete.
  func make() throws(Errno) {
    guard linux_mkdir(path, 0o700) == -Int(EEXIST) else { return }
    remove()
    _ = try checked(linux_mkdir(path, 0o700))
  }

  /// Removes the directory and its files.
  func remove() {
    for name in Self.files { _ = linux_unlink(file(name)) }
    let result = linux_rmdir(path)
    // It is a link, made by a daemon that took over from another state directory (Daemon.adopt).
    if result == -Int(ENOTDIR) { _ = linux_unlink(path) }
    guard result == -Int(ENOTEMPTY) else { return }
    // Temporary files of a daemon that was killed during a change.
    for name in Self.names(in: path) { _ = linux_unlink(file(name)) }
    _ = linux_rmdir(path)
  }

  /// The names in a directory; none if it cannot be read.
  static func names(in path: String) -> [String] { (try? directoryNames(path)) ?? [] }

  /// The size of the copied image so far, and whether it is complete; nil if there is no copy.
  var image: (bytes: Int64, isWhole: Bool)? {
    var bytes: Int64 = 0
    switch linux_kept_image(file("image"), &bytes) {
    case 0: return (bytes, true)
    case -Int(EBUSY): return (bytes, false)
    default: return nil
    }
  }

  /// Whether a process holds the lock that each run has on the file of its end.
  func isLocked() throws(Errno) -> Bool {
    let file: OwnedFD
    do throws(Errno) { file = try open("end", O_RDONLY) } catch {
      // The file is only missing if the applet was removed.
      if error == Errno.noEntry { return false }
      throw error
    }
    let result = linux_flock(file.number, 1)
    if result == -Int(EAGAIN) { return true }
    _ = try checked(result)
    return false
  }

  /// Whether one of the files is empty or missing.
  func isEmpty(_ name: String) -> Bool {
    do throws(Errno) { return linux_size(try open(name, O_RDONLY | O_NONBLOCK).number) == 0 } catch {
      return error == Errno.noEntry
    }
  }

  /// Opens or creates one of the files.
  func open(_ name: String, _ flags: Int32) throws(Errno) -> OwnedFD {
    let number = try checked(linux_open(file(name), flags | O_CLOEXEC | O_NOFOLLOW, 0o600))
    return OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: LinuxKernel())
  }

  /// Writes to the applet's input.
  /// - Returns: the number of bytes written, which is 0 if the FIFO is full or its process has ended; the daemon learns
  ///   of the end separately.
  func writeInput(_ bytes: [UInt8]) throws(Errno) -> Int {
    do throws(Errno) {
      let target = try open("input", O_WRONLY | O_NONBLOCK)
      return try checked(bytes.withUnsafeBytes { linux_write(target.number, $0.baseAddress, $0.count) })
    } catch {
      guard error == Errno(EAGAIN) || error == Errno(ENXIO) || error == Errno(EPIPE) else { throw error }
      return 0
    }
  }

  /// Replaces a record atomically.
  func write(_ name: String, _ value: JSONValue) throws(Errno) {
    var bytes = value.encoded ?? []
    bytes.append(0x0a)
    _ = try checked(linux_replace_file(file(name), bytes, bytes.count))
  }

  /// Reads a record.
  /// - Throws: the kernel's error: ENOENT if there is no record, or a power failure has left a new one empty; EBADMSG if it is not
  ///   valid.
  func record(_ name: String) throws(Errno) -> JSONValue {
    let limit = name == "end" ? Self.maxEndSize : Self.maxRecordSize
    let source = try open(name, O_RDONLY)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
      let result = buffer.withUnsafeMutableBytes { linux_read(source.number, $0.baseAddress, $0.count) }
      if result == -Int(EINTR) { continue }
      let count = try checked(result)
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    if bytes.isEmpty { throw .noEntry }
    guard let value = bytes.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }) else {
      throw Errno(EBADMSG)
    }
    return value
  }

  /// Reads a record; nil if there is none, or it cannot be read.
  func read(_ name: String) -> JSONValue? { try? record(name) }
}

/// A process by its ID and start time, which together are unique during one boot.
struct ProcessIdentity: Equatable {
  let pid: Int32
  /// Clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
  let began: Int64
  /// Whether it holds a lock on its applet's file `end` while it exists (flock(2)). Processes of older daemons do not.
  var isLocked = true

  /// Whether it still runs and is not a zombie. This uses kill(2), not only /proc, which may hide it (hidepid).
  /// - Throws: the kernel's error if this cannot be determined.
  func isRunning(in directory: AppletDirectory) throws(Errno) -> Bool {
    if isLocked { return try directory.isLocked() }
    var (state, began): (CChar, Int64) = (0, 0)
    let result = linux_process_stat(pid, &state, &began)
    if result < 0 {
      // Reading /proc returns ESRCH if the process ends at that moment.
      if linux_kill(pid, 0) == -Int(ESRCH) { return false }
      if result == -Int(ENOENT) || result == -Int(ESRCH) { return true }
    }
    _ = try checked(result)
    let letter = UInt8(bitPattern: state)
    return letter != UInt8(ascii: "Z") && letter != UInt8(ascii: "X") && began == self.began
  }

  init(pid: Int32, began: Int64) {
    self.pid = pid
    self.began = began
  }

  /// Reads the record that the process itself has written (linux_spawn), or `json`.
  init?(_ record: JSONValue) {
    guard case .integer(let pid)? = record["pid"], case .integer(let began)? = record["began"],
      let pid = Int32(exactly: pid), pid > 0
    else { return nil }
    self.pid = pid
    self.began = began
    isLocked = record["locked"] == .bool(true)
  }

  var json: JSONValue {
    .object([
      JSONMember("pid", .integer(Int64(pid))), JSONMember("began", .integer(began)),
      JSONMember("locked", .bool(isLocked)),
    ])
  }

  /// The resident memory of the process, in bytes.
  static func resident(_ pid: Int32) -> Int64? {
    guard let file = try? FileContents(streaming: "/proc/\(pid)/statm", limit: 4096, kernel: LinuxKernel()) else {
      return nil
    }
    let fields = file.bytes.split(separator: UInt8(ascii: " "))
    guard fields.count > 1, let pages = Int64(String(decoding: fields[1], as: UTF8.self)) else { return nil }
    return pages * Int64(linux_page_size())
  }
}
