import Benchmark
import CFloor
import CLinux
import Machine
import Platform

let benchOptions = [
  Option("runs", short: "n", argument: "N", help: "take N samples of each (default: as many as suits it)"),
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
      for benchmark in Benchmark.all { say(padded(benchmark.name.description, to: 17) + "\(benchmark.summary)\n") }
      return Status.success.rawValue
    }
  }
  guard let architecture = Architecture.host else {
    throw .failed(.host, "this host is neither ARM64 nor RISC-V: benchmarks run there, or on an emulated board")
  }
  let kernel = LinuxKernel()
  var unknown = ""
  guard
    let session = Session(
      words.operands, runs: runs, files: files, architecture: architecture, kernel: kernel,
      unknown: { unknown = $0 })
  else { throw .usage(.bench, "unknown benchmark '\(unknown)': see swiftlet bench --list") }

  let host = HostDescription(architecture: architecture, kernel: kernel, countsInstructions: countsInstructions)
  var reference: Reference?
  if let earlier {
    do throws(Reference.Failure) { reference = try Reference(path: earlier, host: host, kernel: kernel) } catch {
      throw .failed(.unreadable, "\(earlier): \(error.description)")
    }
    if let mismatch = reference?.mismatch(host) { throw .failed(.unreadable, "\(earlier): \(mismatch)") }
  }
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
  if let json {
    guard let bytes = results.json else { throw .failed(.host, "\(json): no memory is left") }
    try write(bytes, to: json)
  }
  if let csv { try write(results.csv, to: csv) }
  let isSlower = compare(results, reference)
  return isWhole && !isSlower ? Status.success.rawValue : Status.unable.rawValue
}

/// Says what changed.
/// - Returns: whether anything grew by more than it may.
private func compare(_ results: Results, _ reference: Reference?) -> Bool {
  guard let reference else { return false }
  say("\n" + reference.heading)
  var isSlower = false
  for measurement in results.measurements {
    let (text, isTooMuch) = reference.line(measurement, countsInstructions: results.countsInstructions)
    say(text)
    if isTooMuch { isSlower = true }
  }
  return isSlower
}

private func write(_ bytes: [UInt8], to path: String) throws(Failure) {
  do throws(Errno) {
    let file = path.withCString { linux_open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644) }
    let owned = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checked(file)), kernel: LinuxKernel())
    var done = 0
    while done < bytes.count {
      let result = bytes.withUnsafeBytes { linux_write(owned.number, $0.baseAddress! + done, bytes.count - done) }
      if result == -Int(EINTR) { continue }
      done += try checked(result)
    }
  } catch { throw .failed(.host, "\(path) cannot be written: \(error.description)") }
}
