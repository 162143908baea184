import Machine
import TestSupport
import Testing

/// Invalid files: each is rejected with a message about the error, before any guest runs.
struct ImageTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases)) { board in
    Dictionary(uniqueKeysWithValues: broken(board).map { ($0.file, $0.bytes) })
  }

  @Test(arguments: session.cases)
  func imageIsRejected(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private struct Broken {
    let file: String
    let bytes: [UInt8]
    let message: String
  }

  private static func cases(_ board: Board) -> [Case] {
    broken(board).map { entry in
      Case(
        board, "run ../files/\(entry.file)", status: 126,
        errors: .text("swiftlet: ../files/\(entry.file): \(entry.message)\n"))
    } + [
      Case(
        board, "run nowhere.elf", status: 127,
        errors: .pattern("swiftlet: nowhere\\.elf: cannot be read: [^\n]*[Nn]o such file[^\n]*\n")),
      Case(
        board, "run ../files", status: 127,
        errors: "swiftlet: ../files: cannot be read: Is a directory\n"),
      Case(
        board, "run /dev/null", status: 127,
        errors: "swiftlet: /dev/null: not a regular file: give the path of an ELF file\n"),
      Case(
        board, "run hello.elf/below", status: 127,
        errors: "swiftlet: hello.elf/below: cannot be read: Not a directory\n"),
      // It must not wait for a writer.
      Case(
        board, "a pipe", script: "mkfifo /tmp/pipe && swiftlet run /tmp/pipe", status: 127,
        errors: "swiftlet: /tmp/pipe: not a regular file: give the path of an ELF file\n"),
      Case(
        board, "a file of another user",
        script: """
          cp hello.elf /tmp/mine; chmod 600 /tmp/mine; chmod 666 /dev/kvm
          su -s /bin/sh nobody -c '/bin/swiftlet run /tmp/mine'; status=$?; chmod 600 /dev/kvm; exit $status
          """,
        status: 127, errors: "swiftlet: /tmp/mine: cannot be read: Permission denied\n"),
      Case(
        board, "names and arguments that are not UTF-8",
        script: """
          file=/tmp/$(printf 'caf\\351.elf'); cp hello-c.elf "$file"; swiftlet run "$file" | head -1
          swiftlet run arguments.elf "$(printf 'x\\377y')" | tail -1 | od -An -tx1
          swiftlet run "$(printf 'no\\351')" 2>&1 | od -An -tx1 | head -1; swiftlet start "$file" 2>/dev/null; echo $?
          """,
        output: .pattern(
          "hello from C on [a-z0-9]+\n 31 3a 20 78 ff 79 0a\n 73 77 69 66 74 6c 65 74 3a 20 6e 6f e9 3a 20 63\n122\n")),
      Case(
        board, "a file that is too large",
        script: "truncate -s 257M /tmp/large; swiftlet run /tmp/large; status=$?; rm /tmp/large; exit $status",
        status: 127, errors: "swiftlet: /tmp/large: larger than 256 MiB: strip its debug information\n"),
      // The memory that it asks for is enough: it runs its zeros as instructions.
      Case(
        board, "exactly the required memory",
        script: """
          swiftlet run ../files/beyond 2>/tmp/e
          swiftlet run --memory $(sed 's/.*--memory \\([0-9]*K\\) or more/\\1/' /tmp/e) ../files/beyond
          """,
        status: 121, errors: .containing(["swiftlet: ../files/beyond: undefined instruction at pc 0x80000040"])),
      Case(
        board, "run --memory 128K hello.elf", output: .containing(["hello from Swift"])),
      Case(
        board, "run --memory 1M ../files/large", status: 126,
        errors: .pattern(
          "swiftlet: ../files/large: its segments do not fit 1024 KiB of memory with a stack: "
            + "use --memory [0-9]+K or more\n")),
    ]
  }

  private static func broken(_ board: Board) -> [Broken] {
    let architecture = board.architecture == "arm64" ? Architecture.arm64 : .riscv64
    func changed(_ change: (inout ELFBuilder) -> Void) -> [UInt8] {
      var file = ELFBuilder.applet(architecture)
      change(&file)
      return file.bytes()
    }
    let foreign = architecture == .arm64 ? "riscv64" : "arm64"
    return [
      Broken(
        file: "empty", bytes: [], message: "not an ELF file: give an executable linked for bare metal"),
      Broken(
        file: "text", bytes: Array("#!/bin/sh\necho this is no applet, and it is longer than a header of ELF\n".utf8),
        message: "not an ELF file: give an executable linked for bare metal"),
      Broken(
        file: "32-bit", bytes: changed { $0.fileClass = 1 },
        message: "a 32-bit ELF file: build it for a 64-bit target"),
      Broken(
        file: "big-endian", bytes: changed { $0.data = 2 },
        message: "a big-endian ELF file: build it for a little-endian target"),
      Broken(
        file: "foreign", bytes: changed { $0.machine = architecture == .arm64 ? 243 : 183 },
        message: "built for \(foreign), but the host is \(board.architecture): build it for \(board.architecture)"),
      Broken(
        file: "x86", bytes: changed { $0.machine = 62 },
        message: "built for x86_64, but the host is \(board.architecture): build it for \(board.architecture)"),
      Broken(
        file: "object", bytes: changed { $0.type = 1 },
        message: "an ELF file of type 1, not an executable: link it statically (type EXEC, or static PIE)"),
      Broken(
        file: "short-header", bytes: Array(changed { _ in }.prefix(63)),
        message: "truncated: it ends before its file header does: copy or build it again"),
      Broken(
        file: "short-program-headers", bytes: Array(changed { _ in }.prefix(64 + 56)),
        message: "truncated: it ends before its program headers do: copy or build it again"),
      Broken(
        file: "short-segment", bytes: changed { $0.segments[1].fileSize = 1 << 40 },
        message: "truncated: it ends before segment 1 does: copy or build it again"),
      Broken(
        file: "overlap", bytes: changed { $0.segments[1].address = 0x8000_0010 },
        message: "the segments at 0x80000000 and 0x80000010 overlap: correct the linker script"),
      Broken(
        file: "shared-page", bytes: changed { $0.segments[1].address = 0x8000_0800 },
        message: "the segments at 0x80000000 and 0x80000800 share a page: align them to 4096 in the linker script"),
      Broken(
        file: "wrap", bytes: changed { $0.segments[1].address = UInt64.max - 3 },
        message: "segment 1 extends past the end of the address space: link it at a lower address"),
      Broken(
        file: "more-file", bytes: changed { $0.segments[1].memorySize = 2 },
        message: "segment 1 has more bytes in the file than in memory: build it again"),
      Broken(
        file: "entry-outside", bytes: changed { $0.entry = 0x9000_0000 },
        message: "its entry point 0x90000000 is in no executable segment: set ENTRY in the linker script"),
      Broken(
        file: "entry-data", bytes: changed { $0.entry = 0x8000_2000 },
        message: "its entry point 0x80002000 is in no executable segment: set ENTRY in the linker script"),
      Broken(
        file: "writable-code", bytes: changed { $0.segments[0].flags |= ELFBuilder.write },
        message: "segment 0 is writable and executable: link with separate segments (-z separate-code, no -N)"),
      Broken(
        file: "interpreter",
        bytes: changed {
          var interpreter = ELFBuilder.Segment(ELFBuilder.read, at: 0x8000_1000, Array("/lib/ld.so\0".utf8))
          interpreter.type = 3
          $0.segments.append(interpreter)
        }, message: "dynamically linked, but a guest has no libraries: link it with -static"),
      Broken(
        file: "huge", bytes: changed { $0.segments[2].memorySize = 100 << 30 },
        message: "its segments do not fit 64 GiB, the maximum memory of an applet: correct the linker script"),
      Broken(
        file: "far", bytes: changed { $0.segments[2].address = 1 << 40 },
        message: "its memory would end beyond 0x4000000000, the highest guest address on this host: "
          + "link it lower or reduce --memory"),
      Broken(
        file: "headers", bytes: changed { $0.programHeaderCount = 300 },
        message: "has 300 program headers, more than the maximum of 128: link it with fewer"),
      Broken(
        file: "header-size", bytes: changed { $0.programHeaderSize = 32 },
        message: "its program headers have a wrong size: build it again"),
      Broken(
        file: "nothing", bytes: changed { $0.segments = [] },
        message: "has no loadable segment: link it into an executable"),
      Broken(
        file: "page-zero", bytes: ELFBuilder.applet(architecture, at: 0).bytes(),
        message: "a segment starts in page zero, which is never mapped: link it at 0x1000 or above"),
      // Beyond the 16 MiB of memory, which begin at the image's first page.
      Broken(
        file: "beyond", bytes: changed { $0.segments[2].address = 0x8100_0000 },
        message: "its segments do not fit 16384 KiB of memory with a stack: use --memory 16704K or more"),
      Broken(
        file: "large", bytes: changed { $0.segments[2].memorySize = 1 << 30 },
        message: "its segments do not fit 16384 KiB of memory with a stack: use --memory 1048896K or more"),
    ]
  }
}
