import Testing

/// Output and input of an applet: files, pipes, closed streams.
struct StreamTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases))

  @Test(arguments: session.cases)
  func stream(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func cases(_ board: Board) -> [Case] {
    let lines = "write: one line\nwrite: another line\nwrite: a line in two calls\n"
    let all = lines.utf8.count + 65536
    return [
      Case(
        board, "a full disk", script: "swiftlet run hello.elf >/dev/full", status: 123,
        errors: "swiftlet: hello.elf: its output cannot be written: No space left on device\n"),
      Case(
        board, "a closed output", script: "swiftlet run hello.elf >&-", status: 123,
        errors: "swiftlet: hello.elf: its output cannot be written: Bad file descriptor\n"),
      Case(
        board, "a reader that is gone",
        script: "{ sleep 1; swiftlet run hello.elf 2>/tmp/e; echo $? >/tmp/s; } | true; cat /tmp/s /tmp/e",
        // 128 and SIGPIPE, as for any program.
        output: "141\n"),
      Case(
        board, "a reader that comes late", script: "swiftlet run write.elf 65536 | { sleep 1; wc -c; }",
        output: .text("\(all)\n")),
      Case(
        board, "a reader that takes a byte at a time",
        script: "swiftlet run write.elf | dd bs=1 2>/dev/null", output: .text(lines)),
      // More than the pipe holds: the applet waits for its reader until its deadline.
      Case(
        board, "a reader that never reads",
        script: """
          { swiftlet run --timeout 300ms write.elf 65536 2>/tmp/e; echo $? >/tmp/s; } | sleep 1; cat /tmp/s /tmp/e
          """,
        output: .pattern("124\nswiftlet: write\\.elf: timed out, [^\n]+\n")),
      Case(
        board, "a writer that never writes", script: "sleep 1 | swiftlet run --timeout 300ms read.elf", status: 124,
        errors: .pattern("swiftlet: read\\.elf: timed out, [^\n]+\n")),
      Case(
        board, "a writer that is slow",
        script: "{ echo one; sleep 0.2; echo two; } | swiftlet run read.elf", output: "one\ntwo\nread: 8 bytes\n"),
      Case(
        board, "much input",
        script: "seq 1 5000 | swiftlet run read.elf 4096 | md5sum; { seq 1 5000; echo read: 23893 bytes; } | md5sum",
        output: .pattern("([0-9a-f]{32})  -\n\\1  -\n")),
      Case(
        board, "output to a file that is appended to",
        script: "echo first >/tmp/f; swiftlet run put-character.elf >>/tmp/f; cat /tmp/f",
        output: "first\nput-character: abc\nno newline"),
      Case(
        board, "random bytes differ from run to run",
        script: "swiftlet run hello.elf >/tmp/a; swiftlet run hello.elf >/tmp/b; cmp -s /tmp/a /tmp/b", status: 1),
    ]
  }
}
