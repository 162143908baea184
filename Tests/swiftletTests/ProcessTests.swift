import Foundation
import Machine
import Testing

/// The program as a process: what it writes where, and its exit status. What needs no KVM works on any host.
struct ProcessTests {
  /// The program that the tests were built with, beside the tests' own.
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

  @Test(arguments: [
    ([], "a command is missing; see: swiftlet help"),
    (["frobnicate"], "unknown command 'frobnicate'; see: swiftlet help"),
    (["--frobnicate"], "unknown option '--frobnicate'; see: swiftlet help"),
    ([""], "unknown command ''; see: swiftlet help"),
    (["help", "frobnicate"], "unknown command 'frobnicate'; see: swiftlet help"),
    (["help", "run", "check"], "unexpected word 'check'; see: swiftlet help help"),
    (["check", "now"], "unexpected word 'now'; see: swiftlet help check"),
    (["check", "--now"], "unknown option '--now'; see: swiftlet help check"),
    (["run"], "the applet's file is missing; see: swiftlet help run"),
    (["run", "--bogus", "a.elf"], "unknown option '--bogus'; see: swiftlet help run"),
    (["run", "--memory"], "option '--memory' needs an argument; see: swiftlet help run"),
    (
      ["run", "--memory", "12Q", "a.elf"],
      "--memory '12Q' is no size: give a number of bytes, or one with K, M or G, such as 16M; see: swiftlet help run"
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

  @Test(.enabled(if: Architecture.host == nil, "this host may have KVM: boards show what it says there"))
  func aHostOfAnotherArchitectureSaysWhatToDo() throws {
    let (status, output, errors) = try run("run", "hello.elf")
    #expect(status == 123 && output == "")
    #expect(errors.hasPrefix("swiftlet: this host is neither ARM64 nor RISC-V: ") && errors.count { $0 == "\n" } == 1)
    let check = try run("check")
    #expect(check.status == 1 && check.errors == "")
    #expect(check.output.hasPrefix("architecture      no   "))
  }
}
