import Foundation
import Machine
import Testing

@testable import Commands

/// Output and exit status of the program as a process. Tests that need no KVM run on any host.
struct ProcessTests {
  /// The program that was built with the tests, in their directory.
  private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("swiftlet")

  private func run(_ words: String...) throws -> (status: Int32, output: String, errors: String) {
    let process = Process()
    process.executableURL = Self.program
    process.arguments = words
    let (output, errors) = (Pipe(), Pipe())
    (process.standardOutput, process.standardError) = (output, errors)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let texts = [output, errors].map {
      String(decoding: $0.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    }
    process.waitUntilExit()
    return (process.terminationStatus, texts[0], texts[1])
  }

  @Test func versionAndHelp() throws {
    for option in ["--version", "-V"] {
      let (status, output, errors) = try run(option)
      #expect(status == 0 && errors == "")
      #expect(output.wholeMatch(of: /swiftlet \d+\.\d+\.\d+\n/) != nil)
    }
    let overview = try run("--help")
    #expect(overview.status == 0 && overview.errors == "" && overview.output.hasPrefix("Usage: swiftlet COMMAND"))
    #expect(try run("-h").output == overview.output)
    #expect(try run("help").output == overview.output)
    for command in ["run", "check", "help"] {
      let help = try run("help", command)
      #expect(help.status == 0 && help.errors == "" && help.output.hasPrefix("Usage: swiftlet \(command)"))
      #expect(try run(command, "--help").output == help.output)
    }
  }

  @Test func helpForAllCommands() throws {
    let (status, output, errors) = try run("help", "--all")
    #expect(status == 0 && errors == "")
    #expect(try output.hasPrefix(run("help").output) && run("help", "-a").output == output)
    for command in Command.allCases {
      #expect(try output.contains("\n\n" + run("help", "\(command.name)").output), "\(command.name)")
    }
  }

  /// The pages in share/man are made of the help.
  @Test func manPagesSayWhatTheHelpSays() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let process = Process()
    process.executableURL = root.appendingPathComponent("tools/man-pages")
    process.arguments = ["--check", Self.program.path]
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(text)")
    for command in Command.allCases {
      let section = command == .daemon ? 8 : 1
      let path = "share/man/man\(section)/swiftlet-\(command.name).\(section)"
      let page = try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
        .replacing(/\\f[BIR]/, with: "").replacing("\\(aq", with: "'").replacing("\\", with: "").replacing(
          "\n", with: " ")
      for option in command.options {
        #expect(page.contains("--\(option.long)"), "\(path)")
        #expect(page.contains(option.help.description.replacing("…", with: "...")), "\(path)")
      }
    }
  }

  @Test(arguments: [
    ([], "a command is missing; see: swiftlet help"),
    (["frobnicate"], "unknown command 'frobnicate'; see: swiftlet help"),
    (["--frobnicate"], "unknown option '--frobnicate'; see: swiftlet help"),
    ([""], "unknown command ''; see: swiftlet help"),
    (["help", "frobnicate"], "unknown command 'frobnicate'; see: swiftlet help"),
    (["help", "--all", "run"], "unexpected argument 'run'; see: swiftlet help help"),
    (["help", "run", "check"], "unexpected argument 'check'; see: swiftlet help help"),
    (["check", "now"], "unexpected argument 'now'; see: swiftlet help check"),
    (["check", "--now"], "unknown option '--now'; see: swiftlet help check"),
    (["metrics", "--http"], "--http needs --prometheus; see: swiftlet help metrics"),
    (["metrics", "--json", "--prometheus"], "--prometheus and --json exclude each other; see: swiftlet help metrics"),
    (["metrics", "one"], "unexpected argument 'one'; see: swiftlet help metrics"),
    (["apply"], "the file or directory is missing; see: swiftlet help apply"),
    (["run"], "the applet's file is missing; see: swiftlet help run"),
    (["run", "--bogus", "a.elf"], "unknown option '--bogus'; see: swiftlet help run"),
    (["run", "--memory"], "option '--memory' needs an argument; see: swiftlet help run"),
    (
      ["run", "--memory", "12Q", "a.elf"],
      "--memory '12Q' is not a size: give a number of bytes, with an optional suffix as in 16M; see: swiftlet help run"
    ),
  ])
  func wrongWordsAreStatus122AndOneLine(words: [String], message: String) throws {
    let process = Process()
    process.executableURL = Self.program
    process.arguments = words
    let (output, errors) = (Pipe(), Pipe())
    (process.standardOutput, process.standardError) = (output, errors)
    try process.run()
    #expect(
      String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self) == "swiftlet: \(message)\n")
    #expect(output.fileHandleForReading.readDataToEndOfFile().isEmpty)
    process.waitUntilExit()
    #expect(process.terminationStatus == 122)
  }

  @Test(arguments: [
    ["--version"], ["--help"], ["help"], ["help", "run"], ["run", "--help"], ["check"], ["bench", "--list"],
  ])
  func outputThatCannotBeWrittenIsAFailure(words: [String]) throws {
    let process = Process()
    process.executableURL = Self.program
    process.arguments = words
    let errors = Pipe()
    process.standardOutput = FileHandle(forWritingAtPath: "/dev/full")
    process.standardError = errors
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(text == "swiftlet: standard output: cannot be written: No space left on device\n")
    #expect(process.terminationStatus == 123)
  }

  /// The process as systemd runs it for a connection, without a daemon.
  @Test func anHTTPRequestIsAnswered() throws {
    for (request, status) in [
      ("GET /metrics HTTP/1.1\r\nHost: pi\r\n\r\n", "503 Service Unavailable"),
      ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
      ("PUT /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"), ("hello\n\n", "400 Bad Request"),
      ("GET /metrics HTTP/1.1\r\n", "408 Request Timeout"),
    ] {
      let process = Process()
      process.executableURL = Self.program
      process.arguments = ["metrics", "--prometheus", "--http", "--socket", "/nowhere"]
      let (input, output) = (Pipe(), Pipe())
      (process.standardInput, process.standardOutput) = (input, output)
      try process.run()
      try input.fileHandleForWriting.write(contentsOf: Data(request.utf8))
      try input.fileHandleForWriting.close()
      let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(text.hasPrefix("HTTP/1.1 \(status)\r\n") && process.terminationStatus == 0, "\(request)\(text)")
    }
  }

  @Test(.enabled(if: Architecture.host == nil, "this host may have KVM: boards show what it says there"))
  func anUnsupportedHostIsReported() throws {
    let (status, output, errors) = try run("run", "hello.elf")
    #expect(status == 123 && output == "")
    #expect(errors.hasPrefix("swiftlet: this host is neither ARM64 nor RISC-V: ") && errors.count { $0 == "\n" } == 1)
    let check = try run("check")
    #expect(check.status == 1 && check.errors == "")
    #expect(check.output.hasPrefix("architecture      no   "))
    let json = try run("check", "--json")
    #expect(json.status == 1 && json.errors == "")
    #expect(
      json.output.hasPrefix(
        "{\"able\":false,\"features\":[{\"name\":\"architecture\",\"present\":false,\"required\":true,\"detail\":\"applets run on"
      ) && json.output.hasSuffix("\"}]}\n"))
  }
}
