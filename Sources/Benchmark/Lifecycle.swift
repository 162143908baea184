import Applet
import CBaseline
import CLinux
import KVM
import Machine
import Monitor
import Platform

extension Benchmark {
  static let open = Benchmark(
    name: "open", summary: "creation of a context up to its first call, in one process, and each stage", runs: 50
  ) { setting throws(BenchmarkError) in
    let stages = ["", "-kvm", "-image", "-context", "-entry", "-close"]
    var times = Array(repeating: [Int64](), count: stages.count)
    var baselines = times
    for turn in 0..<setting.runs + 2 {
      let marks = try setting.openOnce()
      var baseline = [Int64](repeating: 0, count: Int(BASELINE_STAGES) + 1)
      try checkBaseline(baseline_open(&baseline))
      // The first ones warm the caches of the CPU and the kernel.
      guard turn >= 2 else { continue }
      times[0].append(marks[4] - marks[0])
      baselines[0].append(baseline[3] - baseline[0])
      for stage in 1..<stages.count {
        times[stage].append(marks[stage] - marks[stage - 1])
        // The baseline has no image, so its stages from the context on have an index that is one lower.
        if stage == 1 { baselines[stage].append(baseline[1] - baseline[0]) }
        if stage > 2 { baselines[stage].append(baseline[stage - 1] - baseline[stage - 2]) }
      }
    }
    var found: [Measurement] = []
    for (index, stage) in stages.enumerated() {
      let baseline = baselines[index]
      // The samples of the image stage have two modes, 2,000 instructions apart, in varying proportions. The cost of creating and
      // destroying VMs and mappings depends on what the process has done before.
      let tolerance =
        switch stage {
        case "-kvm", "-entry": 3
        case "-image": 15
        default: 8
        }
      found.append(
        Measurement(
          "open" + stage, Samples(times[index]), baseline: baseline.isEmpty ? nil : Samples(baseline),
          tolerance: tolerance))
    }
    return found
  }

  static let clone = Benchmark(
    name: "clone", summary: "clone of a context with a few pages, and its end; the baseline is a new VM without memory",
    runs: 50
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    let context = try setting.makeContext(BASELINE_GUEST_TIMES, system)
    context.setArguments(1000, context.free, .max)
    try context.finish()
    var times: [Int64] = []
    var ends: [Int64] = []
    var baselines: [Int64] = []
    var baselineEnds: [Int64] = []
    for _ in 0..<setting.runs {
      let start = Clock.monotonic
      var copy: ExecCtx?
      do throws(KVMError) { copy = try context.clone(on: system) } catch { throw .kvm(error) }
      let made = withExtendedLifetime(copy) { Clock.monotonic }
      copy = nil
      ends.append(Clock.monotonic - made)
      times.append(made - start)
      var baseline = [Int64](repeating: 0, count: Int(BASELINE_STAGES) + 1)
      try checkBaseline(baseline_open(&baseline))
      baselines.append(baseline[2] - baseline[1])
      baselineEnds.append(baseline[4] - baseline[3])
    }
    // What the process has done before moves work from one to the other.
    return [
      Measurement("clone", Samples(times), baseline: Samples(baselines), tolerance: 10),
      Measurement("clone-close", Samples(ends), baseline: Samples(baselineEnds), tolerance: 30),
    ]
  }

  static let memory = Benchmark(
    name: "memory", summary: "resident bytes for each of N idle contexts", runs: 1
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for count in [1, 10, 100, 200] {
      let system = try setting.openSystem()
      let before = try resident()
      var contexts: [ExecCtx] = []
      contexts.reserveCapacity(count)
      for _ in 0..<count {
        let context = try setting.makeContext(BASELINE_GUEST_TIMES, system)
        context.setArguments(1, context.free, 0)
        try context.finish()
        contexts.append(context)
      }
      let used = (try resident() - before) / Int64(count)
      contexts.removeAll()
      let empty = try resident()
      defer { baseline_release() }
      try checkBaseline(baseline_hold(Int32(count)))
      let baseline = (try resident() - empty) / Int64(count)
      found.append(
        Measurement(
          "memory-\(count)", Samples([used]), baseline: Samples([max(baseline, 1)]), unit: .bytes, tolerance: 10))
    }
    return found
  }
}

/// Time to let other threads and processes finish their work, in nanoseconds.
let restLength: Int64 = 2_000_000

/// Lets other threads and processes finish their work.
func rest() { _ = linux_wait(-1, -1, restLength) }

private func resident() throws(BenchmarkError) -> Int64 {
  var bytes: Int64 = 0
  try checkHost(baseline_resident(&bytes))
  return bytes
}

extension Setting {
  /// Creates a context, runs it to its first call and closes it.
  /// - Returns: the times of the start, of KVM open, image checked, context created, call received, all closed.
  fileprivate func openOnce() throws(BenchmarkError) -> [Int64] {
    let file = Executable.applet(BASELINE_GUEST_TIMES, architecture)
    var marks = try openToFirstCall(file)
    marks.append(Clock.monotonic)
    return marks
  }

  private func openToFirstCall(_ file: [UInt8]) throws(BenchmarkError) -> [Int64] {
    var marks: [Int64] = []
    marks.reserveCapacity(6)
    marks.append(Clock.monotonic)
    let system = try openSystem()
    marks.append(Clock.monotonic)
    let image = try image(file)
    marks.append(Clock.monotonic)
    let context = try makeContext(image, system)
    context.setArguments(1, context.free, 0)
    marks.append(Clock.monotonic)
    let recorder = Recorder(count: 0)
    context.handler = { context throws(ExecError) in
      _ = recorder.mark()
      context.exit(status: 0)
    }
    try context.finish()
    context.handler = nil
    marks.append(recorder.marks[0])
    return marks
  }
}
