import CFloor
import CLinux
import Machine
import Platform

/// Percent: the kernel counts resident pages in steps of 128 KiB, which are much beside the 300 KiB or so of a start.
private let stepOfPeaks = 50

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
    var plain = Process.Results()
    var sandboxed = plain
    var least = plain
    var given = plain
    var beside = plain
    for _ in 0..<setting.runs + 1 {
      plain.add(try process.run("run", "--no-sandbox", applet.path))
      sandboxed.add(try process.run("run", applet.path))
      least.add(try process.run(program: floor))
      if let path = setting.files.applet { given.add(try process.run("run", path)) }
      if let path = setting.files.beside { beside.add(try process.run(program: path)) }
    }
    // Where its pages lie in memory makes a difference of two percent, even to an instruction count.
    var found = [
      Measurement("start", plain.times, floor: least.times, tolerance: 5),
      Measurement("start-sandboxed", sandboxed.times, floor: least.times, tolerance: 5),
      Measurement("start-memory", sandboxed.peaks, floor: least.peaks, unit: .bytes, tolerance: stepOfPeaks),
    ]
    if !given.isEmpty {
      let floor = beside.isEmpty ? least : beside
      found += [
        Measurement("start-applet", given.times, floor: floor.times, tolerance: 5),
        Measurement(
          "start-applet-memory", given.peaks, floor: floor.peaks, unit: .bytes, tolerance: stepOfPeaks),
      ]
    }
    if !beside.isEmpty {
      found += [
        Measurement("start-beside", beside.times, floor: least.times, tolerance: nil),
        Measurement("start-beside-memory", beside.peaks, floor: least.peaks, unit: .bytes, tolerance: nil),
      ]
    }
    return found
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
      times.append(try process.run("run", "--linux", image, "--initrd", initrd, "--append", words).time)
    }
    return [Measurement("linux", Samples(times), tolerance: 5)]
  }
}
