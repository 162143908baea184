import CBaseline
import CLinux
import Machine
import Platform

/// Number of samples of resident memory, which varies little.
private let memoryRuns = 5

extension Benchmark {
  static let start = Benchmark(
    name: "start",
    summary: "swiftlet run of an applet that writes a line, from fork to wait; the baseline has no C library",
    runs: 60
  ) { setting throws(BenchmarkError) in
    let process = try Process(setting.kernel)
    let applet = try TemporaryFile(Executable.applet(BASELINE_GUEST_HELLO, setting.architecture))
    let baselineFile = Executable.start(setting.architecture)
    let baseline = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checkHost(baseline_memory_file(baselineFile, baselineFile.count))),
      kernel: setting.kernel)
    var programs: [Process.Program] = [
      .own(["run", "--no-sandbox", applet.path]), .own(["run", applet.path]), .file(baseline.number),
    ]
    if let path = setting.files.applet { programs.append(.own(["run", path])) }
    if let path = setting.files.beside { programs.append(.path(path)) }
    var times = programs.map { _ in [Int64]() }
    for turn in 0..<setting.runs + 1 {
      for (index, program) in programs.enumerated() {
        let time = try process.time(program)
        // The first one warms the kernel's caches.
        if turn > 0 { times[index].append(time) }
      }
    }
    var memories: [Samples] = []
    for program in programs {
      var found: [Int64] = []
      for _ in 0..<min(setting.runs, memoryRuns) { found.append(try process.memory(program)) }
      memories.append(Samples(found))
    }

    var found: [Measurement] = []
    func add(_ name: String, _ index: Int, baseline: Int, memory: String?, isGated: Bool = true) {
      // The addresses of its pages in memory account for two percent, even of an instruction count. A page fault maps up to 16 pages
      // of the executable.
      found.append(
        Measurement(name, Samples(times[index]), baseline: Samples(times[baseline]), tolerance: isGated ? 5 : nil))
      guard let memory else { return }
      found.append(
        Measurement(
          memory, memories[index], baseline: memories[baseline], unit: .bytes, tolerance: isGated ? 20 : nil))
    }
    add("start", 0, baseline: 2, memory: nil)
    add("start-sandboxed", 1, baseline: 2, memory: "start-memory")
    let isBeside = setting.files.beside != nil
    let last = programs.count - 1
    if setting.files.applet != nil {
      add("start-applet", 3, baseline: isBeside ? last : 2, memory: "start-applet-memory")
    }
    if isBeside { add("start-beside", last, baseline: 2, memory: "start-beside-memory", isGated: false) }
    return found
  }

  /// Number of calls of a process for `call-sandboxed`.
  private static let callsOfProcess: UInt64 = 2000

  static let sandboxedCall = Benchmark(
    name: "call-sandboxed",
    summary: "secure call under swiftlet run: a process with 2000 calls less one without, by call",
    runs: 20
  ) { setting throws(BenchmarkError) in
    let process = try Process(setting.kernel)
    var applets: [Process.Program] = []
    let many = try TemporaryFile(
      Executable.applet(BASELINE_GUEST_CALLS, setting.architecture, words: [callsOfProcess, 0, 0, 0]))
    let none = try TemporaryFile(Executable.applet(BASELINE_GUEST_CALLS, setting.architecture, words: [0, 0, 0, 0]))
    for path in [none.path, many.path] { applets.append(.own(["run", path])) }
    var times: [Int64] = []
    for turn in 0..<setting.runs + 1 {
      let base = try process.time(applets[0])
      let time = try process.time(applets[1])
      if turn > 0 { times.append((time - base) / Int64(callsOfProcess)) }
    }
    let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_NOTHING)
    return [Measurement("call-sandboxed", Samples(times), baseline: baseline)]
  }

  static let linux = Benchmark(
    name: "linux", summary: "swiftlet run --linux with one CPU, from fork to wait; its init powers off",
    runs: 1
  ) { setting throws(BenchmarkError) in
    guard let image = setting.files.linux, let initrd = setting.files.initrd else {
      throw .skipped("it needs --linux and --initrd")
    }
    let process = try Process(setting.kernel)
    var times: [Int64] = []
    for _ in 0..<setting.runs {
      let words = "rdinit=/bin/poweroff -- -f"
      times.append(try process.time(.own(["run", "--linux", image, "--initrd", initrd, "--append", words])))
    }
    return [Measurement("linux", Samples(times), tolerance: 5)]
  }
}
