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
      found.append(
        Measurement("open" + stage, Samples(times[index]), floor: floor.isEmpty ? nil : Samples(floor)))
    }
    return found
  }

  static let clone = Benchmark(
    name: "clone", summary: "a copy of a context with a few pages; the floor is a new machine with none", runs: 50
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    let context = try setting.makeContext(FLOOR_GUEST_TIMES, system)
    context.setArguments(1000, context.free, .max)
    try context.finish()
    var times: [Int64] = []
    var floors: [Int64] = []
    for _ in 0..<setting.runs {
      let start = Clock.monotonic
      do throws(KVMError) { _ = try context.clone(on: system) } catch { throw .kvm(error) }
      times.append(Clock.monotonic - start)
      var floor = [Int64](repeating: 0, count: Int(FLOOR_STAGES) + 1)
      try checkFloor(floor_open(&floor))
      floors.append(floor[2] - floor[1] + floor[4] - floor[3])
    }
    return [Measurement("clone", Samples(times), floor: Samples(floors))]
  }

  static let stop = Benchmark(
    name: "stop", summary: "from stop() to the end of the run of a guest that spins on another thread", runs: 30
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    let context = try setting.makeContext(FLOOR_GUEST_SPIN, system)
    var times: [Int64] = []
    for _ in 0..<setting.runs {
      let gate = Gate(count: 2)
      let thread = try Benchmark.thread {
        gate.pass()
        _ = try? context.run()
      }
      gate.pass()
      rest()
      let start = Clock.monotonic
      context.stop()
      _ = context.waitUntilDone()
      times.append(Clock.monotonic - start)
      thread.join()
    }
    var floors = [Int64](repeating: 0, count: setting.runs)
    try checkFloor(floor_stop(&floors, floors.count, restLength))
    return [Measurement("stop", Samples(times), floor: Samples(floors), tolerance: nil)]
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

  static let parallel = Benchmark(
    name: "parallel", summary: "secure calls of so many contexts at a time: time that passes, by all their calls",
    runs: 5
  ) { setting throws(BenchmarkError) in
    let processors = max(linux_processor_count(), 1)
    var counts: [Int] = []
    var next = 1
    while next < processors {
      counts.append(next)
      next *= 2
    }
    counts.append(processors)
    var found: [Measurement] = []
    for count in counts {
      var times: [Int64] = []
      var floors: [Int64] = []
      for _ in 0..<setting.runs {
        times.append(try setting.callTogether(count) / Int64(count * parallelCalls))
        var floor: Int64 = 0
        try checkFloor(floor_parallel(Int32(count), parallelCalls, &floor))
        floors.append(floor / Int64(count * parallelCalls))
      }
      // Where several run at a time, chance decides who waits for whom.
      let tolerance = count == 1 ? 3 : 20
      found.append(
        Measurement("parallel-\(count)", Samples(times), floor: Samples(floors), tolerance: tolerance))
    }
    return found
  }

  static func thread(_ body: @escaping @Sendable () -> Void) throws(BenchmarkError) -> Thread {
    do { return try Thread(body) } catch { throw .host(error) }
  }
}

/// Calls that each context makes for `parallel`.
private let parallelCalls = 5000
/// Nanoseconds that a guest is left to spin before it is stopped.
private let restLength: Int64 = 2_000_000

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

  /// The time that so many contexts take for their calls, each on a thread of its own.
  fileprivate func callTogether(_ count: Int) throws(BenchmarkError) -> Int64 {
    let system = try openSystem()
    let gate = Gate(count: count)
    let span = Span()
    var threads: [Thread] = []
    for _ in 0..<count {
      let context = try makeContext(FLOOR_GUEST_TIMES, system)
      context.setArguments(UInt64(parallelCalls), context.free, 0)
      threads.append(
        try Benchmark.thread {
          gate.pass()
          let begin = Clock.monotonic
          _ = try? context.run()
          span.add(begin, Clock.monotonic)
        })
    }
    for thread in threads { thread.join() }
    return span.length
  }
}

/// The time from the first begin to the last end that threads tell.
private final class Span: @unchecked Sendable {
  private let lock = Lock()
  // Read and written under the lock alone.
  private var begin = Int64.max
  private var end: Int64 = 0

  func add(_ begin: Int64, _ end: Int64) {
    lock.withLock {
      self.begin = min(self.begin, begin)
      self.end = max(self.end, end)
    }
  }

  var length: Int64 { lock.withLock { end - begin } }
}

/// Holds threads until as many as it waits for have come.
private final class Gate: @unchecked Sendable {
  private let lock = Lock()
  // Read and written under the lock alone.
  private var missing: Int

  init(count: Int) { missing = count }

  func pass() {
    lock.withLock {
      missing -= 1
      if missing == 0 { lock.wakeAll() }
      while missing > 0 { lock.wait() }
    }
  }
}
