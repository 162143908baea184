import Testing

/// Applets without errors.
struct GuestTests {
  static let session = Session(Variant.all.flatMap { hello($0) + calls($0) } + clint)

  @Test(arguments: session.cases)
  func guestPrintsAndExits(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func hello(_ host: Variant) -> [Case] {
    let random = "random: [0-9a-f]{32}\n"
    func prints(_ language: String, _ arguments: String = "") -> Expected {
      .pattern("hello from \(language) on \(host.architecture)\narguments:\(arguments)\n\(random)")
    }
    return [
      host.applet("hello", output: prints("Swift")),
      host.applet("hello --status=3", status: 3, output: prints("Swift", " --status=3")),
      host.applet("hello-c", output: prints("C")),
      host.applet("hello-c one 'two words'", output: prints("C", " one two words")),
      host.applet("hello-pie", output: prints("C")),
      host.applet("hello-pie --status=119 one", status: 119, output: prints("C", " --status=119 one")),
      host.applet("heap", output: "heap: all right\n"),
      host.applet("tree one ''", output: "tree: argument tree.elf\ntree: argument one\ntree: argument \n"),
    ]
  }

  /// A device that is there by permission alone; its answers are the same for all copies.
  private static let clint =
    ["", "--lockstep ", "--shadows 2 --parallel "].map { copies in
      Case(
        .riscv64, "run --clint \(copies)mtime.elf", script: "swiftlet run --clint \(copies)mtime.elf",
        output: "mtime: counts microseconds\n")
    } + [
      Case(
        .riscv64, "run mtime.elf", script: "swiftlet run mtime.elf", status: 121,
        errors: .containing(["invalid read, address 0x200bff8"])),
      Case(
        .arm64, "run --clint hello.elf", script: "swiftlet run --clint hello.elf", status: 122,
        errors: "swiftlet: --clint is for riscv64: on arm64 there is no CLINT; see: swiftlet help run\n"),
    ]

  private static func calls(_ host: Variant) -> [Case] {
    let lines = "write: one line\nwrite: another line\nwrite: a line in two calls\n"
    let page = "(0x[0-9a-f]{5}000)"
    return [
      host.applet("put-character", output: "put-character: abc\nno newline"),
      host.applet("nanotime", output: "nanotime: later each time\n"),
      host.applet("getrandom", output: "getrandom: 4096 bytes, many values\n"),
      host.applet("write", output: .text(lines)),
      host.applet("write 9000", output: .text(lines + String(repeating: ".", count: 8999) + "\n")),
      host.applet("read", output: "read: 0 bytes\n"),
      host.applet("read", input: "one\\ntwo\\n", output: "one\ntwo\nread: 8 bytes\n"),
      host.applet("read 1", input: "abc", output: "abcread: 3 bytes\n"),
      host.applet("sleep", output: "sleep: 10 ms have passed\n"),
      host.applet("sleep 50", output: "sleep: 50 ms have passed\n"),
      host.applet("yield", output: "yield: came back each time\n"),
      host.applet(
        "regions",
        output: .pattern(
          "0: 0x80000000-\(page) r-x image\n1: \(page)-\(page) r-- image\n(2: \(page)-\(page) rw- image\n)?"
            + "[23]: \(page)-\(page) r-- device tree\n[34]: 0x80010000-0x80050000 rw- stack\n"
            + "[45]: \(page)-\(page) rw- heap\n")),
      host.applet("arguments", output: "0: arguments.elf\n"),
      host.applet("arguments a '' 'c d' -- --e", output: "0: arguments.elf\n1: a\n2: \n3: c d\n4: --\n5: --e\n"),
      host.applet("exit-status", status: 42, output: "exit-status: 42\n"),
      host.applet("exit-status 0", output: "exit-status: 0\n"),
      host.applet("exit-status 257", status: 1, output: "exit-status: 257\n"),
      host.applet("exit-status nonsense", status: 134, output: .containing(["panic: "])),
      host.applet("registers", output: "registers: 1000 rounds\nregisters: all kept\n"),
      host.applet("floating", output: "floating: 500500 1024 -500\n"),
    ]
  }
}
