import CLinux
import Machine
import Monitor
import Platform

/// Contexts in parallel, and many of them.
var manyCases: [Case] {
  [
    Case("parallel") { (host) throws(Failure) in
      // Two contexts that wait for each other's calls: neither continues unless both do.
      let first = try host.context("values")
      let second = try host.context("values")
      let counts = (Flag(), Flag())
      func handler(_ own: Flag, _ other: Flag) -> ExecCtx.Handler {
        { (context) throws(ExecError) in
          own.add(1)
          if own.number == 200 { return context.exit(status: 0) }
          let end = Clock.monotonic + 20_000_000_000
          while other.number < own.number - 1 {
            if Clock.monotonic > end { throw .unknownCall(number: 1) }
            sched_yield()
          }
        }
      }
      first.handler = handler(counts.0, counts.1)
      second.handler = handler(counts.1, counts.0)
      let runners = [try Runner(first), try Runner(second)]
      for runner in runners { try expectEnding(try runner.end(), .success(.exited(status: 0))) }
    },
    Case("parallel-spinning") { (host) throws(Failure) in
      // One that loops without a call does not block the others.
      let spinning = try Runner(try host.context("loop"))
      try expectRun(try host.registers(200))
      try spinning.expectStop()
      let count = "5000000"
      let alone = try time([try host.context("spin-n", [count])])
      let both = try time([try host.context("spin-n", [count]), try host.context("spin-n", [count])])
      say(
        "note parallel-spinning: \(linux_processor_count()) processors: alone \(alone / 1000) us, two at once \(both / 1000) us"
      )
    },
    Case("two-hundred") { (host) throws(Failure) in
      // Mostly asleep: a board has one or two CPUs for all that loop and make calls.
      var runners: [Runner] = []
      let began = Flag()
      var contexts: [ExecCtx] = []
      for number in 0..<200 {
        let name = number % 20 == 0 ? "loop" : number % 20 == 1 ? "call-loop" : "sleep-call"
        let context = try host.context(name, memory: 1 << 20)
        context.handler = { (context) throws(ExecError) in
          if context.calls == 1 { began.add(1) }
          try secureHandler(context)
        }
        contexts.append(context)
      }
      for context in contexts { runners.append(try Runner(context)) }
      let end = Clock.monotonic + 60_000_000_000
      while began.number < 200, Clock.monotonic < end { sleepFor(microseconds: 5000) }
      try equal(began.number, 200, "number of contexts that have begun")
      let start = Clock.monotonic
      for runner in runners { runner.context.stop() }
      for runner in runners { try expectEnding(try runner.end(seconds: 60), .success(.stopped)) }
      say("note two-hundred: all stopped after \((Clock.monotonic - start) / 1000) us")
      for runner in runners { runner.context.handler = nil }
    },
    Case("others-go-on") { (host) throws(Failure) in
      // One ends with a fault, one at a limit: the others continue.
      let good = try host.registers(500)
      let runner = try Runner(good)
      for name in ["null-read", "undefined", "unknown-call", "stack-overflow"] {
        guard case .failure = run(try host.context(name)) else { throw Failure("\(name) did not fail") }
      }
      try expectEnding(try runner.end(), .success(.exited(status: 0)))
    },
    Case("made-and-unmade") { (host) throws(Failure) in
      // Contexts are created and released: resources are counted around every case.
      for _ in 0..<50 {
        let context = try host.context("hello-c")
        try host.addShadows(1, to: context)
        try expectRun(context)
      }
    },
  ]
}

/// The time in nanoseconds that several contexts take in parallel.
private func time(_ contexts: [ExecCtx]) throws(Failure) -> Int64 {
  let start = Clock.monotonic
  var runners: [Runner] = []
  for context in contexts { runners.append(try Runner(context)) }
  for runner in runners { try expectEnding(try runner.end(), .success(.exited(status: 0))) }
  return Clock.monotonic - start
}
