import Applet
import AppletABI
import KVM
import Machine
import Monitor
import Platform

/// Programs in system mode with `exec` and `schedule`.
var nonSecureCases: [Case] {
  [
    Case("non-secure-exec") { (host) throws(Failure) in
      let context = try host.program("system-call-loop-n", ["5", "registers"])
      try expect(context.isNonSecure && !context.isSecure, "a program in system mode is said to be an applet")
      for round in 0..<5 as Range<UInt64> {
        let event = try monitored { () throws(ExecError) in try context.exec() }
        try expect(event == .call, "round \(round) ended with no call")
        try equal(context.a0, UInt64(APPLET_CALL_REGION), "a0")
        try equal(context.a1, .max, "a1")
        try equal(context.cause.code, host.architecture == .arm64 ? 0x16 : 10, "the cause of a call")
        try expect(context.mode == (.hypervisor, .system), "the modes of a call are wrong")
        context.ret(round)
      }
      // The same as run() would do.
      try monitored { () throws(ExecError) in
        try context.schedule()
        try nonSecureHandler(context)
      }
      try expect(context.exitStatus == 0, "it did not exit with status 0")
    },
    Case("non-secure-registers") { (host) throws(Failure) in
      // The loop's counter is in one of the registers: if all that hold it are set to 1, the loop ends.
      let context = try host.program("system-call-loop-n", ["1000000", "registers"])
      try monitored { () throws(ExecError) in try context.schedule() }
      var changed = 0
      for number in host.architecture.facts.generalRegisters where context.value(of: number) == 1_000_000 {
        context.setValue(of: number, 1)
        changed += 1
      }
      try expect(changed > 0, "its counter is in no register")
      try expectRun(context)
      try equal(context.calls, 2, "number of calls")
    },
    Case("non-secure-schedule") { (host) throws(Failure) in
      let output = try Pipe()
      let context = try host.program("system-off", output: output.writing)
      let outcome = try monitored { () throws(ExecError) in
        while true {
          if let outcome = try context.schedule() { return outcome }
          try nonSecureHandler(context)
        }
      }
      try expect(outcome == .shutdown, "it ended otherwise than by turning off")
      try expect(output.contents() == "system-off: turning off\n", "it printed something else")
      // It stays off.
      try expectRun(context, .shutdown)
    },
    Case("non-secure-fault") { (host) throws(Failure) in
      let context = try host.program("system-stray-access", ["read"])
      // Its first words are a call of write; the same instruction is executed each time.
      try monitored { () throws(ExecError) in
        try context.schedule()
        try nonSecureHandler(context)
      }
      var seen: [UInt64] = []
      for _ in 0..<2 {
        let event = try monitored { () throws(ExecError) in try context.exec() }
        guard case .fault(.read, _?) = event else { throw Failure("no read fault") }
        seen.append(context.pc)
      }
      try equal(seen[1], seen[0], "PC of the second fault")
      try expect(context.name(of: seen[0]) != nil, "PC is not in the program")
    },
    Case("non-secure-stop") { (host) throws(Failure) in
      let context = try host.program("system-loop")
      let thread = try started { [stopper = context.stopper] in
        sleepFor(microseconds: 20_000)
        stopper.stop()
      }
      defer { thread.join() }
      do throws(ExecError) { while true { try context.schedule() } } catch {
        try expect(error == .stopped, "it ended so: \(error.description)")
      }
    },
    Case("non-secure-refusals") { (host) throws(Failure) in
      let several = try host.program("system-hello", cpus: 2)
      var refusals = 0
      do throws(ExecError) { _ = try several.exec() } catch { refusals += error == .host(.notSupported) ? 1 : 0 }
      do throws(ExecError) { _ = try several.schedule() } catch { refusals += error == .host(.notSupported) ? 1 : 0 }
      do throws(KVMError) { _ = try several.clone(on: host.system) } catch { refusals += 1 }
      try equal(refusals, 3, "number of refusals")
    },
  ]
}

extension Host {
  /// A context of a program in system mode by its name.
  func program(_ name: String, _ arguments: [String] = [], output: Int32? = nil, cpus: Int = 1)
    throws(Failure) -> ExecCtx
  {
    var options = ExecCtx.Options()
    options.arguments = [name] + arguments
    options.output = output ?? null
    options.input = null
    options.cpus = cpus
    let image = try image(name)
    do {
      return try ExecCtx(
        image: image, secure: false, system: system, architecture: architecture, options: options)
    } catch { throw Failure("\(name): \(error.description)") }
  }
}
