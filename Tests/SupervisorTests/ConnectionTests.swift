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
    return (ends[0], Connection(OwnedFD(adopting: ends[1], kernel: LinuxKernel()), peer: 0))
  }

  private func send(_ client: Int32, _ text: String, _ descriptor: Int32 = -1) {
    let bytes = Array(text.utf8)
    #expect(linux_send_with(client, bytes, bytes.count, descriptor) == bytes.count)
  }

  private func message(_ method: String, padding: Int = 0) -> String {
    "{\"method\":\"a.\(method)\",\"parameters\":{\"x\":\"\(String(repeating: "x", count: padding))\"}}\0"
  }

  /// Receives what is there, and takes the calls: the method of each, and the inodes of its files.
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

  @Test("belong to the call that they were sent with, and to no other")
  func owners() throws {
    let (client, connection) = try pair()
    let files = [open("/dev/null", O_RDONLY), open("/dev/zero", O_RDONLY)]
    defer { for number in files + [client] { close(number) } }
    // Behind a call without any, with one that takes none, by themselves, and with two calls one after the other.
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

  @Test("come with the first part of a long call, and are at most four")
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
    #expect(calls(connection) == ["a.many" + String(repeating: ":\(inode(file))", count: Connection.mostDescriptors)])
  }
}

@Suite("An applet's files")
struct AppletFolderTests {
  private func withFolder(_ body: (AppletFolder) throws -> Void) throws {
    let state = FileManager.default.temporaryDirectory.appending(path: "swiftlet-state-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: state) }
    try body(AppletFolder(state: state, name: "one"))
  }

  @Test("are removed with what a change that was cut short has left")
  func halfWritten() throws {
    try withFolder { folder in
      try folder.make()
      try folder.write("configuration", .object([]))
      for name in ["configuration.new", "process.new", "stopping"] {
        #expect(FileManager.default.createFile(atPath: folder.file(name), contents: nil))
      }
      // A start of that name.
      try folder.make()
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == [])
      folder.remove()
      #expect(!FileManager.default.fileExists(atPath: folder.path))
    }
  }

  @Test("are told from none, and from what cannot be read")
  func records() throws {
    try withFolder { folder in
      try folder.make()
      #expect(throws: Errno(ENOENT)) { try folder.record("end") }
      try FileManager.default.createDirectory(atPath: folder.file("end"), withIntermediateDirectories: false)
      #expect(throws: Errno(EISDIR)) { try folder.record("end") }
      #expect(FileManager.default.createFile(atPath: folder.file("process"), contents: Data("{\"pid\"".utf8)))
      #expect(throws: Errno(EBADMSG)) { try folder.record("process") }
      #expect(folder.read("process") == nil)
      try folder.write("process", .integer(3))
      #expect(try folder.record("process") == .integer(3))
    }
  }

  @Test("take input while somebody reads, and nothing once nobody does")
  func input() throws {
    signal(SIGPIPE, SIG_IGN)
    try withFolder { folder in
      try folder.make()
      #expect(throws: Errno(ENOENT)) { try folder.feed([1]) }
      #expect(linux_make_fifo(folder.file("input"), 0o600) == 0)
      #expect(try folder.feed([1]) == 0)
      let reader = try folder.open("input", O_RDONLY | O_NONBLOCK)
      #expect(try folder.feed([1, 2, 3]) == 3)
      #expect(try folder.feed([UInt8](repeating: 0, count: 1 << 20)) < 1 << 20)
      #expect(try folder.feed([1]) == 0)
      _ = reader.number
    }
  }

  @Test("tell of a process before it does anything, or there is none")
  func aChildTellsOfItself() throws {
    try withFolder { folder in
      try folder.make()
      var ends: (Int32, Int32) = (-1, -1)
      #expect(linux_make_pipe(&ends.0, &ends.1) == 0)
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
      let child = spawn("read line <\(folder.file("process")); echo \"$line\"", folder.file("process"), ends.1)
      #expect(child.pid > 0 && child.began > 0 && status(child.pid) == 0)
      let record = try folder.record("process")
      #expect(ProcessIdentity(record) == ProcessIdentity(pid: Int32(child.pid), began: child.began))
      #expect(try ProcessIdentity(record)?.isRunning() == false)
      var bytes = [UInt8](repeating: 0, count: 200)
      let count = read(ends.0, &bytes, bytes.count)
      #expect(Array(bytes[..<max(count, 0)]) == record.encoded.map { $0 + [0x0a] })
      // Where it cannot be written, and where nobody reads what the process writes.
      #expect(spawn("exit 0", folder.path + "/nowhere/process", nothing).pid == -Int(ENOENT))
      var pipe: (Int32, Int32) = (-1, -1)
      #expect(linux_make_pipe(&pipe.0, &pipe.1) == 0)
      close(pipe.0)
      let deaf = spawn("echo 1; echo 2; exit 7", folder.file("process"), pipe.1)
      close(pipe.1)
      #expect(status(deaf.pid) == 7 << 8)
    }
  }
}

@Suite("A socket to listen at")
struct ListenerTests {
  @Test("takes the place of an old one, and of no other file")
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
