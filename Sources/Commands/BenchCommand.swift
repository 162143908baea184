import Benchmark
import CBaseline
import CLinux
import Launch
import Machine
import Platform

/// Arguments of `swiftlet bench`.
struct BenchArguments: CommandArguments {
  /// Names of benchmarks; empty for all.
  private(set) var names: [String] = []
  var runs: Int?
  var json: String?
  var csv: String?
  var earlier: String?
  var files = BenchmarkFiles()
  var isList = false
  var countsInstructions = false

  mutating func take(operands: [String]) { names = operands }

  static var options: [Option<BenchArguments>] {
    [
      Option(
        "runs", short: "n", argument: "N",
        help: "number of samples (the default depends on the benchmark)"
      ) { arguments, value throws(ArgumentError) in
        guard let count = parseSize(value), (1...1_000_000).contains(count) else {
          throw ArgumentError("--runs '\(value)' is out of range: give 1 to 1000000")
        }
        arguments.runs = Int(count)
      },
      Option("json", argument: "FILE", help: "write the results as JSON") { arguments, value in arguments.json = value
      },
      Option("csv", argument: "FILE", help: "write the results as comma-separated values") { arguments, value in
        arguments.csv = value
      },
      Option("compare", argument: "FILE", help: "compare with a file written by --json") { arguments, value in
        arguments.earlier = value
      },
      Option("applet", argument: "FILE", help: "start: also measure this applet") { arguments, value in
        arguments.files.applet = value
      },
      Option("beside", argument: "PROGRAM", help: "start: measure this program as its baseline") {
        arguments, value in
        arguments.files.beside = value
      },
      Option("linux", argument: "IMAGE", help: "linux: the kernel to boot") { arguments, value in
        arguments.files.linux = value
      },
      Option("initrd", argument: "FILE", help: "linux: its initrd, with /bin/poweroff") {
        arguments, value in
        arguments.files.initrd = value
      },
      Option("list", short: "l", help: "list the benchmarks") { arguments, _ in arguments.isList = true },
      Option("instructions", help: "the clock counts instructions, as on an emulated board") { arguments, _ in
        arguments.countsInstructions = true
      },
    ]
  }
}

/// `swiftlet bench`.
func bench(_ arguments: BenchArguments) throws(Failure) -> Int32 {
  if arguments.isList {
    for benchmark in Benchmark.all(for: Architecture.host) {
      try say(padded(benchmark.name.description, to: 17) + "\(benchmark.summary)\n")
    }
    return ExitCode.success.rawValue
  }
  let countsInstructions = arguments.countsInstructions
  guard let architecture = Architecture.host else {
    throw .failed(.host, "this host is neither ARM64 nor RISC-V: use such a host, or an emulated board")
  }
  let kernel = LinuxKernel()
  let session: Session
  do throws(Session.Refusal) {
    session = try Session(
      arguments.names, runs: arguments.runs, files: arguments.files, architecture: architecture, kernel: kernel)
  } catch {
    switch error {
    case .unknown(let name): throw .usage(.bench, "unknown benchmark '\(name)': see swiftlet bench --list")
    case .unsuited(let name): throw .usage(.bench, "'\(name)' is not for \(architecture.name)")
    }
  }

  let host = HostDescription(architecture: architecture, kernel: kernel, countsInstructions: countsInstructions)
  // Checked now, not after minutes. The file is parsed only after the measurements: allocated memory would make each fork more
  // expensive.
  if let earlier = arguments.earlier { _ = try open(earlier, O_RDONLY, .unreadable) }
  let jsonFile = try arguments.json.map { path throws(Failure) in try open(path, O_WRONLY | O_CREAT, .host) }
  let csvFile = try arguments.csv.map { path throws(Failure) in try open(path, O_WRONLY | O_CREAT, .host) }
  for fact in host.facts { try say(padded(fact.name.description, to: 14) + fact.value + "\n") }
  try say("\n" + Table.header(countsInstructions: countsInstructions))

  var results = Results(host: host, version: version.description, countsInstructions: countsInstructions)
  var isWhole = true
  var unsaid: Failure?
  let showsProgress = baseline_is_terminal(STDERR_FILENO)
  session.run { name, done, count in
    if showsProgress { complain("\u{1b}[2K\(done + 1)/\(count) \(name)\u{1b}[A\r") }
  } finished: { name, outcome in
    if showsProgress { complain("\u{1b}[2K\u{1b}[A\r") }
    switch outcome {
    case .success(let found):
      do throws(Failure) {
        for measurement in found { try say(Table.line(measurement, countsInstructions: countsInstructions)) }
      } catch { unsaid = unsaid ?? error }
      results.measurements += found
    case .failure(let error):
      if case .skipped = error {} else { isWhole = false }
      complain("swiftlet: bench \(name): \(error.description)")
    }
  }
  if let unsaid { throw unsaid }
  // Before results are written, since the file to compare with may be overwritten.
  var reference: Reference?
  var refusal: String?
  if let earlier = arguments.earlier {
    do throws(Reference.Failure) { reference = try Reference(path: earlier, host: host, kernel: kernel) } catch {
      refusal = error.description
    }
    if let mismatch = reference?.mismatch(host) { refusal = mismatch }
  }
  if let json = arguments.json, let jsonFile {
    guard let bytes = results.json else { throw .failed(.host, "\(json): out of memory") }
    try write(bytes, to: jsonFile, json)
  }
  if let csv = arguments.csv, let csvFile { try write(results.csv, to: csvFile, csv) }
  if let earlier = arguments.earlier, let refusal { throw .failed(.unreadable, "\(earlier): \(refusal)") }
  var isSlower = false
  if let reference { isSlower = try compare(results, reference, session) }
  return isWhole && !isSlower ? ExitCode.success.rawValue : ExitCode.refused.rawValue
}

/// Prints the changes.
/// - Returns: whether a figure exceeds its tolerance, or is missing from a run of all benchmarks.
private func compare(_ results: Results, _ reference: Reference, _ session: Session) throws(Failure) -> Bool {
  try say("\n" + reference.heading)
  var isSlower = false
  for measurement in results.measurements {
    let (text, isTooMuch) = reference.line(measurement, countsInstructions: results.countsInstructions)
    try say(text)
    if isTooMuch { isSlower = true }
  }
  for name in reference.missing(from: results.measurements, of: session) {
    try say(Reference.missingLine(name))
    if session.isWhole { isSlower = true }
  }
  return isSlower
}

/// Opens a file; the descriptor is closed at the end of the process.
private func open(_ path: String, _ flags: Int32, _ status: ExitCode) throws(Failure) -> Int32 {
  let file = path.withCString { linux_open($0, flags | O_CLOEXEC, 0o644) }
  if let error = Errno(result: file) { throw .failed(status, "\(path): cannot be opened: \(error.description)") }
  return Int32(truncatingIfNeeded: file)
}

private func write(_ bytes: [UInt8], to file: Int32, _ path: String) throws(Failure) {
  // Fails for a pipe, which needs no truncation.
  _ = baseline_empty_file(file)
  do { try writeAll(bytes, to: file) } catch { throw .unwritable(path, error) }
}
