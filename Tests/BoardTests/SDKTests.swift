import Foundation
import Testing

/// The SDK, installed once outside the repository for all suites; it is removed when the tests end.
enum InstalledSDK {
  static let prefix: String = {
    let prefix = FileManager.default.temporaryDirectory.appending(
      path: "swiftlet-sdk-\(ProcessInfo.processInfo.processIdentifier)")
    atexit { InstalledSDK.remove() }
    let run = try? Program.run(Repository.path("sdk/install"), [prefix.path])
    if run?.status != 0 { Issue.record("sdk/install: \(run?.errors ?? "")") }
    return prefix.path
  }()

  private static func remove() { try? FileManager.default.removeItem(atPath: prefix) }

  /// Runs a shell command in a directory, with the SDK's programs on PATH; a failure is recorded.
  static func run(_ command: String, in directory: URL) throws {
    let run = try Program.run(
      "/bin/bash", ["-c", "export PATH='\(prefix)/bin':$PATH; cd '\(directory.path)'; \(command)"])
    if run.status != 0 { Issue.record("\(command): \(run.errors)") }
  }
}

/// Applets in C and C++ that are built with the SDK.
@Suite(.onlyInCheck)
struct SDKTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases), files: programs)

  @Test(arguments: session.cases)
  func appletsInCAndCPP(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let levels = ["-O0", "-O1", "-O2", "-O3", "-Os"]
  private static let sources = ["print.c", "constructors.c", "names.c", "cxx.cpp"]

  @Sendable private static func cases(_ board: Board) -> [Case] {
    func run(_ name: String, _ status: Int32, _ output: String) -> Case {
      Case(board, name, script: "swiftlet run ../files/\(name).elf", status: status, output: .text(output))
    }
    return levels.flatMap { level in
      [
        run("print\(level)", 0, printed), run("constructors\(level)", 7, constructed),
        run("names\(level)", 134, named), run("cxx\(level)", 0, objects),
      ]
    } + [
      run("hello-c", 0, "hello, world\n"), run("hello-cpp", 0, "hello, world\n"), run("pie", 7, constructed),
      Case(
        board, "a program in system mode", script: "swiftlet run --non-secure --cpus 2 ../files/system.elf",
        output: "system-cpu-on: hello from the second\nsystem-cpu-on: 2 processors, sum 1\n"),
    ]
  }

  /// What printf of this machine's C library writes.
  private static let printed: String = {
    let made = try? withScratchDirectory { directory in
      let program = directory.appending(path: "print").path
      let source = Repository.path("Tests/SDK/print.c")
      let compiled = try Program.run("/usr/bin/env", ["cc", "-w", "-DHOST", source, "-o", program])
      guard compiled.status == 0 else { return compiled.errors }
      return try Program.run(program, []).output
    }
    return made ?? ""
  }()

  private static let constructed = """
    constructors 123
    thread-local 6 5 9 0
    setjmp 1, 3 rounds, 4.5 kept
    heap a 0 1
    128 bits 20615843020 929113848 0
    counts 62 5 8
    long double 0.42857142857142857143
    atomic 10
    atexit: last registered, first called
    atexit: first registered
    destructor

    """

  private static let named = """
    start 1
    format_double 2
    format_begin 3
    2.5     4|
    > after putchar
    run_exit_functions
    smaller 7
    !panic: the end

    """

  private static let objects = """
    global 42, static 12 12, thread-local of the thread
    virtual 15
    ~Base
    aligned 0
    placed 18
    ~Base
    nothrow 1
    sum 6, twice 6 7.5
    ~Global of the thread
    ~Base
    ~Global two
    ~Global one

    """

  /// Builds with an installed SDK; a failure is recorded.
  @Sendable private static func programs(_ board: Board) -> [String: [UInt8]] {
    do {
      return try withScratchDirectory { directory in
        for source in sources {
          for level in levels {
            let name = source.prefix { $0 != "." }
            let command =
              "swiftlet-cc --arch \(board.architecture) \(level) -Wall -Wextra -Werror -o \(name)\(level).elf"
            try InstalledSDK.run("\(command) '\(Repository.path("Tests/SDK/\(source)"))'", in: directory)
          }
        }
        for (options, source, name) in [
          ("--pie", "Tests/SDK/constructors.c", "pie"), ("--system", "guests/nonsecure/system-cpu-on.c", "system"),
        ] {
          let command = "swiftlet-cc \(options) --arch \(board.architecture) -O2 -o \(name).elf"
          try InstalledSDK.run("\(command) '\(Repository.path(source))'", in: directory)
        }
        for language in ["c", "cpp"] {
          let name = "hello-\(language)"
          let command = "swiftlet-new \(language) \(name) && make -C \(name) ARCH=\(board.architecture)"
          try InstalledSDK.run("\(command) && mv \(name)/build/*/*.elf .", in: directory)
        }
        var files: [String: [UInt8]] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) where name.hasSuffix(".elf") {
          files[name] = try [UInt8](Data(contentsOf: directory.appending(path: name)))
        }
        return files
      }
    } catch {
      Issue.record("\(error)")
      return [:]
    }
  }

  /// Each pattern of a transcript is for one line.
  @Test func patternsMatchSingleLines() throws {
    let script = #"""
      from importlib.machinery import SourceFileLoader
      import sys
      test = SourceFileLoader("test", sys.argv[1] + "/bin/swiftlet-test").load_module()
      def matches(text, *lines):
          return test.matches([test.ANY if word == "*" else test.line_pattern(word, rest) for word, rest in lines], text)
      assert matches("a: ok\nb\n", ("~", "[^:]+: ok"), (">", "b"))
      assert not matches("x\ny\na: ok\n", ("~", "[^:]+: ok"))
      assert matches("a a\nb b\n", ("~", r"(\w+) \1"), ("~", r"(\w+) \1"))
      assert matches("1\n2\n", ("~", r"(?P<n>\d)"), ("~", r"(?P<n>\d)"))
      assert matches("a\nb\nc\n", ("*", ""), (">", "c")) and matches("a\nb", ("*", "")) and matches("", ("*", ""))
      assert not matches("a\nb\n", ("*", ""), (">", "c")) and not matches("a\n", (">", "a"), (">", "b"))
      assert matches("ab\n", (">-", "a"), (">", "b")) and matches("a", (">-", "a")) and not matches("a\n", (">-", "a"))
      """#
    try InstalledSDK.run("python3 -W ignore -c '\(script)' '\(InstalledSDK.prefix)'", in: URL(filePath: "/"))
  }

  /// What swiftlet-test refuses, without a board.
  @Test func transcriptsThatCannotBeRead() throws {
    try withScratchDirectory { directory in
      let transcript = directory.appending(path: "a.test")
      for (text, message) in [
        ("run\n", "a.test:1: \"applet\" must come before \"run\""),
        ("applet a.elf\n> x\n", "a.test:2: \"run\" must come first"),
        ("applet a.elf\nrun\nstdout x\n", "a.test:3: \"stdout\" is no item of a transcript"),
        ("applet a.elf\nrun\n~ (\n", "a.test:3: "), ("applet a.elf\nrun 'x\n", "a.test:2: "),
        ("", "a.test: no \"run\""),
      ] {
        try Data(text.utf8).write(to: transcript)
        let run = try Program.run(
          "/bin/bash", ["-c", "'\(InstalledSDK.prefix)/bin/swiftlet-test' '\(transcript.path)'"])
        #expect(run.status == 2)
        #expect(run.errors.contains(message), "\(run.errors)")
      }
    }
  }
}
