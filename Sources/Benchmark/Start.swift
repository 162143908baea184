import CFloor
import CLinux
import Machine
import Platform

extension Benchmark {
  static let start = Benchmark(
    name: "start",
    summary: "swiftlet run of an applet that writes a line, from fork to wait; the floor has no C library",
    runs: 60
  ) { setting throws(BenchmarkError) in
    let applet = try TemporaryFile(Executable.applet(FLOOR_GUEST_HELLO, setting.architecture))
    let floorFile = Executable.start(setting.architecture)
    let floor = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checkHost(floor_memory_file(floorFile, floorFile.count))),
      kernel: setting.kernel)
    let null: OwnedFD
    do throws(Errno) { null = try OwnedFD(opening: "/dev/null", flags: O_WRONLY, kernel: setting.kernel) } catch {
      throw .host(error)
    }
    var own = [CChar](repeating: 0, count: 4096)
    try checkHost(floor_own_path(&own, own.count))

    let process = Process(output: null.number)
    var plain = Process.Results()
    var sandboxed = plain
    var least = plain
    for _ in 0..<setting.runs + 1 {
      plain.add(try process.run(own, ["swiftlet", "run", "--no-sandbox", applet.path]))
      sandboxed.add(try process.run(own, ["swiftlet", "run", applet.path]))
      least.add(try process.run(floor.number, ["floor"]))
    }
    // Where its pages lie in memory makes a difference of two percent, even to an instruction count.
    return [
      Measurement("start", plain.times, floor: least.times, tolerance: 5),
      Measurement("start-sandboxed", sandboxed.times, floor: least.times, tolerance: 5),
      Measurement("start-memory", sandboxed.peaks, floor: least.peaks, unit: .bytes, tolerance: 10),
    ]
  }
}

/// Processes, timed from outside.
private struct Process {
  let output: Int32

  struct Results {
    private var all: [(time: Int64, peak: Int64)] = []
    mutating func add(_ one: (Int64, Int64)) { all.append(one) }
    // The first found nothing in the kernel's caches.
    var times: Samples { Samples(all.dropFirst().map { $0.time }) }
    var peaks: Samples { Samples(all.dropFirst().map { $0.peak }) }
  }

  func run(_ path: [CChar], _ words: [String]) throws(BenchmarkError) -> (Int64, Int64) {
    try run(words) { words, time, peak, status in
      path.withUnsafeBufferPointer { floor_process($0.baseAddress, -1, words, output, time, peak, status) }
    }
  }

  func run(_ program: Int32, _ words: [String]) throws(BenchmarkError) -> (Int64, Int64) {
    try run(words) { floor_process(nil, program, $0, output, $1, $2, $3) }
  }

  private func run(
    _ words: [String],
    _ body: (
      UnsafePointer<UnsafeMutablePointer<CChar>?>, UnsafeMutablePointer<Int64>, UnsafeMutablePointer<Int64>,
      UnsafeMutablePointer<Int32>
    ) -> Int
  ) throws(BenchmarkError) -> (Int64, Int64) {
    var time: Int64 = 0
    var peak: Int64 = 0
    var status: Int32 = 0
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { $0.withCString { strdup($0) } }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    try checkHost(body(arguments, &time, &peak, &status))
    guard status == 0 else { throw .process(status) }
    return (time, peak)
  }
}

/// A file that goes with its owner.
private struct TemporaryFile: ~Copyable {
  let path: String

  init(_ bytes: [UInt8]) throws(BenchmarkError) {
    let folder = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(folder)/swiftlet-bench-XXXXXX".utf8CString)
    try checkHost(floor_temporary_file(&template, bytes, bytes.count))
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  deinit { _ = path.withCString { floor_remove_file($0) } }
}
