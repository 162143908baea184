import CFloor
import CLinux
import Machine
import Platform

/// Samples of resident memory, which differs little from run to run.
private let memoryRuns = 5

extension Benchmark {
  static let start = Benchmark(
    name: "start",
    summary: "swiftlet run of an applet that writes a line, from fork to wait; the floor has no C library",
    runs: 60
  ) { setting throws(BenchmarkError) in
    let process = try Process(setting.kernel)
    let applet = try TemporaryFile(Executable.applet(FLOOR_GUEST_HELLO, setting.architecture))
    let floorFile = Executable.start(setting.architecture)
    let floor = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checkHost(floor_memory_file(floorFile, floorFile.count))),
      kernel: setting.kernel)
    var programs: [Process.Program] = [
      .own(["run", "--no-sandbox", applet.path]), .own(["run", applet.path]), .file(floor.number),
    ]
    if let path = setting.files.applet { programs.append(.own(["run", path])) }
    if let path = setting.files.beside { programs.append(.path(path)) }
    var times = programs.map { _ in [Int64]() }
    for turn in 0..<setting.runs + 1 {
      for (index, program) in programs.enumerated() {
        let time = try process.time(program)
        // The first found nothing in the kernel's caches.
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
    func add(_ name: String, _ index: Int, floor: Int, memory: String?, isGated: Bool = true) {
      // Where its pages lie in memory makes a difference of two percent, even to an instruction count. A page fault makes up
      // to 16 pages of the executable present.
      found.append(
        Measurement(name, Samples(times[index]), floor: Samples(times[floor]), tolerance: isGated ? 5 : nil))
      guard let memory else { return }
      found.append(
        Measurement(
          memory, memories[index], floor: memories[floor], unit: .bytes, tolerance: isGated ? 20 : nil))
    }
    add("start", 0, floor: 2, memory: nil)
    add("start-sandboxed", 1, floor: 2, memory: "start-memory")
    let isBeside = setting.files.beside != nil
    let last = programs.count - 1
    if setting.files.applet != nil { add("start-applet", 3, floor: isBeside ? last : 2, memory: "start-applet-memory") }
    if isBeside { add("start-beside", last, floor: 2, memory: "start-beside-memory", isGated: false) }
    return found
  }

  /// Calls that a process makes for `call-sandboxed`.
  private static let callsOfProcess: UInt64 = 2000

  static let sandboxedCall = Benchmark(
    name: "call-sandboxed",
    summary: "secure call of an applet of swiftlet run: what a process with 2000 takes beyond one without, by call",
    runs: 20
  ) { setting throws(BenchmarkError) in
    let process = try Process(setting.kernel)
    var applets: [Process.Program] = []
    let many = try TemporaryFile(
      Executable.applet(FLOOR_GUEST_CALLS, setting.architecture, words: [callsOfProcess, 0, 0, 0]))
    let none = try TemporaryFile(Executable.applet(FLOOR_GUEST_CALLS, setting.architecture, words: [0, 0, 0, 0]))
    for path in [none.path, many.path] { applets.append(.own(["run", path])) }
    var times: [Int64] = []
    for turn in 0..<setting.runs + 1 {
      let base = try process.time(applets[0])
      let time = try process.time(applets[1])
      if turn > 0 { times.append((time - base) / Int64(callsOfProcess)) }
    }
    let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_NOTHING)
    return [Measurement("call-sandboxed", Samples(times), floor: floor)]
  }

  static let linux = Benchmark(
    name: "linux", summary: "swiftlet run --linux with one processor, from fork to wait: its first program ends it",
    runs: 1
  ) { setting throws(BenchmarkError) in
    guard let image = setting.files.linux, let initrd = setting.files.initrd else {
      throw .skipped("it takes --linux and --initrd")
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
