import Applet
import CExercise
import Machine
import Monitor
import Platform

/// Load, exec, schedule, run, handlers.
var entryCases: [Case] {
  [
    Case("exec") { (host) throws(Failure) in
      // Step by step, without a handler: each entry returns at the next call, and the following one continues with its
      // result.
      let context = try host.context("values")
      var answer: UInt64 = 0
      for round in 0..<100 as Range<UInt64> {
        let event = try monitored { () throws(ExecError) in try context.exec() }
        try expect(event == .call, "round \(round) ended with no call")
        try equal(context.a0, 0x500, "a0")
        try equal(context.a1, answer, "a1, the answer to the last call,")
        try equal(context.a2, round, "a2")
        try equal(context.a3, ~round, "a3")
        answer = round &* 0x9e37_79b9_7f4a_7c15
        context.ret(answer)
      }
    },
    Case("exec-resumes-a-fault") { (host) throws(Failure) in
      // An entry that ended with a fault can be repeated after its cause is removed: memory on demand.
      let context = try host.context("obey")
      let address: UInt64 = 0x1_0000_0000
      try obey(context, 1, address)
      let event = try monitored { () throws(ExecError) in try context.exec() }
      try expect(event == .fault(.read, address: address), "no read fault")
      let page = try host.sharedMemory(hostPage)
      page.bytes.storeBytes(of: 0x1234, as: UInt64.self)
      try changed { () throws(RegionError) in try context.addRegion(at: address, page, access: [.read]) }
      let again = try monitored { () throws(ExecError) in try context.exec() }
      try expect(again == .call, "no call after the repair")
      try equal(context.a0, 0x502, "a0")
      try equal(context.a1, 0x1234, "what was loaded")
    },
    Case("exec-skips-a-fault") { (host) throws(Failure) in
      // A handler of exceptions may skip the instruction: the guest continues after it.
      for shadows in [0, 2] {
        let context = try host.context("obey")
        try obey(context, 2, 0x1_0000_0000)
        let event = try monitored { () throws(ExecError) in try context.exec() }
        try expect(event == .fault(.write, address: 0x1_0000_0000), "no write fault")
        let first = try monitored { () throws(ExecError) in try context.readMemory(at: context.pc, count: 1) }
        // RISC-V instructions that do not end in two one bits have two bytes.
        let isShort = host.architecture == .riscv64 && first[0] & 3 != 3
        if shadows > 0 { try host.addShadows(shadows, to: context) }
        context.pc += isShort ? 2 : 4
        context.handler = orders([])
        try expectRun(context)
        try expect(context.calls >= 3, "it has made \(context.calls) calls")
      }
    },
    Case("load") { (host) throws(Failure) in
      // An entry point, and memory that the caller has filled: a program that exits with status 7.
      let code: [UInt32] =
        host.architecture == .arm64
        ? [0xd280_2120, 0xd280_00e1, 0xd400_0001] : [0x1090_0513, 0x0070_0593, 0x0000_0073]
      let bytes = code.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
      let layout: SecureLayout
      do throws(SecureLayoutError) {
        layout = try SecureLayout(
          image: 0x20_0000..<0x20_1000, size: 1 << 20, hostPage: UInt64(hostPage), addressLimit: 1 << 38)
      } catch { throw Failure("it cannot be laid out") }
      var memory: GuestMemory
      do throws(Errno) { memory = try GuestMemory(layout: layout, kernel: host.kernel) } catch {
        throw Failure(error.description)
      }
      do throws(GuestMemoryError) { try memory.addImage(bytes, at: 0x20_0000, access: [.read, .execute]) } catch {
        throw Failure("it has no room for the code")
      }
      var options = ExecCtx.Options()
      options.transport = host.transport
      let context: ExecCtx
      do throws(LoadError) {
        context = try ExecCtx(
          entry: 0x20_0000, memory: memory, system: host.system, architecture: host.architecture, options: options)
      } catch { throw Failure(error.description) }
      try expectRun(context, .exited(status: 7))
    },
    Case("schedule") { (host) throws(Failure) in
      let context = try host.context("values")
      context.handler = { (_) throws(ExecError) in throw .unknownCall(number: 1) }
      for round in 0..<3 as Range<UInt64> {
        try monitored { () throws(ExecError) in try context.schedule() }
        try equal(context.a2, round, "a2")
        context.ret(UInt64(0))
      }
    },
    Case("schedule-throws-a-fault") { (host) throws(Failure) in
      let context = try host.context("null-read")
      try monitored { () throws(ExecError) in
        // Its first words are a call of write.
        while context.a0 != 0x100 { try context.schedule() }
      }
      do throws(ExecError) { try context.schedule() } catch {
        guard case .fault(.read, _, 0?) = error else { throw Failure(error.description) }
        return
      }
      throw Failure("no fault")
    },
    Case("run") { (host) throws(Failure) in
      let output = try Pipe()
      let context = try host.context("hello-c", ["--status=7"], output: output.writing)
      try expectRun(context, .exited(status: 7))
      try expect(context.exitStatus == 7, "exitStatus is not 7")
      let text = output.contents()
      try expect(text.utf8.starts(with: "hello from C on ".utf8), "it printed: \(text)")
      // It has ended and cannot be run.
      try expectRun(context, .exited(status: 7))
    },
    Case("handler") { (host) throws(Failure) in
      // A handler for one context, and the default for another one at the same time.
      let own = try host.context("values")
      let other = try host.context("nanotime")
      var seen = 0
      own.handler = { (context) throws(ExecError) in
        seen += 1
        if seen == 10 { return context.exit(status: 3) }
        context.ret(UInt64(seen))
      }
      try expectRun(own, .exited(status: 3))
      try equal(seen, 10, "number of calls")
      try equal(own.calls, 10, "its own count of calls")
      try expectRun(other)
    },
    Case("handler-throws") { (host) throws(Failure) in
      let context = try host.context("values")
      context.handler = { (_) throws(ExecError) in throw .unknownCall(number: 77) }
      try expectEnding(run(context), .failure(.unknownCall(number: 77)))
    },
    Case("secure-handler") { (host) throws(Failure) in
      // The default answers GoTEE's calls, and a handler may pass calls on to it.
      let context = try host.context("getrandom")
      var passed = 0
      context.handler = { (context) throws(ExecError) in
        passed += 1
        try secureHandler(context)
      }
      try expectRun(context)
      try expect(passed > 1, "its calls did not come by")
      try expectEnding(run(try host.context("unknown-call")), .failure(.unknownCall(number: 0x7777)))
    },
    Case("call-cost") { (host) throws(Failure) in
      // The cost of a secure call: one KVM_RUN, no other ioctl, no allocation.
      let context = try host.context("call-loop-n", ["3000"])
      var before = (runs: 0, others: 0, allocations: 0)
      var cost = before
      context.handler = { (context) throws(ExecError) in
        let now = (host.kernel.runs, host.kernel.otherControls, exercise_allocations())
        if context.calls == 1000 { before = now }
        if context.calls == 2000 { cost = (now.0 - before.runs, now.1 - before.others, now.2 - before.allocations) }
        try secureHandler(context)
      }
      try expectRun(context)
      say(
        "note call-cost: 1000 calls cost \(cost.runs) KVM_RUN, \(cost.others) other ioctls, \(cost.allocations) allocations"
      )
      // A signal of the host may cause another exit.
      try expect((1000...1002).contains(cost.runs), "1000 calls cost \(cost.runs) KVM_RUN")
      try equal(cost.others, 0, "number of other ioctls")
      try equal(cost.allocations, 0, "number of allocations")
      try expect(exercise_allocations() > 0, "allocations are not counted at all")
    },
  ]
}

/// Runs the applet `obey` until it is about to execute a command at an address.
func obey(_ context: ExecCtx, _ what: UInt64, _ address: UInt64) throws(Failure) {
  try monitored { () throws(ExecError) in try context.schedule() }
  try equal(context.a0, 0x500, "a0")
  context.ret(what)
  try monitored { () throws(ExecError) in try context.schedule() }
  try equal(context.a0, 0x501, "a0")
  context.ret(address)
}

/// A handler that makes the applet `obey` execute these commands, and then exit; `done` gets the result of each.
func orders(
  _ list: [(what: UInt64, address: UInt64)], done: @escaping (Int, UInt64) -> Void = { _, _ in }
) -> ExecCtx.Handler {
  var at = 0
  return { (context) throws(ExecError) in
    switch context.a0 {
    case 0x500: context.ret(at < list.count ? list[at].what : 0)
    case 0x501: context.ret(at < list.count ? list[at].address : 0)
    case 0x502:
      done(at, context.a1)
      at += 1
    default: try secureHandler(context)
    }
  }
}

func changed(_ body: () throws(RegionError) -> Void) throws(Failure) {
  do { try body() } catch { throw Failure(error.description) }
}
