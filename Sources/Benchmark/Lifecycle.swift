import Applet
import CFloor
import CLinux
import KVM
import Machine
import Monitor
import Platform

extension Benchmark {
  static let open = Benchmark(
    name: "open", summary: "from nothing to the guest's first call, in one process, and each stage of it", runs: 50
  ) { setting throws(BenchmarkError) in
    let stages = ["", "-kvm", "-image", "-context", "-entry", "-close"]
    var times = Array(repeating: [Int64](), count: stages.count)
    var floors = times
    for turn in 0..<setting.runs + 2 {
      let marks = try setting.openOnce()
      var floor = [Int64](repeating: 0, count: Int(FLOOR_STAGES) + 1)
      try checkFloor(floor_open(&floor))
      // The first turns find nothing in the processor's caches and the kernel's.
      guard turn >= 2 else { continue }
      times[0].append(marks[4] - marks[0])
      floors[0].append(floor[3] - floor[0])
      for stage in 1..<stages.count {
        times[stage].append(marks[stage] - marks[stage - 1])
        // The floor has no image: its stages from the context on are one behind.
        if stage == 1 { floors[stage].append(floor[1] - floor[0]) }
        if stage > 2 { floors[stage].append(floor[stage - 1] - floor[stage - 2]) }
      }
    }
    var found: [Measurement] = []
    for (index, stage) in stages.enumerated() {
      let floor = floors[index]
      // The image's samples are of two kinds, 2,000 instructions apart, and how many of each there are differs. What makes and
      // ends machines and mappings depends on what the process has done before.
      let tolerance =
        switch stage {
        case "-kvm", "-entry": 3
        case "-image": 15
        default: 8
        }
      found.append(
        Measurement(
          "open" + stage, Samples(times[index]), floor: floor.isEmpty ? nil : Samples(floor), tolerance: tolerance))
    }
    return found
  }

  static let clone = Benchmark(
    name: "clone", summary: "a copy of a context with a few pages, and its end; the floor is a new machine with none",
    runs: 50
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    let context = try setting.makeContext(FLOOR_GUEST_TIMES, system)
    context.setArguments(1000, context.free, .max)
    try context.finish()
    var times: [Int64] = []
    var ends: [Int64] = []
    var floors: [Int64] = []
    var floorEnds: [Int64] = []
    for _ in 0..<setting.runs {
      let start = Clock.monotonic
      var copy: ExecCtx?
      do throws(KVMError) { copy = try context.clone(on: system) } catch { throw .kvm(error) }
      let made = withExtendedLifetime(copy) { Clock.monotonic }
      copy = nil
      ends.append(Clock.monotonic - made)
      times.append(made - start)
      var floor = [Int64](repeating: 0, count: Int(FLOOR_STAGES) + 1)
      try checkFloor(floor_open(&floor))
      floors.append(floor[2] - floor[1])
      floorEnds.append(floor[4] - floor[3])
    }
    // What the process has done before moves work from the one to the other.
    return [
      Measurement("clone", Samples(times), floor: Samples(floors), tolerance: 10),
      Measurement("clone-close", Samples(ends), floor: Samples(floorEnds), tolerance: 30),
    ]
  }

  static let memory = Benchmark(
    name: "memory", summary: "resident bytes for each of so many idle contexts", runs: 1
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for count in [1, 10, 100, 200] {
      let system = try setting.openSystem()
      let before = try resident()
      var contexts: [ExecCtx] = []
      contexts.reserveCapacity(count)
      for _ in 0..<count {
        let context = try setting.makeContext(FLOOR_GUEST_TIMES, system)
        context.setArguments(1, context.free, 0)
        try context.finish()
        contexts.append(context)
      }
      let used = (try resident() - before) / Int64(count)
      contexts.removeAll()
      let empty = try resident()
      defer { floor_release() }
      try checkFloor(floor_hold(Int32(count)))
      let floor = (try resident() - empty) / Int64(count)
      found.append(
        Measurement("memory-\(count)", Samples([used]), floor: Samples([max(floor, 1)]), unit: .bytes, tolerance: 10))
    }
    return found
  }
}

/// Nanoseconds that others are left to get on with what they have begun.
let restLength: Int64 = 2_000_000

/// Lets others get on with what they have begun.
func rest() { _ = linux_wait(-1, -1, restLength) }

private func resident() throws(BenchmarkError) -> Int64 {
  var bytes: Int64 = 0
  try checkHost(floor_resident(&bytes))
  return bytes
}

extension Setting {
  /// One context from nothing to its first call and away again.
  /// - Returns: the time at the begin, and when KVM was open, the image checked, the context made, the call there, all closed.
  fileprivate func openOnce() throws(BenchmarkError) -> [Int64] {
    let file = Executable.applet(FLOOR_GUEST_TIMES, architecture)
    var marks = try openToFirstCall(file)
    marks.append(Clock.monotonic)
    return marks
  }

  private func openToFirstCall(_ file: [UInt8]) throws(BenchmarkError) -> [Int64] {
    var marks = [Clock.monotonic]
    marks.reserveCapacity(6)
    let system = try openSystem()
    marks.append(Clock.monotonic)
    let image = try image(file)
    marks.append(Clock.monotonic)
    let context: ExecCtx
    do { context = try ExecCtx(image: image, system: system, architecture: architecture) } catch { throw .load(error) }
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
