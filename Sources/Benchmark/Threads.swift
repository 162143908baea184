import CBaseline
import CLinux
import KVM
import Machine
import Monitor
import Platform

extension Benchmark {
  static let stop = Benchmark(
    name: "stop", summary: "from stop() to the end of the run of a guest that loops on another thread", runs: 30
  ) { setting throws(BenchmarkError) in
    let system = try setting.openSystem()
    // From here on only the thread uses it, except for its stopper.
    nonisolated(unsafe) let context = try setting.makeContext(BASELINE_GUEST_SPIN, system)
    let stopper = context.stopper
    let failures = Failures()
    let gates = (0..<setting.runs).map { _ in Gate(count: 2) }
    let thread: Thread
    do throws(Errno) {
      // One thread for all runs: if a vCPU changes its thread, KVM_RUN first waits for a grace period of RCU (synchronize_rcu), which
      // takes 10 ms.
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
      stopper.stop()
      stopper.waitUntilDone()
      times.append(Clock.monotonic - start)
    }
    thread.join()
    try failures.check()
    var baselines = [Int64](repeating: 0, count: setting.runs)
    try checkBaseline(baseline_stop(&baselines, baselines.count, restLength))
    // Depending on what the process has done before, it takes 47,000 or 70,000 instructions on the riscv64 board.
    return [Measurement("stop", Samples(times), baseline: Samples(baselines), tolerance: 60)]
  }

  static let parallel = Benchmark(
    name: "parallel", summary: "secure calls of N contexts in parallel: elapsed time divided by the number of calls",
    runs: 5
  ) { setting throws(BenchmarkError) in
    let cpus = max(linux_processor_count(), 1)
    var counts: [Int] = []
    var next = 1
    while next < cpus {
      counts.append(next)
      next *= 2
    }
    counts.append(cpus)
    var found: [Measurement] = []
    for count in counts {
      var times: [Int64] = []
      var baselines: [Int64] = []
      for _ in 0..<setting.runs {
        times.append(try setting.callTogether(count) / Int64(count * parallelCalls))
        var baseline: Int64 = 0
        try checkBaseline(baseline_parallel(Int32(count), parallelCalls, &baseline))
        baselines.append(baseline / Int64(count * parallelCalls))
      }
      // With several in parallel, the order of waits is random.
      let tolerance = count == 1 ? 3 : 20
      found.append(
        Measurement("parallel-\(count)", Samples(times), baseline: Samples(baselines), tolerance: tolerance))
    }
    return found
  }
}

/// Number of calls of each context for `parallel`.
private let parallelCalls = 5000

extension Setting {
  /// The time for the calls of this many contexts, each on its own thread.
  fileprivate func callTogether(_ count: Int) throws(BenchmarkError) -> Int64 {
    let system = try openSystem()
    var contexts: [ExecCtx] = []
    for _ in 0..<count {
      let context = try makeContext(BASELINE_GUEST_TIMES, system)
      context.setArguments(UInt64(parallelCalls), context.free, 0)
      contexts.append(context)
    }
    let gate = Gate(count: count)
    let span = Span()
    let failures = Failures()
    var threads: [Thread] = []
    do throws(Errno) {
      for context in contexts {
        // Its thread's alone until that is joined.
        nonisolated(unsafe) let context = context
        threads.append(
          try Thread {
            guard gate.pass() else { return }
            let begin = Clock.monotonic
            failures.run(context, until: .exited(status: 0))
            span.add(begin, Clock.monotonic)
          })
      }
    } catch {
      gate.release()
      for thread in threads { thread.join() }
      throw .host(error)
    }
    for thread in threads { thread.join() }
    try failures.check()
    return span.length
  }
}

/// The time from the first start to the last end of several threads.
private final class Span: Sendable {
  private let ends = Guarded((begin: Int64.max, end: Int64(0)))

  func add(_ begin: Int64, _ end: Int64) {
    ends.withLock { $0 = (min($0.begin, begin), max($0.end, end)) }
  }

  var length: Int64 { ends.withLock { $0.end - $0.begin } }
}

/// Blocks threads until all that are expected have arrived, or one cannot arrive.
final class Gate: Sendable {
  private enum State {
    case closed(missing: Int)
    case open
    case givenUp
  }

  private let state: Guarded<State>

  init(count: Int) { state = Guarded(.closed(missing: count)) }

  /// - Returns: whether all have arrived.
  @discardableResult
  func pass() -> Bool {
    state.withLock { state in
      if case .closed(let missing) = state { state = missing > 1 ? .closed(missing: missing - 1) : .open }
    }
    state.wakeAll()
    let isOpen = state.wait { state -> Bool? in
      switch state {
      case .closed: nil
      case .open: true
      case .givenUp: false
      }
    }
    return isOpen ?? false
  }

  /// Releases the waiting threads, because another cannot arrive.
  func release() {
    state.withLock { $0 = .givenUp }
    state.wakeAll()
  }
}

/// The first error on other threads.
private final class Failures: Sendable {
  private let first = Guarded<BenchmarkError?>(nil)

  /// Runs a context, which must have this outcome.
  func run(_ context: ExecCtx, until wanted: Outcome) {
    var failure: BenchmarkError?
    do throws(ExecError) { if try context.run() != wanted { failure = .wrongEnd } } catch { failure = .run(error) }
    guard let failure else { return }
    first.withLock { if $0 == nil { $0 = failure } }
  }

  func check() throws(BenchmarkError) {
    if let first = first.withLock({ $0 }) { throw first }
  }
}
