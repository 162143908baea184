import Applet
import Machine
import Monitor
import Platform

/// Forbidden actions of guests, each with the expected fault, its cause, and the symbol in which it occurs.
var faultCases: [Case] {
  [
    Case("faults") { (host) throws(Failure) in
      for wanted in faults(host.architecture) {
        let context = try host.context(wanted.applet, wanted.arguments)
        // For guests that would continue: it ends in any case.
        context.deadline = Clock.monotonic + 20_000_000_000
        let ending = run(context)
        guard case .failure(.fault(let fault, let pc, let address)) = ending, fault == wanted.fault else {
          throw Failure("\(wanted.applet): \(text(ending)), instead of \(wanted.fault.description)")
        }
        if let place = wanted.address {
          try expect(address == place, "\(wanted.applet): at address \(address ?? 0), not \(place)")
        }
        if let code = wanted.cause {
          try expect(context.cause.code == code, "\(wanted.applet): cause \(context.cause.code), not \(code)")
        }
        if context.memory.regions.contains(where: { $0.use == .image && $0.range.contains(pc) }) {
          try expect(context.name(of: pc) != nil, "\(wanted.applet): no symbol at \(pc)")
        }
        try expect(has(context.description, "pc:"), "no registers")
      }
    },
    Case("faults-in-lockstep") { (host) throws(Failure) in
      for wanted in faults(host.architecture) {
        let context = try host.context(wanted.applet, wanted.arguments)
        try host.addShadows(1, to: context)
        context.deadline = Clock.monotonic + 20_000_000_000
        let ending = run(context)
        guard case .failure(.fault(wanted.fault, _, _)) = ending else {
          throw Failure("\(wanted.applet): \(text(ending)), instead of \(wanted.fault.description)")
        }
      }
    },
    Case("bad-addresses") { (host) throws(Failure) in
      for variant in ["outside", "wrap", "text", "past-end", "guard", "too-long"] {
        let ending = run(try host.context("bad-address", [variant]))
        guard case .failure(.badRange) = ending else { throw Failure("\(variant): \(text(ending))") }
      }
      // A buffer that ends at the end of the memory is valid; GoTEE rejects it.
      try expectRun(try host.context("bad-address", ["last-byte"]))
    },
  ]
}

private struct WantedFault {
  let applet: String
  var arguments: [String] = []
  let fault: Fault
  var address: UInt64?
  /// Exception class or scause; nil if it is not compared.
  var cause: UInt64?

  init(
    _ applet: String, _ arguments: [String], _ fault: Fault, address: UInt64? = nil, cause: UInt64? = nil
  ) {
    self.applet = applet
    self.arguments = arguments
    self.fault = fault
    self.address = address
    self.cause = cause
  }
}

private func faults(_ architecture: Architecture) -> [WantedFault] {
  let isARM = architecture == .arm64
  return [
    WantedFault("read-shim", [], .read, cause: isARM ? 0x24 : 13),
    WantedFault("read-shim", ["write"], .write, cause: isARM ? 0x24 : 15),
    WantedFault("read-shim", ["jump"], .execute, cause: isARM ? 0x20 : 12),
    WantedFault("write-text", [], .write),
    WantedFault("execute-data", [], .execute),
    WantedFault("execute-stack", [], .execute),
    WantedFault("null-read", [], .read, address: 0),
    WantedFault("null-call", [], .execute, address: 0),
    WantedFault("stack-overflow", [], .write),
    WantedFault("past-memory", [], .read),
    WantedFault("device", [], .read, address: isARM ? 0x0900_0000 : 0x1000_0000),
    WantedFault("undefined", [], .undefinedInstruction, cause: isARM ? 0 : 2),
    WantedFault("privileged", [], .undefinedInstruction),
    WantedFault("privileged", ["write"], .undefinedInstruction),
    WantedFault("breakpoint", [], .breakpoint, cause: isARM ? 0x3c : 3),
    WantedFault("unaligned-atomic", [], .misaligned),
    WantedFault("fetch-nowhere", [], .execute, address: 0x3f_ffff_f000),
    WantedFault("wfi", [], .waitForInterrupt),
  ]
}
