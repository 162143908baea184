import CLinux
import Control
import JSON
import Platform

/// An applet's files: what outlives the daemon, and its successor takes over from.
///
///     configuration   what the worker was told
///     process         its process id, and when that process began
///     console         what the applet has written
///     input           a FIFO, where the applet takes input
///     requests        the worker's listening socket
///     end             how the last run ended
///     values          what it keeps in KV
///     stopping        until when a process that was asked to stop has time, where the daemon reloads meanwhile
struct AppletFolder {
  let path: String

  init(state: String, name: String) { path = state + "/" + name }

  private static let files = ["configuration", "process", "console", "input", "requests", "end", "values"]

  /// Bytes that a record has at most: a call's, and what the daemon adds.
  private static let longestRecord = 4 << 20

  /// Path of a file in it.
  func file(_ name: String) -> String { path + "/" + name }

  /// Makes the folder; what a daemon before has left half-made goes first.
  func make() throws(Errno) {
    guard linux_make_folder(path, 0o700) == -Int(EEXIST) else { return }
    remove()
    _ = try checked(linux_make_folder(path, 0o700))
  }

  /// Removes the folder and what is in it.
  func remove() {
    for name in Self.files { _ = linux_unlink(file(name)) }
    guard linux_remove_folder(path) == -Int(ENOTEMPTY) else { return }
    // What a daemon left that was killed amid a change.
    for name in Self.names(in: path) { _ = linux_unlink(file(name)) }
    _ = linux_remove_folder(path)
  }

  private final class Names { var list: [String] = [] }

  /// What is in a folder.
  static func names(in path: String) -> [String] {
    let names = Names()
    let context = Unmanaged.passUnretained(names)
    // The list outlives the call.
    _ = linux_list(
      path,
      { name, context in
        if let name, let context {
          Unmanaged<Names>.fromOpaque(context).takeUnretainedValue().list.append(String(cString: name))
        }
      }, context.toOpaque())
    return names.list
  }

  /// Opens one of the files, or makes it.
  func open(_ name: String, _ flags: Int32) throws(Errno) -> OwnedFD {
    let number = try checked(linux_open(file(name), flags | O_CLOEXEC | O_NOFOLLOW, 0o600))
    return OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: LinuxKernel())
  }

  /// Writes to the applet's input.
  /// - Returns: bytes that it takes now; 0, too, where its process is gone, which the daemon will hear of next.
  func feed(_ bytes: [UInt8]) throws(Errno) -> Int {
    do throws(Errno) {
      let target = try open("input", O_WRONLY | O_NONBLOCK)
      return try checked(bytes.withUnsafeBytes { linux_write(target.number, $0.baseAddress, $0.count) })
    } catch {
      guard error == Errno(EAGAIN) || error == Errno(ENXIO) || error == Errno(EPIPE) else { throw error }
      return 0
    }
  }

  /// Puts a record in place of the old one, as a whole or not at all.
  func write(_ name: String, _ value: JSONValue) throws(Errno) {
    let new = name + ".new"
    do throws(Errno) {
      let target = try open(new, O_WRONLY | O_CREAT | O_TRUNC)
      var bytes = value.encoded ?? []
      bytes.append(0x0a)
      var rest = bytes[...]
      while !rest.isEmpty {
        let result = rest.withUnsafeBytes { linux_write(target.number, $0.baseAddress, $0.count) }
        rest = rest.dropFirst(try checked(result))
      }
      _ = try checked(linux_rename(file(new), file(name)))
    } catch {
      _ = linux_unlink(file(new))
      throw error
    }
  }

  /// Reads a record.
  /// - Throws: the kernel's error: ENOENT where there is none; EBADMSG where what is there is none.
  func record(_ name: String) throws(Errno) -> JSONValue {
    let source = try open(name, O_RDONLY)
    var bytes: [UInt8] = []
    var room = [UInt8](repeating: 0, count: 4096)
    while bytes.count < Self.longestRecord {
      let result = room.withUnsafeMutableBytes { linux_read(source.number, $0.baseAddress, $0.count) }
      if result == -Int(EINTR) { continue }
      let count = try checked(result)
      if count == 0 { break }
      bytes += room[..<count]
    }
    guard let value = bytes.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }) else {
      throw Errno(EBADMSG)
    }
    return value
  }

  /// Reads a record; nil where there is none that can be read.
  func read(_ name: String) -> JSONValue? { try? record(name) }
}

/// A process by its id and the moment of its beginning, which together no other process ever has.
struct ProcessIdentity: Equatable {
  let pid: Int32
  /// Clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
  let began: Int64

  /// Whether it runs still, and does not wait to be reaped.
  /// - Throws: the kernel's error where nobody can tell.
  func isRunning() throws(Errno) -> Bool {
    guard let (state, began) = try Self.read(pid) else { return false }
    return state != 0x5a && state != 0x58 && began == self.began
  }

  init(pid: Int32, began: Int64) {
    self.pid = pid
    self.began = began
  }

  /// The letter of a process's state, and its beginning; nil where there is no such process.
  private static func read(_ pid: Int32) throws(Errno) -> (state: UInt8, began: Int64)? {
    let bytes: [UInt8]
    do throws(Errno) {
      bytes = try FileContents(streaming: "/proc/\(pid)/stat", limit: 4096, kernel: LinuxKernel()).array
    } catch {
      // The second where it ends amid this.
      if error == Errno(ENOENT) || error == Errno(ESRCH) { return nil }
      throw error
    }
    // The second field, a name in parentheses, may hold anything.
    guard let name = bytes.lastIndex(of: 0x29) else { return nil }
    let fields = bytes[(name + 1)...].split(separator: 0x20)
    guard fields.count > 19, let state = fields[0].first,
      let began = Int64(String(decoding: fields[19], as: UTF8.self))
    else { return nil }
    return (state, began)
  }

  /// Reads what the process itself has written (linux_spawn), or `json`.
  init?(_ record: JSONValue) {
    guard case .integer(let pid)? = record["pid"], case .integer(let began)? = record["began"],
      let pid = Int32(exactly: pid), pid > 0
    else { return nil }
    self.pid = pid
    self.began = began
  }

  var json: JSONValue {
    .object([JSONMember("pid", .integer(Int64(pid))), JSONMember("began", .integer(began))])
  }

  /// Bytes of memory that the process has in use.
  static func resident(_ pid: Int32) -> Int64? {
    guard let file = try? FileContents(streaming: "/proc/\(pid)/statm", limit: 4096, kernel: LinuxKernel()) else {
      return nil
    }
    let fields = file.bytes.split(separator: 0x20)
    guard fields.count > 1, let pages = Int64(String(decoding: fields[1], as: UTF8.self)) else { return nil }
    return pages * Int64(linux_page_size())
  }
}
