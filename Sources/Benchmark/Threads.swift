import CFloor
import CLinux
import KVM
import Machine
import Monitor
import Platform

extension Benchmark {
  static let stop = Benchmark(
    name: "stop", summary: "from stop() to the end of the run of a guest that spins on another thread", runs: 30
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    let context = try setting.makeContext(FLOOR_GUEST_SPIN, system)
    let failures = Failures()
    let gates = (0..<setting.runs).map { _ in Gate(count: 2) }
    let thread: Thread
    do throws(Errno) {
      // One for all runs: where a vCPU's thread is another than before, KVM_RUN first waits for the kernel to forget the old
      // one (synchronize_rcu), which takes 10 ms.
      thread = try Thread {
        for gate in gates {
          gate.pass()
          failures.run(context, until: .stopped)
        }
      }
    } catch { throw .host(error) }
    var times: [Int64] = []
    for gate in gates {
      gate.pass()
      rest()
      let start = Clock.monotonic
      context.stop()
      _ = context.waitUntilDone()
      times.append(Clock.monotonic - start)
    }
    thread.join()
    try failures.check()
    var floors = [Int64](repeating: 0, count: setting.runs)
    try checkFloor(floor_stop(&floors, floors.count, restLength))
    // What the process has done before makes it 47,000 instructions or 70,000 on the riscv64 board.
    return [Measurement("stop", Samples(times), floor: Samples(floors), tolerance: 60)]
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
}

/// Calls that each context makes for `parallel`.
private let parallelCalls = 5000

extension Setting {
  /// The time that so many contexts take for their calls, each on a thread of its own.
  fileprivate func callTogether(_ count: Int) throws(BenchmarkError) -> Int64 {
    let system = try openSystem()
    var contexts: [ExecCtx] = []
    for _ in 0..<count {
      let context = try makeContext(FLOOR_GUEST_TIMES, system)
      context.setArguments(UInt64(parallelCalls), context.free, 0)
      contexts.append(context)
    }
    let gate = Gate(count: count)
    let span = Span()
    let failures = Failures()
    var threads: [Thread] = []
    do throws(Errno) {
      for context in contexts {
        threads.append(
          try Thread {
            guard gate.pass() else { return }
            let begin = Clock.monotonic
            failures.run(context, until: .exited(status: 0))
            span.add(begin, Clock.monotonic)
          })
      }
    } catch {
      gate.giveUp()
      for thread in threads { thread.join() }
      throw .host(error)
    }
    for thread in threads { thread.join() }
    try failures.check()
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

/// Holds threads until as many as it waits for have come, or none will come any more.
final class Gate: @unchecked Sendable {
  private let lock = Lock()
  // Read and written under the lock alone.
  private var missing: Int
  private var isGivenUp = false

  init(count: Int) { missing = count }

  /// - Returns: whether all have come.
  @discardableResult
  func pass() -> Bool {
    lock.withLock {
      missing -= 1
      if missing == 0 { lock.wakeAll() }
      while missing > 0, !isGivenUp { lock.wait() }
      return !isGivenUp
    }
  }

  /// Lets go of those that wait: the others cannot come.
  func giveUp() {
    lock.withLock {
      isGivenUp = true
      lock.wakeAll()
    }
  }
}

/// What went wrong on other threads: the first of it.
private final class Failures: @unchecked Sendable {
  private let lock = Lock()
  // Read and written under the lock alone.
  private var first: BenchmarkError?

  /// Runs a context, which must end so.
  func run(_ context: ExecCtx, until wanted: Outcome) {
    var failure: BenchmarkError?
    do throws(ExecError) { if try context.run() != wanted { failure = .wrongEnd } } catch { failure = .run(error) }
    guard let failure else { return }
    lock.withLock { if first == nil { first = failure } }
  }

  func check() throws(BenchmarkError) {
    if let first = lock.withLock({ first }) { throw first }
  }
}
