import CLinux
import Foundation
import JSON
import Platform
import Testing

@testable import Supervisor

@Suite("A client's descriptors")
struct ConnectionTests {
  /// A client's end, and the daemon's.
  private func pair() throws -> (client: Int32, connection: Connection) {
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    return (ends[0], Connection(ends[1], peer: 0, user: ClientUser(1, timeout: 1_000_000_000)))
  }

  private func send(_ client: Int32, _ text: String, _ descriptor: Int32 = -1) {
    let bytes = Array(text.utf8)
    #expect(linux_sendmsg(client, bytes, bytes.count, descriptor) == bytes.count)
  }

  private func message(_ method: String, padding: Int = 0) -> String {
    "{\"method\":\"a.\(method)\",\"parameters\":{\"x\":\"\(String(repeating: "x", count: padding))\"}}\0"
  }

  /// Receives available data, and takes the calls: the method of each, and the inodes of its files.
  private func calls(_ connection: Connection) -> [String] {
    var taken: [String] = []
    for _ in 0..<8 {
      connection.receive()
      while let call = connection.nextCall() {
        taken.append(call.method + connection.descriptors.map { ":\(inode($0.number))" }.joined())
        connection.descriptors = []
      }
    }
    return taken
  }

  private func inode(_ descriptor: Int32) -> UInt64 {
    var status = stat()
    fstat(descriptor, &status)
    return UInt64(status.st_ino)
  }

  @Test("belong only to the call with which they were sent")
  func owners() throws {
    let (client, connection) = try pair()
    let files = [open("/dev/null", O_RDONLY), open("/dev/zero", O_RDONLY)]
    defer { for number in files + [client] { close(number) } }
    // After a call without descriptors, with a call that expects none, alone, and with two calls in sequence.
    send(client, message("none"))
    send(client, message("first"), files[0])
    send(client, message("none"))
    send(client, message("second"), files[1])
    send(client, message("third"), files[0])
    send(client, message("none"))
    #expect(
      calls(connection) == [
        "a.none", "a.first:\(inode(files[0]))", "a.none", "a.second:\(inode(files[1]))", "a.third:\(inode(files[0]))",
        "a.none",
      ])
  }

  @Test("arrive with the first part of a long call, and are at most four")
  func parts() throws {
    let (client, connection) = try pair()
    let file = open("/dev/null", O_RDONLY)
    defer { for number in [file, client] { close(number) } }
    let long = message("long", padding: 100_000)
    send(client, String(long.prefix(20_000)), file)
    #expect(calls(connection) == [])
    send(client, String(long.dropFirst(20_000)))
    send(client, message("none"))
    #expect(calls(connection) == ["a.long:\(inode(file))", "a.none"])
    let many = message("many")
    for character in many.prefix(8) {
      send(client, String(character), file)
      #expect(calls(connection) == [])
    }
    send(client, String(many.dropFirst(8)))
    #expect(calls(connection) == ["a.many" + String(repeating: ":\(inode(file))", count: Connection.maxDescriptors)])
  }
}

@Suite("An applet's files")
struct AppletDirectoryTests {
  private func withDirectory(_ body: (AppletDirectory) throws -> Void) throws {
    let state = FileManager.default.temporaryDirectory.appending(path: "swiftlet-state-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: state) }
    try body(AppletDirectory(state: state, name: "one"))
  }

  @Test("are removed with temporary files of an interrupted change")
  func incompleteWrite() throws {
    try withDirectory { directory in
      try directory.make()
      try directory.write("configuration", .object([]))
      for name in ["configuration.new", "process.new", "stopping"] {
        #expect(FileManager.default.createFile(atPath: directory.file(name), contents: nil))
      }
      // A Start with this name.
      try directory.make()
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [])
      directory.remove()
      #expect(!FileManager.default.fileExists(atPath: directory.path))
    }
  }

  /// On a file system that has not written a new file when the power fails.
  @Test("are missing if they are empty")
  func emptyRecord() throws {
    try withDirectory { directory in
      try directory.make()
      #expect(FileManager.default.createFile(atPath: directory.file("configuration"), contents: nil))
      #expect(throws: Errno.noEntry) { try directory.record("configuration") }
    }
  }

  @Test("are distinguished from missing and unreadable ones")
  func records() throws {
    try withDirectory { directory in
      try directory.make()
      #expect(throws: Errno(ENOENT)) { try directory.record("end") }
      try FileManager.default.createDirectory(atPath: directory.file("end"), withIntermediateDirectories: false)
      #expect(throws: Errno(EISDIR)) { try directory.record("end") }
      #expect(FileManager.default.createFile(atPath: directory.file("process"), contents: Data("{\"pid\"".utf8)))
      #expect(throws: Errno(EBADMSG)) { try directory.record("process") }
      #expect(directory.read("process") == nil)
      try directory.write("process", .integer(3))
      #expect(try directory.record("process") == .integer(3))
    }
  }

  @Test("accept input while there is a reader")
  func input() throws {
    signal(SIGPIPE, SIG_IGN)
    try withDirectory { directory in
      try directory.make()
      #expect(throws: Errno(ENOENT)) { try directory.writeInput([1]) }
      #expect(linux_mkfifo(directory.file("input"), 0o600) == 0)
      #expect(try directory.writeInput([1]) == 0)
      let reader = try directory.open("input", O_RDONLY | O_NONBLOCK)
      #expect(try directory.writeInput([1, 2, 3]) == 3)
      #expect(try directory.writeInput([UInt8](repeating: 0, count: 1 << 20)) < 1 << 20)
      #expect(try directory.writeInput([1]) == 0)
      _ = reader.number
    }
  }

  @Test("record a process before it does anything")
  func aChildRecordsItsIdentity() throws {
    try withDirectory { directory in
      try directory.make()
      var ends: (Int32, Int32) = (-1, -1)
      #expect(linux_pipe(&ends.0, &ends.1) == 0)
      defer { _ = (close(ends.0), close(ends.1)) }
      let nothing = open("/dev/null", O_RDWR)
      defer { close(nothing) }
      func spawn(_ script: String, _ identity: String, _ output: Int32) -> (pid: Int, began: Int64) {
        var words: [UnsafeMutablePointer<CChar>?] = (["sh", "-c", script] as [String]).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var began: Int64 = 0
        return (linux_spawn("/bin/sh", &words, [nothing, output, 2], 3, -1, identity, &began), began)
      }
      func status(_ pid: Int) -> Int32 {
        var status: Int32 = 0
        waitpid(Int32(pid), &status, 0)
        return status
      }
      let child = spawn("read line <\(directory.file("process")); echo \"$line\"", directory.file("process"), ends.1)
      #expect(child.pid > 0 && child.began > 0 && status(child.pid) == 0)
      let record = try directory.record("process")
      #expect(ProcessIdentity(record) == ProcessIdentity(pid: Int32(child.pid), began: child.began))
      // It was removed with its lock; it never had one here.
      #expect(FileManager.default.createFile(atPath: directory.file("end"), contents: nil))
      #expect(try ProcessIdentity(record)?.isRunning(in: directory) == false)
      var bytes = [UInt8](repeating: 0, count: 200)
      let count = read(ends.0, &bytes, bytes.count)
      #expect(Array(bytes[..<max(count, 0)]) == record.encoded.map { $0 + [0x0a] })
      // If it cannot be written, and if the process's output has no reader.
      #expect(spawn("exit 0", directory.path + "/nowhere/process", nothing).pid == -Int(ENOENT))
      var pipe: (Int32, Int32) = (-1, -1)
      #expect(linux_pipe(&pipe.0, &pipe.1) == 0)
      close(pipe.0)
      let deaf = spawn("echo 1; echo 2; exit 7", directory.file("process"), pipe.1)
      close(pipe.1)
      #expect(status(deaf.pid) == 7 << 8)
    }
  }
}

@Suite("A listening socket")
struct ListenerTests {
  @Test("replaces an unused socket, but no other file")
  func place() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString.prefix(8))").path
    defer { unlink(path) }
    for _ in 0..<2 {
      let listener = linux_listen_at(path, 0o600)
      #expect(listener >= 0)
      close(Int32(listener))
    }
    unlink(path)
    #expect(FileManager.default.createFile(atPath: path, contents: Data("precious".utf8)))
    #expect(linux_listen_at(path, 0o600) == -Int(EADDRINUSE))
    #expect(FileManager.default.contents(atPath: path) == Data("precious".utf8))
  }
}
