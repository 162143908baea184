import Platform
import Testing

struct ErrnoTests {
  @Test func negativeAnswersAreErrors() {
    #expect(Errno(result: -2) == .noEntry)
    #expect(Errno(result: -4095)?.code == 4095)
    #expect(Errno(result: 0) == nil)
    #expect(Errno(result: 0x7fff_ffff_f000) == nil)
  }

  @Test func checkedGivesTheValueOrThrows() throws {
    #expect(try checked(7) == 7)
    #expect(throws: Errno.invalid) { try checked(-22) }
  }

  @Test func numbersAreTheKernelsOwn() {
    // Literals from Linux's include/uapi/asm-generic/errno-base.h and errno.h.
    #expect(Errno.notPermitted.code == 1)
    #expect(Errno.interrupted.code == 4)
    #expect(Errno.noSuchDevice.code == 6)
    #expect(Errno.again.code == 11)
    #expect(Errno.noMemory.code == 12)
    #expect(Errno.accessDenied.code == 13)
    #expect(Errno.noDevice.code == 19)
    #expect(Errno.isDirectory.code == 21)
    #expect(Errno.tooBig.code == 27)
    #expect(Errno.brokenPipe.code == 32)
    #expect(Errno.notSupported.code == 95)
  }

  @Test func descriptionsAreWords() {
    #expect(Errno.noEntry.description == "No such file or directory")
    #expect(Errno(4000).description.contains("4000"))
  }
}
