import Platform
import Testing

struct ErrnoTests {
  @Test func negativeResultsAreErrors() {
    #expect(Errno(result: -2) == .noEntry)
    #expect(Errno(result: -4095)?.code == 4095)
    #expect(Errno(result: 0) == nil)
    #expect(Errno(result: 0x7fff_ffff_f000) == nil)
  }

  @Test func checkedReturnsTheValueOrThrows() throws {
    #expect(try checked(7) == 7)
    #expect(throws: Errno.invalid) { try checked(-22) }
  }

  @Test func failedCallsThrowTheErrorOfTheKernel() {
    let kernel = LinuxKernel()
    #expect(throws: Errno.noEntry) { _ = try OwnedFD(opening: "/nonexistent", kernel: kernel) }
    #expect(throws: Errno.isDirectory) { _ = try FileContents(path: "/", limit: 1, kernel: kernel) }
    #expect(throws: Errno.tooBig) { _ = try FileContents(path: #filePath, limit: 1, kernel: kernel) }
    #expect(throws: Errno.invalid) { _ = try FileContents(path: "/dev/null", limit: 1, kernel: kernel) }
    #expect(throws: Errno.noMemory) { _ = try SharedMemory(count: 1 << 62, kernel: kernel) }
  }

  @Test func errorsHaveMessages() {
    #expect(Errno.noEntry.description == "No such file or directory")
    #expect(Errno(4000).description.contains("4000"))
  }
}
