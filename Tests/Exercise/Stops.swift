import CLinux
import Monitor
import Platform

/// Stop and Done.
var stopCases: [Case] {
  [
    Case("stop-spinning") { (host) throws(Failure) in try stopAfterFirstCall(try host.context("loop")) },
    Case("stop-sleeping") { (host) throws(Failure) in try stopAfterFirstCall(try host.context("sleep-call")) },
    Case("stop-calling") { (host) throws(Failure) in try stopAfterFirstCall(try host.context("call-loop")) },
    Case("stop-waiting-for-input") { (host) throws(Failure) in
      let input = try Pipe()
      try stopAfterFirstCall(try host.context("read", input: input.reading))
    },
    Case("stop-blocked-in-output") { (host) throws(Failure) in
      // The pipe has no reader, and is too small for the output.
      let output = try Pipe()
      try stopAfterFirstCall(try host.context("write", ["65536"], output: output.writing), microseconds: 30000)
    },
    Case("stop-before-run") { (host) throws(Failure) in
      let context = try host.context("loop")
      context.stop()
      try expectRun(context, .stopped)
    },
    Case("stop-twice") { (host) throws(Failure) in
      let runner = try Runner(try host.context("loop"))
      sleepFor(microseconds: 5000)
      runner.context.stop()
      runner.context.stop()
      try expectEnding(try runner.end(), .success(.stopped))
      // No stop is left over: otherwise the next run would be stopped.
      let context = try host.context("nanotime")
      context.stop()
      context.stop()
      try expectRun(context, .stopped)
      try expectRun(context)
    },
    Case("stop-in-handler") { (host) throws(Failure) in
      let context = try host.context("values")
      context.handler = { (context) throws(ExecError) in
        context.ret(context.a2)
        if context.a2 == 5 { context.stop() }
      }
      try expectRun(context, .stopped)
      try equal(context.calls, 6, "number of calls")
    },
    Case("stop-exec") { (host) throws(Failure) in
      // The same for single entries without a run.
      let context = try host.context("loop")
      _ = try monitored { () throws(ExecError) in try context.exec() }
      context.ret(UInt64(0))
      let isStopped = Flag()
      let thread = try stopper(of: context, isStopped)
      do throws(ExecError) { while true { try context.exec() } } catch {
        try expect(error == .stopped, error.description)
      }
      try isStopped.wait()
      thread.join()
    },
    Case("stop-schedule") { (host) throws(Failure) in
      let context = try host.context("loop")
      try monitored { () throws(ExecError) in try context.schedule() }
      context.ret(UInt64(0))
      let isStopped = Flag()
      let thread = try stopper(of: context, isStopped)
      do throws(ExecError) { try context.schedule() } catch { try expect(error == .stopped, error.description) }
      try isStopped.wait()
      thread.join()
    },
    Case("stop-and-run-on") { (host) throws(Failure) in
      // Stopped repeatedly in its own code, it still computes the right result.
      let context = try host.registers(400)
      let stops = try stopAndRunOn(context) { 500 + 97 * $0 }
      say("note stop-and-run-on: \(stops) stops")
    },
    Case("stop-and-sleep-on") { (host) throws(Failure) in
      // A call in progress is completed after the stop: the applet itself checks the duration of its sleep, and the
      // result.
      let context = try host.context("sleep", ["1000"])
      for _ in 0..<3 {
        let runner = try Runner(context)
        sleepFor(microseconds: 15000)
        try runner.expectStop()
      }
      try expectRun(context)
    },
    Case("stop-and-read-on") { (host) throws(Failure) in
      let input = try Pipe()
      let output = try Pipe()
      let context = try host.context("read", output: output.writing, input: input.reading)
      let runner = try Runner(context)
      sleepFor(microseconds: 15000)
      try runner.expectStop()
      input.write("abc\n")
      let again = try Runner(context)
      var echo = ""
      for _ in 0..<2000 where echo.isEmpty {
        sleepFor(microseconds: 5000)
        echo = output.contents()
      }
      try expect(echo == "abc\n", "it has not echoed what it read")
      try again.expectStop()
    },
    Case("stop-in-lockstep") { (host) throws(Failure) in
      for parallel in [false, true] {
        for name in ["loop", "call-loop", "sleep-call"] {
          let context = try host.context(name)
          try host.addShadows(1, to: context, parallel: parallel)
          try stopAfterFirstCall(context)
        }
      }
    },
    Case("stop-and-run-on-in-lockstep") { (host) throws(Failure) in
      for parallel in [false, true] {
        let context = try host.registers(200)
        try host.addShadows(1, to: context, parallel: parallel)
        let stops = try stopAndRunOn(context) { 900 + 203 * $0 }
        say("note stop-and-run-on-in-lockstep: \(stops) stops, \(context.calls) calls")
      }
    },
    Case("done") { (host) throws(Failure) in
      let context = try host.context("loop")
      let runner = try Runner(context)
      let start = Clock.monotonic
      try expect(!context.waitUntilDone(deadline: start + 20_000_000), "done although it runs")
      try expect(Clock.monotonic - start >= 20_000_000, "waiting ended before its deadline")
      let isDone = Flag()
      let thread = try started { [stopper = context.stopper] in
        // Without a deadline.
        if stopper.waitUntilDone() { isDone.set() }
      }
      sleepFor(microseconds: 5000)
      try expect(!isDone.isSet, "done although it runs")
      try runner.expectStop()
      try isDone.wait()
      thread.join()
    },
    Case("long-thousand-stops", thousandStops),
  ]
}

/// A thread that stops a context after a few milliseconds.
private func stopper(of context: ExecCtx, _ isStopped: Flag) throws(Failure) -> Thread {
  try started { [stopper = context.stopper] in
    sleepFor(microseconds: 5000)
    stopper.stop()
    isStopped.set()
  }
}

/// Runs a context on a thread of its own until it has made a call, and stops it a little later.
private func stopAfterFirstCall(_ context: ExecCtx, microseconds: Int = 5000) throws(Failure) {
  let hasCalled = Flag()
  context.handler = { (context) throws(ExecError) in
    hasCalled.set()
    try secureHandler(context)
  }
  let runner = try Runner(context)
  try hasCalled.wait()
  sleepFor(microseconds: microseconds)
  let start = Clock.monotonic
  context.stop()
  try expectEnding(try runner.end(), .success(.stopped))
  say("note stop: \((runner.endedAt - start) / 1000) us")
  context.handler = nil
}

/// A thousand stops of guests that loop, sleep and make calls, each at another moment; prints how long they took.
private func thousandStops(_ host: Host) throws(Failure) {
  for name in ["loop", "sleep-call", "call-loop"] {
    let latencies = try stops(334, of: try host.context(name)).sorted()
    say(
      "note thousand-stops: \(name): \(latencies.count) stops, min \(latencies[0]) us, "
        + "median \(latencies[latencies.count / 2]) us, p99 \(latencies[latencies.count * 99 / 100]) us, "
        + "max \(latencies[latencies.count - 1]) us")
  }
}

/// Stops a context repeatedly, which is always run by the same thread: if a vCPU changes its thread, the kernel first
/// waits for a grace period of RCU, some ten milliseconds on arm64.
/// - Returns: microseconds from each stop to the end of the run.
private func stops(_ count: Int, of context: ExecCtx) throws(Failure) -> [Int64] {
  let begun = Flag()
  let ended = Flag()
  let failures = Flag()
  let endedAt = Flag()
  // Only this thread uses it until it is joined, except for its stopper.
  nonisolated(unsafe) let runner = context
  let stopper = context.stopper
  let thread = try started {
    for round in 0..<count {
      while begun.number <= round { sleepFor(microseconds: 50) }
      if run(runner) != .success(.stopped) { failures.set() }
      endedAt.number = Int(Clock.monotonic)
      ended.add(1)
    }
  }
  var random: UInt64 = 1
  var latencies: [Int64] = []
  for round in 0..<count {
    begun.add(1)
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    // Some occur before the thread has started the run.
    if round % 10 != 9 { sleepFor(microseconds: Int(random >> 33 % 3000)) }
    let start = Clock.monotonic
    stopper.stop()
    try ended.wait { $0 > round }
    latencies.append(max(Int64(endedAt.number) - start, 0) / 1000)
  }
  thread.join()
  try equal(failures.number, 0, "number of runs that ended otherwise")
  return latencies
}
