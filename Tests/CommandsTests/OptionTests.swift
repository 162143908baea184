import CLinux
import Launch
import Machine
import Monitor
import Platform
import Supervisor
import Testing

@testable import Commands

/// Arguments of a command line, as the process gets them.
private func withWords<Result>(
  _ words: [String], _ body: (ArraySlice<UnsafeMutablePointer<CChar>?>) throws -> Result
) rethrows -> Result {
  let copies = words.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return try body(copies[...])
}

/// The result of parsing arguments of a command.
private func arguments<Arguments: CommandArguments>(
  _ words: [String], _ command: Command, _ options: [Option<Arguments>], _ defaults: Arguments
) -> Result<Parsed<Arguments>, Failure> {
  withWords([command.name.description] + words) { words in
    Result { () throws(Failure) in try parse(words, command, options, defaults) }
  }
}

/// The result of parsing arguments of `swiftlet run`.
private func request(_ words: String...) throws -> RunArguments { try request(words) }

private func request(_ words: [String]) throws -> RunArguments {
  guard case .arguments(let arguments) = try arguments(words, .run, RunArguments.options, RunArguments()).get() else {
    throw Failure.usage(.run, "help")
  }
  return arguments
}

/// The error message, if they are invalid.
private func refusal(_ words: String...) -> String? {
  let outcome = arguments(words, .run, RunArguments.options, RunArguments())
  guard case .failure(.usage(.run?, let message)) = outcome else { return nil }
  return message
}

/// The result of parsing arguments of `swiftlet start`.
private func startRefusal(_ words: String...) -> String? {
  let outcome = arguments(words, .start, StartArguments.options, StartArguments())
  guard case .failure(.usage(.start?, let message)) = outcome else { return nil }
  return message
}

// getopt_long keeps its state in the process: one test at a time.
@Suite(.serialized) struct OptionTests {
  @Test func anAppletWithoutOptions() throws {
    let request = try request("hello.elf")
    #expect(request.path == "hello.elf")
    #expect(!request.isVerbose && request.isSandboxed)
    #expect(request.spec == GuestSpec())
    #expect(request.spec.memory == 16 << 20 && request.spec.isSecure && request.spec.copies == nil)
  }

  @Test func longAndShortFormsMeanTheSame() throws {
    for words in [
      ["--memory", "2M", "--timeout", "1.5", "--verbose", "a"], ["--memory=2M", "--timeout=1500ms", "-v", "a"],
      ["-m", "2M", "-t", "1.5s", "-v", "a"], ["-vm2M", "-t1500000us", "a"],
      ["--mem", "2M", "--tim=1.5", "--verb", "--", "a"],
    ] {
      let request = try request(words)
      #expect(request.spec.memory == 2 << 20 && request.isVerbose, "\(words)")
      #expect(request.spec.limits.deadline == 1_500_000_000, "\(words)")
      #expect(request.path == "a")
    }
  }

  @Test func argumentsAfterTheAppletAreItsOwn() throws {
    let own = try request("-v", "a.elf", "--timeout", "-x", "--", "b")
    #expect(own.path == "a.elf" && own.spec.arguments == ["--timeout", "-x", "--", "b"])
    #expect(own.spec.limits.deadline == nil)
    // A file with the name of an option.
    #expect(try request("--", "--verbose").path == "--verbose")
  }

  @Test func theLastOfAnOptionCounts() throws {
    #expect(try request("-m1M", "-m", "4M", "a").spec.memory == 4 << 20)
  }

  @Test func transports() throws {
    #expect(try request("--transport", "mmio", "a").guest.request.transport == .mmio)
    #expect(try request("--transport=hvc", "a").guest.request.transport == .hvc)
    #expect(refusal("--transport", "smc", "a") == "--transport 'smc' is invalid: give hvc or mmio")
  }

  @Test func layouts() throws {
    #expect(try request("--layout", "contiguous", "a").spec.layout == .contiguous)
    #expect(try request("a").spec.layout == nil)
    #expect(refusal("--layout", "flat", "a") == "--layout 'flat' is invalid: give compact or contiguous")
    // The peer's.
    let pair = try request("--layout=contiguous", "--non-secure", "--with-secure", "p", "a")
    #expect(pair.spec.peer(console: nil).layout == .contiguous)
    #expect(
      refusal("--non-secure", "--layout", "compact", "a")
        == "--layout is for applets, not for --non-secure without --with-secure")
  }

  @Test func services() throws {
    let run = try request("--rpc", "RPC=unix:/run/led", "--rpc=KV=unix:/run/kv", "--rpc-limit", "2M", "a")
    #expect(run.services.map(\.name) == ["RPC", "KV"] && run.services[0].path == "/run/led")
    #expect(run.spec.rpcLimit == 2 << 20)
    #expect(
      refusal("--rpc", "RPC=led", "a")
        == "--rpc 'RPC=led' is not a service: give NAME=unix:PATH, with an absolute path")
    #expect(refusal("--rpc-limit", "100", "a") == "--rpc-limit '100' is out of range: give 1K to 64M")
    #expect(refusal("--linux", "k", "--rpc-limit", "1M") == "--rpc-limit is not for --linux")
    #expect(
      refusal("--linux", "k", "--rpc", "A=unix:/a") == "--rpc needs an applet: for --linux, give --with-secure")
    #expect(
      try request("--linux", "k", "--with-secure", "p", "--rpc-limit=1M").spec.peer(console: 3).rpcLimit == 1 << 20
    )
  }

  @Test func programsInSystemModeHaveOptionsOfTheirOwn() throws {
    do {
      let pair = try request("--non-secure", "os.elf", "--with-secure", "applet.elf", "one")
      #expect(pair.path == "os.elf" && pair.spec.arguments == ["one"])
      #expect(pair.spec.mode == .program(cpus: 1, peer: "applet.elf"))
      let same = try request("--non-secure", "--with-secure", "applet.elf", "os.elf")
      #expect(same.spec.mode == .program(cpus: 1, peer: "applet.elf"))
    }
    #expect(try request("--non-secure", "--cpus", "4", "os.elf").spec.mode == .program(cpus: 4, peer: nil))
    #expect(
      refusal("--with-secure", "applet.elf", "a")
        == "--with-secure needs --non-secure: only a program in system mode can call the applet")
    #expect(refusal("--cpus", "2", "a") == "--cpus needs --non-secure: an applet has one CPU")
    #expect(refusal("--non-secure", "--cpus", "0", "a") == "--cpus '0' is out of range: give 1 to 512")
    #expect(
      refusal("--non-secure", "--lockstep", "a") == "--lockstep and --shadows are for applets, not for --non-secure")
    #expect(
      refusal("--non-secure", "--transport", "mmio", "a")
        == "--transport mmio is for applets: programs in system mode use only HVC")
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
  func invalidDurationsAreRejected(duration: String) {
    for option in ["--timeout", "--cpu-budget", "--call-budget"] {
      let message = refusal(option, duration, "a")
      #expect(message?.hasPrefix("\(option) '\(duration)' is not a duration: give") == true, "\(message ?? "accepted")")
    }
  }

  @Test func optionsOfShadows() throws {
    #expect(try request("--lockstep", "a").spec.copies?.count == 1)
    #expect(try request("--shadows", "8", "--lockstep", "a").spec.copies?.count == 8)
    #expect(refusal("--shadows", "9", "a") != nil && refusal("--shadows", "0", "a") != nil)
    #expect(refusal("--inject-faults", "101", "--lockstep", "a") != nil)
    #expect(refusal("--inject-faults", "5", "a") == "--inject-faults needs --lockstep or --shadows")
    #expect(refusal("--parallel", "a") == "--parallel needs --lockstep or --shadows")
  }

  @Test func runAndStartRejectTheSameArguments() {
    for (words, message) in [
      (["--memory", "128G", "a"], "--memory '128G' is out of range: give 128K to 64G"),
      (
        ["--memory", "12Q", "a"],
        "--memory '12Q' is not a size: give a number of bytes, with an optional suffix as in 16M"
      ),
      (["--timeout", "0", "a"], nil), (["--cpus", "2", "a"], "--cpus needs --non-secure: an applet has one CPU"),
      (["--shadows", "9", "a"], "--shadows '9' is out of range: give 1 to 8"),
      (["--parallel", "a"], "--parallel needs --lockstep or --shadows"),
      (
        ["--non-secure", "--lockstep", "a"], "--lockstep and --shadows are for applets, not for --non-secure"
      ),
      (["--timeout", "40000d", "a"], "--timeout '40000d' is out of range: give 1ns to 36500d"),
    ] as [([String], String?)] {
      let run = arguments(words, .run, RunArguments.options, RunArguments())
      let start = arguments(words, .start, StartArguments.options, StartArguments())
      guard case .failure(.usage(_, let first)) = run, case .failure(.usage(_, let second)) = start else {
        Issue.record("\(words) are accepted")
        continue
      }
      #expect(first == second)
      if let message { #expect(first == message) }
    }
  }

  @Test func optionsOfLinuxNeedLinux() throws {
    #expect(refusal("--initrd", "x", "a") == "--initrd needs --linux")
    #expect(refusal("--disk", "x", "a") == "--disk needs --linux")
    #expect(refusal("--linux", "k", "--cpu-budget", "1") == "--cpu-budget is not for --linux")
    #expect(refusal("--linux", "k", "--non-secure") == "--non-secure is not for --linux")
    #expect(refusal("--linux", "k", "--memory", "32M") == "--memory '32M' is out of range: give 64M to 512G")
    #expect(refusal("--linux", "k", "--cpus", "65") == "--cpus '65' is out of range: give 1 to 64")
    #expect(refusal("--linux", "k", "word") == "'word': use --append for arguments of Linux")
    let linux = try request("--linux", "k", "--append", "a b", "--append", "c", "--disk", "d,ro", "--memory", "1G")
    guard case .linux(let options, peer: nil) = linux.spec.mode else {
      Issue.record("no Linux")
      return
    }
    #expect(options.kernel == "k" && options.arguments == "a b c" && options.memory == 1 << 30)
    #expect(options.disks == [LinuxOptions.Disk(path: "d", isReadOnly: true)])
  }

  @Test func limitsOfTheProcessAreParsed() {
    #expect(startRefusal("--process-memory", "1K", "a") == "--process-memory '1K' is out of range: give 1M to 32T")
    #expect(startRefusal("--cpu-percent", "0", "a") == "--cpu-percent '0' is out of range: give 1 to 100000")
    #expect(startRefusal("--threads", "x", "a") == "--threads 'x' is out of range: give 1 to 10000")
  }

  @Test func limitsToChangeAreParsed() throws {
    func update(_ words: String...) -> Result<Parsed<UpdateArguments>, Failure> {
      arguments(words, .update, UpdateArguments.options, UpdateArguments())
    }
    func refusal(_ result: Result<Parsed<UpdateArguments>, Failure>) -> String? {
      guard case .failure(.usage(.update?, let message)) = result else { return nil }
      return message
    }
    guard case .success(.arguments(let one)) = update("a", "--timeout", "2m", "b", "--threads=3") else {
      Issue.record("not parsed")
      return
    }
    #expect(one.applets.names == ["a", "b"])
    var limits = GuestLimits()
    (limits.deadline, limits.threads) = (120_000_000_000, 3)
    #expect(one.guest.request.limits == limits)
    #expect(refusal(update("a")) == "no limit is given: give one such as --timeout 1h")
    #expect(refusal(update("--timeout", "1h")) == "the applet's name is missing")
    #expect(refusal(update("--threads", "0", "a")) == "--threads '0' is out of range: give 1 to 10000")
  }

  @Test func optionsOfListsAndLogsAreChecked() throws {
    func parsed(_ command: Command, _ options: [Option<AppletArguments>], _ words: String...) throws -> AppletArguments
    {
      guard case .arguments(let taken) = try arguments(words, command, options, AppletArguments(names: 0...9)).get()
      else { throw Failure.usage(command, "help") }
      return taken
    }
    #expect(try parsed(.logs, AppletArguments.logOptions, "--tail", "12", "a", "-f", "b").tail == 12)
    #expect(try parsed(.logs, AppletArguments.logOptions, "-n0", "a").tail == 0)
    #expect(try parsed(.ps, AppletArguments.listOptions, "-f", "name=a*", "-q").filters == [.name("a*")])
    #expect(try parsed(.rm, AppletArguments.removeOptions, "-f", "a").isForced)
    #expect(throws: Failure.self) { try parsed(.logs, AppletArguments.logOptions, "--tail", "all", "a") }
    #expect(throws: Failure.self) { try parsed(.ps, AppletArguments.listOptions, "--filter", "state=up") }
  }

  /// Bytes that are not UTF-8 are passed to the applet and the kernel unchanged; JSON cannot contain them.
  @Test func argumentsAreBytes() throws {
    let latin = "caf\u{10ffe9}"
    #expect(latin.osBytes == [0x63, 0x61, 0x66, 0xe9])
    func parsed<Arguments: CommandArguments>(
      _ command: Command, _ options: [Option<Arguments>], _ defaults: Arguments
    ) -> Result<Parsed<Arguments>, Failure> {
      let copies = [[0x78], latin.osBytes, latin.osBytes].map { strdup($0.map { CChar(bitPattern: $0) } + [0]) }
      defer { for copy in copies { free(copy) } }
      return Result { () throws(Failure) in try parse(copies[...], command, options, defaults) }
    }
    guard case .success(.arguments(let run)) = parsed(.run, RunArguments.options, RunArguments()) else {
      Issue.record("run takes no bytes")
      return
    }
    #expect(run.path == latin && run.spec.arguments == [latin])
    guard case .failure(.usage(.start?, let message)) = parsed(.start, StartArguments.options, StartArguments()) else {
      Issue.record("start takes what JSON cannot carry")
      return
    }
    #expect(message == "'\(latin)' is not UTF-8, which swiftlet start requires")
  }

  /// The highest number means none in setresuid(2) and chown(2): workers would stay root.
  @Test func numbersOfUsersAndGroupsAreChecked() throws {
    func request(_ words: String...) -> Result<Parsed<DaemonArguments>, Failure> {
      arguments(words, .daemon, DaemonArguments.options, DaemonArguments())
    }
    func daemon(_ words: String...) throws -> DaemonOptions? {
      guard case .arguments(let taken) = try arguments(words, .daemon, DaemonArguments.options, DaemonArguments()).get()
      else { return nil }
      return taken.daemon
    }
    for option in ["--worker-user", "--group"] {
      for value in ["4294967295", "4294967296", "18446744073709551615", "-1", "nobody there", ""] {
        guard case .failure(.usage(.daemon?, let message)) = request(option, value) else {
          Issue.record("\(option) \(value) is taken")
          continue
        }
        #expect(message.hasPrefix("\(option) '\(value)' does not exist: "))
      }
    }
    #expect(try daemon("--worker-user", "4294967294")?.workerUser == 4_294_967_294)
    #expect(try daemon("--worker-user", "daemon")?.workerUser == 1)
    #expect(try daemon("--group", "0")?.group == 0)
  }

  @Test func sandboxOptionsExcludeEachOther() throws {
    #expect(try request("--require-sandbox", "a").needsWholeSandbox)
    #expect(
      refusal("--no-sandbox", "--require-sandbox", "a") == "--require-sandbox and --no-sandbox exclude each other")
  }

  @Test func helpIsNotAnError() {
    for words in [["--help"], ["-h"], ["-v", "--help", "--bogus"], ["--he"]] {
      let parsed = try? arguments(words, .run, RunArguments.options, RunArguments()).get()
      guard case .help? = parsed else {
        Issue.record("\(words)")
        continue
      }
    }
  }

  @Test(arguments: Command.allCases) func helpListsEverything(command: Command) {
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
