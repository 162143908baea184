import Benchmark
import CFloor
import CLinux
import Machine
import Platform

let benchOptions = [
  Option(
    "runs", short: "n", argument: "N",
    help: "take N samples of each (default: as many as suits it; memory and daemon-memory have one)"),
  Option("json", argument: "FILE", help: "write the figures as JSON"),
  Option("csv", argument: "FILE", help: "write the figures as comma-separated values"),
  Option("compare", argument: "FILE", help: "compare with a file that --json has written"),
  Option("applet", argument: "FILE", help: "start: measure this applet's, too"),
  Option("beside", argument: "PROGRAM", help: "start: and in its floor's place this program's, from fork to wait"),
  Option("linux", argument: "IMAGE", help: "linux: the kernel to boot"),
  Option("initrd", argument: "FILE", help: "linux: its initial file system, which has a /bin/poweroff"),
  Option("list", short: "l", help: "list the benchmarks"),
  Option("instructions", help: "the clock counts instructions, as an emulated board's can"),
]

/// `swiftlet bench`.
func bench(_ words: ParsedWords) throws(Failure) -> Int32 {
  var runs: Int?
  var json: String?
  var csv: String?
  var earlier: String?
  var countsInstructions = false
  var files = BenchmarkFiles()
  for (index, value) in words.options {
    switch benchOptions[index].long.description {
    case "runs":
      guard let count = parseSize(value), (1...1_000_000).contains(count) else {
        throw .usage(.bench, "--runs '\(value)' is out of range: give 1 to 1000000")
      }
      runs = Int(count)
    case "json": json = value
    case "csv": csv = value
    case "compare": earlier = value
    case "applet": files.applet = value
    case "beside": files.beside = value
    case "linux": files.linux = value
    case "initrd": files.initrd = value
    case "instructions": countsInstructions = true
    default:
      for benchmark in Benchmark.all(for: Architecture.host) {
        say(padded(benchmark.name.description, to: 17) + "\(benchmark.summary)\n")
      }
      return Status.success.rawValue
    }
  }
  guard let architecture = Architecture.host else {
    throw .failed(.host, "this host is neither ARM64 nor RISC-V: benchmarks run there, or on an emulated board")
  }
  let kernel = LinuxKernel()
  let session: Session
  do throws(Session.Refusal) {
    session = try Session(words.operands, runs: runs, files: files, architecture: architecture, kernel: kernel)
  } catch {
    switch error {
    case .unknown(let name): throw .usage(.bench, "unknown benchmark '\(name)': see swiftlet bench --list")
    case .unsuited(let name): throw .usage(.bench, "there is no '\(name)' on \(architecture.name)")
    }
  }

  let host = HostDescription(architecture: architecture, kernel: kernel, countsInstructions: countsInstructions)
  // Now, not after minutes. What the earlier file says is looked at when all is measured: what has been allocated by then
  // makes each fork dearer.
  if let earlier { _ = try open(earlier, O_RDONLY, .unreadable) }
  let jsonFile = try json.map { path throws(Failure) in try open(path, O_WRONLY | O_CREAT, .host) }
  let csvFile = try csv.map { path throws(Failure) in try open(path, O_WRONLY | O_CREAT, .host) }
  for fact in host.facts { say(padded(fact.name.description, to: 14) + fact.value + "\n") }
  say("\n" + Table.header(countsInstructions: countsInstructions))

  var results = Results(host: host, version: version.description, countsInstructions: countsInstructions)
  var isWhole = true
  let showsProgress = floor_is_terminal(STDERR_FILENO)
  session.run { name, done, count in
    if showsProgress { complain("\u{1b}[2K\(done + 1)/\(count) \(name)\u{1b}[A\r") }
  } finished: { name, outcome in
    if showsProgress { complain("\u{1b}[2K\u{1b}[A\r") }
    switch outcome {
    case .success(let found):
      for measurement in found { say(Table.line(measurement, countsInstructions: countsInstructions)) }
      results.measurements += found
    case .failure(let error):
      if case .skipped = error {} else { isWhole = false }
      complain("swiftlet: bench \(name): \(error.description)")
    }
  }
  // Ahead of what is written, for the file to compare with may be the one that is written now.
  var reference: Reference?
  var refusal: String?
  if let earlier {
    do throws(Reference.Failure) { reference = try Reference(path: earlier, host: host, kernel: kernel) } catch {
      refusal = error.description
    }
    if let mismatch = reference?.mismatch(host) { refusal = mismatch }
  }
  if let json, let jsonFile {
    guard let bytes = results.json else { throw .failed(.host, "\(json): no memory is left") }
    try write(bytes, to: jsonFile, json)
  }
  if let csv, let csvFile { try write(results.csv, to: csvFile, csv) }
  if let earlier, let refusal { throw .failed(.unreadable, "\(earlier): \(refusal)") }
  let isSlower = reference.map { compare(results, $0, session) } ?? false
  return isWhole && !isSlower ? Status.success.rawValue : Status.unable.rawValue
}

/// Says what changed.
/// - Returns: whether anything grew by more than it may, or is missing from a run of all.
private func compare(_ results: Results, _ reference: Reference, _ session: Session) -> Bool {
  say("\n" + reference.heading)
  var isSlower = false
  for measurement in results.measurements {
    let (text, isTooMuch) = reference.line(measurement, countsInstructions: results.countsInstructions)
    say(text)
    if isTooMuch { isSlower = true }
  }
  for name in reference.missing(from: results.measurements, of: session) {
    say(Reference.missingLine(name))
    if session.isWhole { isSlower = true }
  }
  return isSlower
}

/// Opens a file: its descriptor, which is closed with the process.
private func open(_ path: String, _ flags: Int32, _ status: Status) throws(Failure) -> Int32 {
  let file = path.withCString { linux_open($0, flags | O_CLOEXEC, 0o644) }
  if let error = Errno(result: file) { throw .failed(status, "\(path) cannot be opened: \(error.description)") }
  return Int32(truncatingIfNeeded: file)
}

private func write(_ bytes: [UInt8], to file: Int32, _ path: String) throws(Failure) {
  // A pipe has nothing to be taken out of it.
  _ = floor_empty_file(file)
  var done = 0
  while done < bytes.count {
    let result = bytes.withUnsafeBytes { linux_write(file, $0.baseAddress! + done, bytes.count - done) }
    if result == -Int(EINTR) { continue }
    if let error = Errno(result: result) { throw .failed(.host, "\(path) cannot be written: \(error.description)") }
    done += result
  }
}
