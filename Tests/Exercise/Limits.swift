import Monitor
import Platform

private let millisecond: Int64 = 1_000_000

/// CPU budgets, the deadline, the limit handler.
var limitCases: [Case] {
  [
    Case("cpu-budget") { (host) throws(Failure) in
      let context = try host.context("loop")
      context.cpuBudget = 40 * millisecond
      try expectEnding(run(context), .failure(.limit(.cpuBudget)))
      try expect(context.cpuUsed >= 40 * millisecond, "it has used \(context.cpuUsed) ns")
      // It is a budget of all runs together.
      try expectEnding(run(context), .failure(.limit(.cpuBudget)))
      context.cpuBudget = context.cpuUsed + 20 * millisecond
      try expectEnding(run(context), .failure(.limit(.cpuBudget)))
      try expect(context.cpuUsed >= 60 * millisecond, "it has used \(context.cpuUsed) ns")
    },
    Case("cpu-budget-of-calls") { (host) throws(Failure) in
      let context = try host.context("call-loop")
      context.cpuBudget = 40 * millisecond
      try expectEnding(run(context), .failure(.limit(.cpuBudget)))
    },
    Case("call-budget") { (host) throws(Failure) in
      let context = try host.context("loop")
      context.callBudget = 30 * millisecond
      try expectEnding(run(context), .failure(.limit(.callBudget)))
      // One that makes calls continuously never exceeds it, nor does one that sleeps. Time during which the board itself is delayed
      // counts as CPU time: the budget is large, and larger if it was exceeded once.
      for name in ["call-loop", "sleep-call"] {
        var budget = 600 * millisecond
        var ending: Ending
        repeat {
          let calling = try host.context(name)
          calling.callBudget = budget
          calling.deadline = Clock.monotonic + budget * 3 / 2
          ending = run(calling)
          budget *= 4
        } while ending == .failure(.limit(.callBudget)) && budget < 10_000 * millisecond
        try expectEnding(ending, .failure(.limit(.deadline)))
      }
    },
    Case("deadline") { (host) throws(Failure) in
      for name in ["loop", "call-loop", "sleep-call"] {
        let context = try host.context(name)
        let end = Clock.monotonic + 30 * millisecond
        context.deadline = end
        try expectEnding(run(context), .failure(.limit(.deadline)))
        try expect(Clock.monotonic >= end, "\(name) ended early")
      }
    },
    Case("deadline-of-reader") { (host) throws(Failure) in
      let input = try Pipe()
      let context = try host.context("read", input: input.reading)
      context.deadline = Clock.monotonic + 30 * millisecond
      try expectEnding(run(context), .failure(.limit(.deadline)))
    },
    Case("deadline-of-writer") { (host) throws(Failure) in
      let output = try Pipe()
      let context = try host.context("write", ["65536"], output: output.writing)
      context.deadline = Clock.monotonic + 30 * millisecond
      try expectEnding(run(context), .failure(.limit(.deadline)))
    },
    Case("deadline-of-exec") { (host) throws(Failure) in
      let context = try host.context("loop")
      try monitored { () throws(ExecError) in try context.schedule() }
      context.ret(UInt64(0))
      context.deadline = Clock.monotonic + 30 * millisecond
      do throws(ExecError) { try context.schedule() } catch {
        try expect(error == .limit(.deadline), error.description)
        return
      }
      throw Failure("schedule came back")
    },
    Case("limits-set-by-handler") { (host) throws(Failure) in
      // During a run that began without limits.
      for limit in [Limit.deadline, .cpuBudget, .callBudget] {
        let context = try host.context("loop")
        context.handler = { (context) throws(ExecError) in
          switch limit {
          case .deadline: context.deadline = Clock.monotonic + 20 * millisecond
          case .cpuBudget: context.cpuBudget = 20 * millisecond
          case .callBudget: context.callBudget = 20 * millisecond
          }
          try secureHandler(context)
        }
        try expectEnding(run(context), .failure(.limit(limit)))
      }
    },
    Case("limits-taken-back") { (host) throws(Failure) in
      let context = try host.context("sleep", ["60"])
      context.deadline = Clock.monotonic + 20 * millisecond
      context.cpuBudget = 1
      context.handler = { (context) throws(ExecError) in
        context.deadline = nil
        context.cpuBudget = nil
        try secureHandler(context)
      }
      context.limitHandler = { context, _ in millisecond }
      try expectRun(context)
    },
    Case("limit-handler") { (host) throws(Failure) in
      for limit in [Limit.deadline, .cpuBudget, .callBudget] {
        let context = try host.context("loop")
        switch limit {
        case .deadline: context.deadline = Clock.monotonic + 10 * millisecond
        case .cpuBudget: context.cpuBudget = 10 * millisecond
        case .callBudget: context.callBudget = 10 * millisecond
        }
        var asked = 0
        let start = Clock.monotonic
        context.limitHandler = { context, passed in
          guard passed == limit else { return nil }
          asked += 1
          return asked < 4 ? 10 * millisecond : nil
        }
        try expectEnding(run(context), .failure(.limit(limit)))
        try equal(asked, 4, "number of questions")
        try expect(Clock.monotonic - start >= 40 * millisecond, "it was extended by less than 30 ms")
      }
    },
    Case("limits-in-lockstep") { (host) throws(Failure) in
      for parallel in [false, true] {
        let context = try host.context("loop")
        try host.addShadows(1, to: context, parallel: parallel)
        context.cpuBudget = 20 * millisecond
        try expectEnding(run(context), .failure(.limit(.cpuBudget)))
        let sleeping = try host.context("call-loop")
        try host.addShadows(1, to: sleeping, parallel: parallel)
        sleeping.deadline = Clock.monotonic + 30 * millisecond
        try expectEnding(run(sleeping), .failure(.limit(.deadline)))
      }
    },
  ]
}
