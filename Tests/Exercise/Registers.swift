import Machine
import Monitor

/// A0, A1, A2, Ret, Cause, Mode, Secure, NonSecure, String.
var registerCases: [Case] {
  [
    Case("ret") { (host) throws(Failure) in
      let context = try host.context("values")
      func next(_ wanted: UInt64, _ what: StaticString) throws(Failure) {
        try monitored { () throws(ExecError) in try context.schedule() }
        try equal(context.a1, wanted, what)
      }
      try next(0, "the first")
      context.ret(UInt64.max)
      try next(.max, "the greatest unsigned 64-bit number")
      context.ret(Int64.min)
      try next(1 << 63, "the least signed 64-bit number")
      context.ret(UInt32.max)
      try next(0xffff_ffff, "the greatest unsigned 32-bit number")
      context.ret(Int32(-32))
      try next(UInt64(bitPattern: -32), "a negative 32-bit number")
      context.ret(Int64(-1))
      try next(.max, "a negative 64-bit number")
    },
    Case("ret-shadow") { (host) throws(Failure) in
      let context = try host.context("values")
      try host.addShadows(2, to: context)
      var round: UInt64 = 0
      context.handler = { (context) throws(ExecError) in
        for shadow in context.shadows where shadow.a1 != context.a1 || shadow.a2 != round {
          throw .unknownCall(number: shadow.a1)
        }
        round += 1
        if round == 20 { return context.exit(status: 0) }
        context.ret(round &* 0x1234_5678_9abc_def1)
      }
      try expectRun(context)
      try equal(context.lockstepReport.calls, 20, "number of calls that agreed")
    },
    Case("cause-and-mode") { (host) throws(Failure) in
      let context = try host.context("obey")
      try obey(context, 1, 0)
      let call: UInt64 = host.architecture == .arm64 ? 0x15 : 8
      try equal(context.cause.code, call, "the cause of a call")
      try expect(!context.cause.isInterrupt, "a call is said to be an interrupt")
      try expect(context.mode == (.system, .user), "the modes of a call are wrong")
      let event = try monitored { () throws(ExecError) in try context.exec() }
      try expect(event == .fault(.read, address: 0), "no fault")
      try equal(context.cause.code, host.architecture == .arm64 ? 0x24 : 13, "the cause of a read fault")
      try expect(context.mode == (.system, .user), "the modes of a fault are wrong")
    },
    Case("secure") { (host) throws(Failure) in
      let context = try host.context("values")
      try expect(context.isSecure && !context.isNonSecure, "an applet is no secure context")
    },
    Case("description") { (host) throws(Failure) in
      let context = try host.context("values")
      try monitored { () throws(ExecError) in try context.schedule() }
      let text = context.description
      let names =
        host.architecture == .arm64
        ? ["x0:", "x1:", "x29:", "x30:", "sp:", "pc:", "pstate:", "cause:"]
        : ["ra:", "sp:", "gp:", "tp:", "t6:", "s11:", "a0:", "a7:", "pc:", "sstatus:", "cause:"]
      for name in names where !has(text, name) { throw Failure("no \(name) in\n\(text)") }
      try expect(has(text, ":0000000000000500"), "the call's number is not shown in\n\(text)")
      try expect(!has(text, "address:"), "an address is shown for a call in\n\(text)")
      for line in text.split(separator: "\n") { try expect(line.utf8.count < 120, "a line is too long: \(line)") }
    },
    Case("stopped-registers") { (host) throws(Failure) in
      // If it is stopped in its own code, its registers are those of that moment, and it continues with changed ones.
      let context = try host.context("obey")
      context.handler = orders([(4, 0)])
      func isInLoop() -> Bool { context.name(of: context.pc).map { has($0, "spin") } ?? false }
      // A busy board needs longer than the first pauses until it is there.
      var pause = 20000
      repeat {
        let runner = try Runner(context)
        sleepFor(microseconds: pause)
        try runner.expectStop()
        pause *= 2
      } while !isInLoop() && pause < 10_000_000
      try expect(isInLoop(), "it does not come to its loop: its pc is \(context.pc)")
      let number = host.architecture.facts.generalRegisters.upperBound - 4
      context.setValue(of: number, 0x5a5a)
      let again = try Runner(context)
      sleepFor(microseconds: 20000)
      try again.expectStop()
      try equal(context.value(of: number), 0x5a5a, "the register that was set")
      try expect(isInLoop(), "it left its loop: its pc is \(context.pc)")
      // A clone continues from there, too.
      let clone = try host.clone(of: context)
      clone.stop()
      try expectRun(clone, .stopped)
      try expect(ExecCtx.equal(context, clone), "a clone is not equal")
    },
    Case("stopped-amid-calls") { (host) throws(Failure) in
      // Wherever a stop interrupts it, in its own code or in the shim's, it continues with changed registers.
      let context = try host.context("call-loop")
      let number = host.architecture.facts.generalRegisters.upperBound - 4
      for round in 1...100 as ClosedRange<UInt64> {
        let runner = try Runner(context)
        sleepFor(microseconds: 300 + Int(round) * 13)
        try runner.expectStop()
        if round > 1 { try equal(context.value(of: number), round - 1, "the register that was set") }
        context.setValue(of: number, round)
      }
    },
    Case("floating-point") { (host) throws(Failure) in
      // Read and changed after a call: `floating` checks its own results.
      let context = try host.context("values")
      try monitored { () throws(ExecError) in try context.schedule() }
      let isWide = host.architecture == .arm64
      try monitored { () throws(ExecError) in try context.setFloatingPoint(9, low: 0x1234, high: 0x5678) }
      context.ret(UInt64(0))
      try monitored { () throws(ExecError) in try context.schedule() }
      let (low, high) = try monitored { () throws(ExecError) in try context.floatingPoint(9) }
      try equal(low, 0x1234, "the low half")
      try equal(high, isWide ? 0x5678 : 0, "the high half")
    },
  ]
}
