import Foundation
import Platform
import TestSupport
import Testing

struct FileContentsTests {
  private let kernel = ScriptedKernel(.arm64)

  /// A path in a directory of this test, which is removed afterwards.
  private func withFile(_ data: Data?, _ body: (String) throws -> Void) throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = directory.appendingPathComponent("file")
    try data?.write(to: file)
    try body(file.path)
  }

  private func error(_ path: String, limit: Int = 1000) -> Errno? {
    do throws(Errno) {
      _ = try FileContents(path: path, limit: limit, kernel: kernel)
      return nil
    } catch { return error }
  }

  @Test(arguments: [0, 1, 4095, 4096, 4097, 100_000])
  func aFileIsReadCompletely(size: Int) throws {
    let data = Data((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    try withFile(data) { path in
      do {
        let contents = try FileContents(path: path, limit: size, kernel: kernel)
        #expect(contents.count == size)
        #expect(Data(contents.bytes) == data)
      }
      #expect(kernel.leaks == (0, 0))
    }
  }

  @Test func anOpenFileIsReadWithoutChangingItsOffset() throws {
    try withFile(Data("0123456789".utf8)) { path in
      let file = open(path, O_RDONLY)
      defer { close(file) }
      #expect(lseek(file, 7, SEEK_SET) == 7)
      for _ in 0..<2 {
        // The same open file description with another number, like a descriptor that a client has sent.
        let contents = try FileContents(OwnedFD(adopting: dup(file), kernel: LinuxKernel()), limit: 100)
        #expect(String(decoding: contents.bytes, as: UTF8.self) == "0123456789")
      }
      #expect(lseek(file, 0, SEEK_CUR) == 7)
    }
  }

  @Test func requestedPartsOfALargeFileAreRead() throws {
    let data = Data((0..<100_000).map { UInt8(truncatingIfNeeded: $0 % 251 + 1) })
    try withFile(data) { path in
      func file() throws -> OwnedFD { try OwnedFD(opening: path, kernel: kernel) }
      do {
        var contents = try FileContents(file(), limit: data.count, head: 4096)
        #expect(contents.count == data.count)
        #expect(Data(contents.bytes[..<4096]) == data[..<4096])
        #expect(contents.bytes[4096..<8192].allSatisfy { $0 == 0 })
        // Unordered, overlapping, and already read.
        try contents.read([50_000..<60_000, 100..<5000, 4999..<5001, 55_000..<60_001, 0..<0])
        #expect(Data(contents.bytes[..<5001]) == data[..<5001])
        #expect(contents.bytes[5001] == 0)
        #expect(Data(contents.bytes[50_000..<60_001]) == data[50_000..<60_001])
        contents.keep([59_000..<60_000])
        #expect(contents.bytes[0] == 0)
        #expect(Data(contents.bytes[59_000..<60_000]) == data[59_000..<60_000])
        try contents.read([0..<100])
        #expect(contents.bytes[0] == 0)
      }
      #expect(kernel.leaks == (0, 0))
      var cut = try FileContents(file(), limit: data.count, head: 10)
      #expect(truncate(path, 5000) == 0)
      #expect(throws: Errno(EIO)) { try cut.read([4000..<6000]) }
      // A file no longer than its head has been read completely.
      var whole = try FileContents(file(), limit: data.count, head: 5001)
      whole.keep([])
      #expect(Data(whole.bytes) == data[..<5000])
    }
  }

  @Test func aFileOverTheLimitIsAnError() throws {
    try withFile(Data(count: 1001)) { path in #expect(error(path) == .tooBig) }
    #expect(kernel.leaks == (0, 0))
  }

  @Test func anotherTypeOfFileIsAnError() throws {
    #expect(error("/proc") == .isDirectory)
    #expect(error("/dev/null") == .invalid)
    try withFile(nil) { path in
      #expect(mkfifo(path, 0o600) == 0)
      // It must not wait for a writer.
      #expect(error(path) == .invalid)
    }
    #expect(kernel.leaks == (0, 0))
  }

  @Test func aFileThatCannotBeOpenedIsAnError() throws {
    try withFile(nil) { path in
      #expect(error(path) == .noEntry)
      #expect(error(path + "/below") == .noEntry)
      #expect(symlink(path, path) == 0)
      #expect(error(path)?.code == ELOOP)
    }
    #expect(error("") == .noEntry)
    #expect(error(String(repeating: "x", count: 5000))?.code == ENAMETOOLONG)
  }

  @Test func filesWithoutASizeAreRead() throws {
    let contents = try FileContents(streaming: "/proc/self/status", limit: 65536, kernel: kernel)
    #expect(String(decoding: contents.bytes, as: UTF8.self).hasPrefix("Name:"))
    let cut = try FileContents(streaming: "/proc/self/status", limit: 5, kernel: kernel)
    #expect(String(decoding: cut.bytes, as: UTF8.self) == "Name:")
  }

  @Test func everyFailureReleasesEverything() throws {
    try withFile(Data([1, 2, 3])) { path in
      for number in 0..<3 {
        kernel.plan = FaultPlan(call: number, errno: ENOMEM)
        let failure = error(path)
        let hasFailed = kernel.plan?.failed != nil
        #expect((failure == .noMemory) == hasFailed)
        #expect(kernel.leaks == (0, 0))
      }
      #expect(kernel.violations == [])
    }
  }
}
