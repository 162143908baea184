import Machine
import Monitor
import Platform

/// Clone, Shadow, Equal, lockstep with voting.
var lockstepCases: [Case] {
  [
    Case("clone") { (host) throws(Failure) in
      // A clone has the state of the context, and is independent of it from then on.
      let context = try host.registers(400)
      var clone: ExecCtx?
      for _ in 0..<50 {
        try monitored { () throws(ExecError) in
          try context.schedule()
          try secureHandler(context)
        }
      }
      clone = try host.clone(of: context)
      guard let clone else { return }
      try expect(ExecCtx.equal(context, clone), "it is not equal")
      try expectRun(context)
      try expectRun(clone)
    },
    Case("clone-thread-pointer") { (host) throws(Failure) in
      let context = try host.context("obey")
      let unowned = Unmanaged.passUnretained(context)
      context.handler = orders([(9, 0x5a5a)]) { _, _ in unowned.takeUnretainedValue().stop() }
      try expectRun(context, .stopped)
      let clone = try host.clone(of: context)
      for copy in [context, clone] {
        var found: UInt64 = 0
        copy.handler = orders([(10, 0)]) { _, result in found = result }
        try expectRun(copy)
        try equal(found, 0x5a5a, "the thread pointer")
      }
    },
    Case("equal") { (host) throws(Failure) in
      let context = try host.context("values")
      let other: ExecCtx
      other = try host.clone(of: context)
      try expect(ExecCtx.equal(context, other), "a clone is not equal")
      for number in host.architecture.facts.generalRegisters {
        let value = other.value(of: number)
        other.setValue(of: number, value ^ 1)
        try expect(!ExecCtx.equal(context, other), "equal although register \(number) differs")
        other.setValue(of: number, value)
      }
      try expect(ExecCtx.equal(context, other), "not equal any more")
    },
    Case("lockstep-agrees") { (host) throws(Failure) in
      for (name, arguments) in [
        ("hello", []), ("registers", host.registersArguments(100)), ("floating", []), ("getrandom", []), ("heap", []),
      ]
        as [(String, [String])]
      {
        for count in [1, 2] {
          for parallel in [false, true] {
            let output = try Pipe()
            let context = try host.context(name, arguments, output: output.writing)
            try host.addShadows(count, to: context, parallel: parallel)
            try expectEnding(run(context), .success(.exited(status: 0)))
            try expect(context.lockstepReport.calls == context.calls, "not all calls were compared")
            let isRepaired = context.lockstepReport.repairs.contains { $0 > 0 }
            try expect(!isRepaired, "\(name) was repaired")
            try expect(output.contents().utf8.count > 0, "\(name) has printed nothing")
          }
        }
      }
    },
    Case("lockstep-memory-of-its-own") { (host) throws(Failure) in
      // Each copy has memory of its own, whereas GoTEE's copies share it.
      let context = try host.context("differ")
      try host.addShadows(1, to: context)
      guard let shadow = context.shadow else { throw Failure("no shadow") }
      context.handler = differing([2], of: [shadow])
      guard case .failure(.lockstep(.input(_, 1, 0x21, 0x2e))) = run(context) else { throw Failure("not noticed") }
    },
    Case("lockstep-general-register") { (host) throws(Failure) in
      let name = host.architecture == .arm64 ? "x20" : "s4"
      try expectDivergence(host, 6) { $0 == .register(name, copy: 1, value: 6, primary: 0) }
    },
    Case("lockstep-floating-point") { (host) throws(Failure) in
      let name = host.architecture == .arm64 ? "q8 (low half)" : "f8"
      try expectDivergence(host, 1) {
        if case .register(name, copy: 1, value: 1, primary: _) = $0 { true } else { false }
      }
    },
    Case("lockstep-pc") { (host) throws(Failure) in
      try expectDivergence(host, 5) {
        if case .register("pc", copy: 1, value: _, primary: _) = $0 { true } else { false }
      }
    },
    Case("lockstep-input") { (host) throws(Failure) in
      try expectDivergence(host, 2) {
        if case .input(_, copy: 1, value: 0x21, primary: 0x2e) = $0 { true } else { false }
      }
    },
    Case("lockstep-fault") { (host) throws(Failure) in
      try expectDivergence(host, 4) { $0 == .event(copy: 1, .fault(.breakpoint, address: nil), primary: .call) }
    },
    Case("lockstep-spins") { (host) throws(Failure) in
      try expectDivergence(host, 3) { $0 == .event(copy: 1, .interrupted, primary: .call) }
    },
    Case("lockstep-common-fault") { (host) throws(Failure) in
      // A fault that all copies raise is the applet's own.
      for parallel in [false, true] {
        let context = try host.context("undefined")
        try host.addShadows(2, to: context, parallel: parallel)
        try expectFault(run(context), .undefinedInstruction, nil)
      }
    },
    Case("vote-repairs-shadow") { (host) throws(Failure) in
      for parallel in [false, true] {
        for kind in [1, 2, 4, 5, 6] as [UInt64] {
          let context = try host.context("differ")
          try host.addShadows(2, to: context, parallel: parallel)
          context.handler = differing([kind], of: [context.shadows[1]])
          try expectRun(context)
          try expect(context.lockstepReport.repairs == [0, 0, 1], "kind \(kind): \(context.lockstepReport.repairs)")
        }
      }
    },
    Case("vote-repairs-primary") { (host) throws(Failure) in
      for parallel in [false, true] {
        for kind in [1, 2, 4, 5, 6] as [UInt64] {
          let output = try Pipe()
          let context = try host.context("differ", output: output.writing)
          try host.addShadows(2, to: context, parallel: parallel)
          context.handler = differing([kind], of: [context])
          try expectRun(context)
          try expect(context.lockstepReport.repairs == [1, 0, 0], "kind \(kind): \(context.lockstepReport.repairs)")
          // The output is that of the majority.
          let text = output.contents()
          try expect(text == "......", "kind \(kind): it wrote \(text)")
        }
      }
    },
    Case("vote-repairs-spinning") { (host) throws(Failure) in
      // Two seconds pass before a copy counts as one that makes no call.
      for (index, parallel) in [(0, false), (2, false), (0, true), (1, true)] {
        let context = try host.context("differ")
        try host.addShadows(2, to: context, parallel: parallel)
        let copies = [context] + context.shadows
        context.handler = differing([3], of: [copies[index]])
        try expectRun(context)
        try equal(context.lockstepReport.repairs[index], 1, "number of repairs")
      }
    },
    Case("vote-repairs-stopped") { (host) throws(Failure) in
      // It was stopped in its own code, with floating-point registers that no exit has saved: a repair copies them.
      for parallel in [false, true] {
        let context = try host.registers(90)
        try host.addShadows(2, to: context, parallel: parallel)
        let faulty = Unmanaged.passUnretained(context.shadows[1])
        let number = host.architecture.facts.generalRegisters.upperBound - 4
        context.handler = { (context) throws(ExecError) in
          try secureHandler(context)
          guard context.calls % 3 == 0 else { return }
          let shadow = faulty.takeUnretainedValue()
          shadow.setValue(of: number, ~shadow.value(of: number))
        }
        let stops = try stopAndRunOn(context) { 2000 + 1000 * $0 }
        let repairs = context.lockstepReport.repairs
        try expect(repairs[0] == 0 && repairs[1] == 0 && repairs[2] > 20, "\(repairs)")
        say("note vote-repairs-stopped: \(stops) stops, \(repairs[2]) repairs")
      }
    },
    Case("vote-names-each") { (host) throws(Failure) in
      // One copy after the other, never two at the same call.
      let context = try host.context("differ")
      try host.addShadows(4, to: context)
      var round = 0
      let copies = ([context] + context.shadows).map { Unmanaged.passUnretained($0) }
      context.handler = { (context) throws(ExecError) in
        if context.a0 != 0x500 { return try secureHandler(context) }
        context.ret(round == 10 ? 7 : UInt64(0))
        if round < 10 { setOwn(copies[round % 5].takeUnretainedValue(), 6) }
        round += 1
      }
      try expectRun(context)
      try expect(context.lockstepReport.repairs == [2, 2, 2, 2, 2], "\(context.lockstepReport.repairs)")
    },
    Case("vote-no-majority") { (host) throws(Failure) in
      let context = try host.context("differ")
      try host.addShadows(2, to: context)
      context.handler = { (context) throws(ExecError) in
        guard context.a0 == 0x500 else { return try secureHandler(context) }
        context.ret(UInt64(0))
        setOwn(context.shadows[0], 6)
        setOwn(context.shadows[1], 1)
      }
      guard case .failure(.lockstep(.register(_, 1, 6, 0))) = run(context) else { throw Failure("not noticed") }
    },
    Case("injected-faults") { (host) throws(Failure) in
      // With one shadow the first fault is detected at the next call; with two all are repaired, except those without
      // an effect.
      let context = try host.registers(1000)
      try host.addShadows(1, to: context)
      var injected = 0
      var injection = FaultInjection(percent: 5, seed: 7)
      injection.report = { _, _, _ in injected += 1 }
      context.faultInjection = injection
      guard case .failure(.lockstep) = run(context) else { throw Failure("not noticed") }
      try expect(injected >= 1, "nothing was injected")

      let voting = try host.registers(300)
      try host.addShadows(2, to: voting)
      injected = 0
      injection = FaultInjection(percent: 20, seed: 8)
      injection.report = { _, _, _ in injected += 1 }
      voting.faultInjection = injection
      try expectRun(voting)
      let repaired = voting.lockstepReport.repairs.reduce(0, +)
      say("note injected-faults: \(injected) injected, \(repaired) repaired")
      try expect(repaired > 0 && repaired <= UInt64(injected), "\(repaired) repaired of \(injected)")
    },
    Case("lockstep-ends") { (host) throws(Failure) in
      // Without its shadows the context continues alone.
      let context = try host.registers(200)
      try host.addShadows(1, to: context)
      context.handler = { (context) throws(ExecError) in
        try secureHandler(context)
        if context.calls == 20 { context.stop() }
      }
      try expectRun(context, .stopped)
      try equal(context.lockstepReport.calls, 20, "number of calls compared")
      try host.removeShadows(of: context)
      try expectRun(context)
      try equal(context.lockstepReport.calls, 20, "number of calls compared")
    },
    Case("counter") { (host) throws(Failure) in
      let output = try Pipe()
      let context = try host.context("counter", output: output.writing)
      try expectRun(context)
      try expect(output.contents() == "counter: read without a call\n", "it has to call")
      // A thousand reads of the clock cause no exit.
      try expect(context.calls < 20, "it has made \(context.calls) calls")
    },
    Case("counter-in-lockstep") { (host) throws(Failure) in
      for parallel in [false, true] {
        let output = try Pipe()
        let context = try host.context("counter", output: output.writing)
        try host.addShadows(2, to: context, parallel: parallel)
        try expectRun(context)
        try expect(output.contents() == "counter: kept from it\n", "it can read the counter")
      }
    },
    Case("counter-before-and-after-lockstep") { (host) throws(Failure) in
      // Allowed to read the counter before it runs in lockstep: the monitor then returns the same value to all copies;
      // afterwards reads are allowed again.
      for isBackAlone in [false, true] {
        let output = try Pipe()
        let context = try host.context("counter", ["yield"], output: output.writing)
        context.handler = { (context) throws(ExecError) in
          let isYield = context.a0 == 0x103
          try secureHandler(context)
          if isYield { context.stop() }
        }
        try expectRun(context, .stopped)
        try host.addShadows(2, to: context)
        if isBackAlone { try host.removeShadows(of: context) }
        let ending = run(context)
        try expect(ending == .success(.exited(status: 0)), "\(text(ending)): \(output.contents())")
        try expect(!context.lockstepReport.repairs.contains { $0 > 0 }, "it was repaired")
      }
    },
    Case("counter-of-clone") { (host) throws(Failure) in
      let context = try host.context("counter", ["yield"])
      context.handler = { (context) throws(ExecError) in
        let isYield = context.a0 == 0x103
        try secureHandler(context)
        if isYield { context.stop() }
      }
      try expectRun(context, .stopped)
      let clone: ExecCtx
      clone = try host.clone(of: context)
      // Its time continues from that of the original, which the applet itself checks.
      try expectRun(clone)
    },
  ]
}

/// Answers a single copy: a result for the primary is also set in its shadows.
func setOwn(_ copy: ExecCtx, _ value: UInt64) {
  let number = copy.architecture.callRegister
  let others = copy.shadows.map { $0.value(of: number) }
  copy.setValue(of: number, value)
  for (shadow, other) in zip(copy.shadows, others) { shadow.setValue(of: number, other) }
}

/// A handler for `differ`: in the second round the copies perform these actions, others none, and after six rounds the
/// applet ends.
private func differing(_ kinds: [UInt64], of copies: [ExecCtx]) -> ExecCtx.Handler {
  var round = 0
  // Unretained: otherwise a context and its handler would form a reference cycle.
  let copies = copies.map { Unmanaged.passUnretained($0) }
  return { (context) throws(ExecError) in
    guard context.a0 == 0x500 else { return try secureHandler(context) }
    context.ret(round == 6 ? 7 : UInt64(0))
    if round == 1 {
      for (copy, kind) in zip(copies, kinds) { setOwn(copy.takeUnretainedValue(), kind) }
    }
    round += 1
  }
}

/// With one shadow that behaves differently, the run ends with a description of the difference.
private func expectDivergence(_ host: Host, _ kind: UInt64, _ isRight: (Divergence) -> Bool) throws(Failure) {
  for parallel in [false, true] {
    let context = try host.context("differ")
    try host.addShadows(1, to: context, parallel: parallel)
    guard let shadow = context.shadow else { throw Failure("no shadow") }
    context.handler = differing([kind], of: [shadow])
    let ending = run(context)
    guard case .failure(.lockstep(let divergence)) = ending else { throw Failure("not noticed: \(text(ending))") }
    try expect(isRight(divergence), "noticed as: \(divergence.description)")
  }
}
