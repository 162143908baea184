import CLinux
import Machine
import Monitor
import Testing

@testable import swiftlet

/// Words of a command line as the process has them.
private func withWords<Result>(
  _ words: [String], _ body: (ArraySlice<UnsafeMutablePointer<CChar>?>) throws -> Result
) rethrows -> Result {
  let copies = words.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return try body(copies[...])
}

/// What `swiftlet run` makes of words; the message where it refuses them.
private func request(_ words: String...) -> Result<RunRequest, Failure> {
  withWords(["run"] + words) { words in
    Result { () throws(Failure) in try RunRequest(try parse(words, options: runOptions, command: .run)) }
  }
}

private func refusal(_ words: String...) -> String? {
  let outcome = withWords(["run"] + words) { words in
    Result { () throws(Failure) in try RunRequest(try parse(words, options: runOptions, command: .run)) }
  }
  guard case .failure(.usage(.run?, let message)) = outcome else { return nil }
  return message
}

// getopt_long keeps its state in the process: one test at a time.
@Suite(.serialized) struct OptionTests {
  @Test func anAppletAlone() throws {
    let request = try request("hello.elf").get()
    #expect(request.path == "hello.elf")
    #expect(request.memory == 16 << 20)
    #expect(request.timeout == nil && request.cpuBudget == nil && request.callBudget == nil)
    #expect(!request.isVerbose && request.shadows == 0)
    #expect(request.options.transport == nil)
    #expect(request.options.arguments == ["hello.elf"])
  }

  @Test func longAndShortFormsMeanTheSame() throws {
    for words in [
      ["--memory", "2M", "--timeout", "1.5", "--verbose", "a"], ["--memory=2M", "--timeout=1500ms", "-v", "a"],
      ["-m", "2M", "-t", "1.5s", "-v", "a"], ["-vm2M", "-t1500000us", "a"],
      ["--mem", "2M", "--tim=1.5", "--verb", "--", "a"],
    ] {
      let request = try withWords(["run"] + words) { words in
        try RunRequest(try parse(words, options: runOptions, command: .run))
      }
      #expect(request.memory == 2 << 20 && request.timeout == 1_500_000_000 && request.isVerbose, "\(words)")
      #expect(request.path == "a")
    }
  }

  @Test func wordsBehindTheAppletAreItsOwn() throws {
    let request = try request("-v", "a.elf", "--timeout", "-x", "--", "b").get()
    #expect(request.options.arguments == ["a.elf", "--timeout", "-x", "--", "b"])
    #expect(request.timeout == nil)
    // A file with the name of an option.
    #expect(try request2("--", "--verbose").path == "--verbose")
  }
  private func request2(_ words: String...) throws -> RunRequest {
    try withWords(["run"] + words) { try RunRequest(try parse($0, options: runOptions, command: .run)) }
  }

  @Test func theLastOfAnOptionCounts() throws {
    #expect(try request("-m1M", "-m", "4M", "a").get().memory == 4 << 20)
  }

  @Test func transports() throws {
    #expect(try request("--transport", "mmio", "a").get().options.transport == .mmio)
    #expect(try request("--transport=hvc", "a").get().options.transport == .hvc)
    #expect(refusal("--transport", "smc", "a") == "--transport 'smc' does not exist: give hvc or mmio")
  }

  @Test func programsInSystemModeHaveOptionsOfTheirOwn() throws {
    do {
      let pair = try request("--non-secure", "os.elf", "--with-secure", "applet.elf", "one").get()
      #expect(pair.trusted == "applet.elf" && pair.options.arguments == ["os.elf", "one"])
      #expect(try request("--non-secure", "--with-secure", "applet.elf", "os.elf").get().trusted == "applet.elf")
    }
    let request = try request("--non-secure", "--cpus", "4", "os.elf").get()
    #expect(!request.isSecure && request.options.processors == 4)
    #expect(
      refusal("--with-secure", "applet.elf", "a")
        == "--with-secure needs --non-secure: it is a program in system mode that calls the applet")
    #expect(refusal("--cpus", "2", "a") == "--cpus needs --non-secure: an applet has one processor")
    #expect(refusal("--non-secure", "--cpus", "0", "a") == "--cpus '0' is out of range: give 1 to 512")
    #expect(
      refusal("--non-secure", "--lockstep", "a") == "--lockstep and --shadows are for applets, not for --non-secure")
    #expect(
      refusal("--non-secure", "--transport", "mmio", "a")
        == "--transport mmio is for applets: programs in system mode call by HVC alone")
  }

  @Test func unknownAndIncompleteOptionsAreNamed() {
    #expect(refusal("--bogus", "a") == "unknown option '--bogus'")
    #expect(refusal("--bogus=1", "a") == "unknown option '--bogus=1'")
    #expect(refusal("-x", "a") == "unknown option '-x'")
    #expect(refusal("-v", "-x", "a") == "unknown option '-x'")
    #expect(refusal("--verbose=yes", "a") == "unknown option '--verbose=yes'")
    #expect(refusal("--memory") == "option '--memory' needs an argument")
    #expect(refusal("-v", "-m") == "option '-m' needs an argument")
    #expect(refusal() == "the applet's file is missing")
    #expect(refusal("-v") == "the applet's file is missing")
  }

  @Test(arguments: [
    "0", "", "12Q", "-1", "1.5M", "0x1000", "M", " 1M", "99999999999999999999", "16777216T", "127K", "65G",
  ])
  func sizesThatAreNoneAreRefused(size: String) {
    let message = refusal("--memory", size, "a")
    #expect(message?.hasPrefix("--memory '\(size)' is") == true, "\(message ?? "accepted")")
    #expect(message?.contains(": give ") == true)
  }

  @Test(arguments: ["0", "", "-5", "1x", "1.", ".5", "1..5", "1e3", "0.0000000001", "9999999999999999999", "300000d"])
  func durationsThatAreNoneAreRefused(duration: String) {
    for option in ["--timeout", "--cpu-budget", "--call-budget"] {
      let message = refusal(option, duration, "a")
      #expect(message?.hasPrefix("\(option) '\(duration)' is no duration: give") == true, "\(message ?? "accepted")")
    }
  }

  @Test func shadowsAndWhatNeedsThem() throws {
    #expect(try request("--lockstep", "a").get().shadows == 1)
    #expect(try request("--shadows", "8", "--lockstep", "a").get().shadows == 8)
    #expect(refusal("--shadows", "9", "a") != nil && refusal("--shadows", "0", "a") != nil)
    #expect(refusal("--inject-faults", "101", "--lockstep", "a") != nil)
    #expect(refusal("--inject-faults", "5", "a") == "--inject-faults needs --lockstep or --shadows")
    #expect(refusal("--parallel", "a") == "--parallel needs --lockstep or --shadows")
  }

  @Test func helpIsNoMistake() {
    for words in [["--help"], ["-h"], ["-v", "--help", "--bogus"], ["--he"]] {
      let isHelp = withWords(["run"] + words) { words in
        do throws(Failure) {
          _ = try parse(words, options: runOptions, command: .run)
          return false
        } catch {
          if case .help(.run) = error { return true }
          return false
        }
      }
      #expect(isHelp, "\(words)")
    }
  }

  @Test(arguments: Command.allCases) func helpTellsEverything(command: Command) {
    let text = command.helpText
    #expect(text.hasPrefix("Usage: swiftlet \(command.name)"))
    #expect(text.contains("\n  -h, --help "))
    for option in command.options {
      #expect(text.contains("--\(option.long)\(option.argument.map { " \($0)" } ?? "") "))
      #expect(text.contains("\(option.help)\n"))
      if let short = option.short { #expect(text.contains("  -\(short), --\(option.long)")) }
    }
    for line in text.split(separator: "\n") { #expect(line.count <= 120, "\(line)") }
    #expect(Command.overview.contains("  \(command.name) "))
    #expect(Command.overview.contains("\(command.summary)\n"))
  }

  @Test func runsHelpNamesEveryStatus() {
    let text = Command.run.helpText
    for status in [120, 121, 122, 123, 124, 125, 126, 127, 134] { #expect(text.contains("\(status)")) }
  }
}

struct NumberTests {
  @Test(
    arguments: [
      ("0", 0), ("1", 1), ("131072", 131072), ("128K", 131072), ("128k", 131072), ("16M", 16 << 20), ("64g", 64 << 30),
      ("1T", 1 << 40), ("18446744073709551615", .max), ("17179869183G", 17_179_869_183 << 30), ("007", 7),
    ] as [(String, UInt64)])
  func sizes(text: String, size: UInt64) { #expect(parseSize(text) == size) }

  @Test(arguments: [
    "", "K", "1KB", "1 K", "K1", "1.5K", "-1", "+1", "0x10", "18446744073709551616", "17179869184G", "99999999T", "１",
  ])
  func noSizes(text: String) { #expect(parseSize(text) == nil) }

  @Test(
    arguments: [
      ("0", 0), ("1", 1_000_000_000), ("1s", 1_000_000_000), ("0.25", 250_000_000), ("1.5ms", 1_500_000), ("7ns", 7),
      ("1.5ns", 1), ("2us", 2000), ("1.5m", 90_000_000_000), ("0.5h", 1_800_000_000_000), ("1d", 86_400_000_000_000),
      ("0.123456789", 123_456_789), ("0.12345678999", 123_456_789), ("9223372036.854775807", .max),
    ] as [(String, Int64)])
  func durations(text: String, nanoseconds: Int64) { #expect(parseDuration(text) == nanoseconds) }

  @Test(arguments: [
    "", "s", ".", ".5", "1.", "1..2", "1.2.3", "-1", "1 s", "1S", "1min", "9223372036.854775808", "106752d",
  ])
  func noDurations(text: String) { #expect(parseDuration(text) == nil) }
}
