import CLinux
import Control
import JSON
import Launch
import Platform

/// A file that declares an applet: DIRECTORY/NAME.json, with the parameters of `Start`.
struct AppletFile {
  /// The applet's name.
  let name: String
  /// The path as it was given, for messages.
  let path: String
  /// The absolute path of its directory, without symbolic links.
  let directory: String

  private static let suffix = ".json"

  /// - Throws: `Failure.failed` for a name that no applet can have.
  init(_ path: String, in directory: String) throws(Failure) {
    let file = path.utf8.lastIndex(of: UInt8(ascii: "/")).map { path[path.index(after: $0)...] } ?? path[...]
    let name = String(file.dropLast(Self.suffix.count))
    guard Self.isOne(String(file)), AppletName.isValid(name) else {
      throw .failed(
        .refused, "\(path): the file's name must be the applet's, 1 to 64 letters, digits, '-', '_' and '.', and .json")
    }
    self.name = name
    self.path = path
    self.directory = directory
  }

  /// Whether a file of this name is taken from a directory.
  static func isOne(_ file: String) -> Bool { file.hasSuffix(suffix) && file.utf8.first != UInt8(ascii: ".") }

  /// The members of a file.
  static let members = [
    "$schema", "name", "image", "digest", "arguments", "services", "rpc_limit", "secure", "memory", "layout", "clint",
    "cpus", "copies", "parallel", "input", "restart", "limits", "debug", "remove",
  ]
  static let restartMembers = ["policy", "limit", "delay"]
  static let limitMembers = ["deadline", "cpu_budget", "call_budget", "process_memory", "cpu_percent", "threads"]
  static let serviceMembers = ["name", "address"]

  /// Reads and checks the file.
  /// - Throws: `Failure.failed` with path, line and column.
  func request() throws(Failure) -> StartRequest {
    let contents: FileContents
    do { contents = try FileContents(path: path, limit: MessageBuffer.limit, kernel: LinuxKernel()) } catch {
      throw .failed(.unreadable, "\(path): \(error.description)")
    }
    let value: JSONValue
    do { value = try JSONValue.parse(file: contents.bytes) } catch {
      throw .failed(.refused, "\(path):\(error.line):\(error.column): \(error.reason.printable())")
    }
    func wrong(_ member: String, _ reason: String) -> Failure {
      let place = JSONValue.position(of: member, in: contents.bytes).map { "\($0.line):\($0.column)" } ?? "1:1"
      return .failed(.refused, "\(path):\(place): \"\(member.printable())\" \(reason)")
    }
    guard case .object(let members) = value else { throw .failed(.refused, "\(path):1:1: must be an object") }
    func check(_ value: JSONValue, _ known: [String], in parent: String?) throws(Failure) {
      guard case .object(let members) = value else { return }
      for member in members where !known.contains(member.name) {
        throw wrong(member.name, "is not known\(parent.map { " in \"\($0)\"" } ?? ""): there are \(Self.list(known))")
      }
    }
    try check(value, Self.members, in: nil)
    if let restart = value["restart"] { try check(restart, Self.restartMembers, in: "restart") }
    if let limits = value["limits"] { try check(limits, Self.limitMembers, in: "limits") }
    for service in value.list("services") { try check(service, Self.serviceMembers, in: "services") }
    guard value["image"] != nil else { throw wrong("image", "is missing: give the path of the applet's ELF file") }
    if let given = value["name"], given != .string(name) {
      throw wrong("name", "must be \"\(name)\", as the file's name says, or missing")
    }
    var parameters = [JSONMember("name", .string(name))]
    for member in members where member.name != "$schema" && member.name != "name" {
      if member.name == "image", case .string(let image) = member.value, image.utf8.first != UInt8(ascii: "/") {
        parameters.append(JSONMember("image", .string(directory + "/" + image)))
      } else {
        parameters.append(member)
      }
    }
    do { return try StartRequest(.object(parameters)) } catch {
      guard case .invalidParameter(let member) = error else {
        throw .failed(.refused, "\(path): \(Reply(error).errorText ?? "")")
      }
      throw wrong(member, "must be \(Self.expected(member))")
    }
  }

  private static func list(_ names: [String]) -> String { names.joined(separator: ", ") }

  /// What a member must be.
  private static func expected(_ member: String) -> String {
    func range(_ unit: String, _ field: GuestField, _ kind: GuestKind = .applet) -> String {
      let range = field.range(for: kind)
      return "a number of \(unit) from \(range.lowerBound) to \(range.upperBound)"
    }
    return switch member {
    case "image": "the path of an ELF file"
    case "digest": "\"sha256:\" and the 64 digits that sha256sum prints"
    case "arguments": "an array of strings"
    case "services": "an array of objects with \"name\", without a dot, and \"address\", as in \"unix:/run/led\""
    case "rpc_limit": range("bytes", .rpcLimit)
    case "memory": range("bytes", .memory)
    case "layout": "\"compact\" or \"contiguous\", and is for applets, not for programs in system mode"
    case "clint": "true or false, and is for applets, not for programs in system mode"
    case "cpus": range("CPUs", .cpus, .program) + "; more than one need \"secure\": false"
    case "copies": range("copies", .copies) + ", and is for applets, not for programs in system mode"
    case "parallel": "true or false, and needs \"copies\""
    case "secure", "input", "debug", "remove": "true or false"
    case "restart": "an object with \"policy\", \"limit\" and \"delay\""
    case "policy": "\"no\", \"on_failure\" or \"always\""
    case "limit": "a number of restarts up to 1000000, or 0 for no limit"
    case "delay": "a number of milliseconds from 1 to \(RestartPolicy.maxDelay)"
    case "limits": "an object with limits: \(list(limitMembers))"
    case "deadline", "cpu_budget", "call_budget":
      "a number of milliseconds from 1 to \(GuestField.deadline.range(for: .applet).upperBound / 1_000_000)"
    case "process_memory": range("bytes", .processMemory)
    case "cpu_percent": range("percent", .cpuPercent)
    case "threads": range("threads", .threads)
    default: "another value"
    }
  }
}

/// The files that are given to a command, and those in the directories that are given.
struct AppletFiles {
  private(set) var files: [AppletFile] = []
  /// The directories that were read, as absolute paths without symbolic links.
  private(set) var directories: [String] = []

  /// Adds a file, or those of a directory in the order of their names.
  /// - Parameter complain: called for each file that is left out.
  /// - Throws: `Failure.failed(.unreadable)` if it cannot be found or read.
  mutating func add(_ path: String, _ complain: (Failure) -> Void) throws(Failure) {
    let found: [String]
    do { found = try directoryNames(path) } catch {
      guard error == Errno(ENOTDIR) else { throw .failed(.unreadable, "\(path): \(error.description)") }
      // The file may be a symbolic link to one elsewhere.
      return add([path], in: try Self.realPath(Self.parent(of: path)), complain)
    }
    let real = try Self.realPath(path)
    directories.append(real)
    let files = found.filter { AppletFile.isOne($0) }.map { path + (path.hasSuffix("/") ? "" : "/") + $0 }
    add(files.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }, in: real, complain)
  }

  /// Adds a directory that does not exist, and so declares nothing.
  mutating func addMissing(_ directory: String) {
    var bytes = Array(directory.utf8)
    while bytes.count > 1, bytes.last == UInt8(ascii: "/") { bytes.removeLast() }
    let path = String(decoding: bytes, as: UTF8.self)
    let name = bytes[((bytes.lastIndex(of: UInt8(ascii: "/")) ?? -1) + 1)...]
    guard let parent = try? Self.realPath(Self.parent(of: path)) else { return directories.append(path) }
    directories.append((parent == "/" ? "" : parent) + "/" + String(decoding: name, as: UTF8.self))
  }

  /// The directory of a file, as its path has it.
  private static func parent(of path: String) -> String {
    guard let end = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return end == path.startIndex ? "/" : String(path[..<end])
  }

  private mutating func add(_ paths: [String], in directory: String, _ complain: (Failure) -> Void) {
    for path in paths {
      do throws(Failure) {
        let file = try AppletFile(path, in: directory)
        if let other = files.first(where: { $0.name == file.name }) {
          // The same file, if a directory is given with one of its files.
          if other.directory == directory { continue }
          throw .failed(.refused, "\(path): \(file.name) is declared by \(other.path), too")
        }
        files.append(file)
      } catch { complain(error) }
    }
  }

  private static func realPath(_ path: String) throws(Failure) -> String {
    var error: Int32 = 0
    guard let real = linux_real_path(path, &error).map({ String(cString: $0) }) else {
      throw .failed(.unreadable, "\(path): \(Errno(error).description)")
    }
    return real
  }
}
