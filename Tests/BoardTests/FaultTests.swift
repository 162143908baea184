import Testing

/// Applets that are stopped for a fault, and those with similar but valid behaviour.
struct FaultTests {
  static let session = Session(Variant.all.flatMap { faults($0) + calls($0) + permitted($0) })

  @Test(arguments: session.cases)
  func faultIsReported(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let read = "invalid read"
  private static let write = "invalid write"
  private static let execute = "invalid instruction fetch"
  private static let place = "(, in [a-z_]+(\\+0x[0-9a-f]+)?)?"
  private static let hint = ": a program for system mode needs --non-secure"
  private static let registers = "(\\s+[a-z0-9]+:[0-9a-f]{16}){34,36}\n"

  /// An applet that announces a fault and is stopped for it, with status 121 and its registers.
  private static func stopped(_ host: Variant, _ words: String, _ message: String, hint: String = "") -> Case {
    let applet = words.prefix { $0 != " " }
    return host.applet(
      words, status: 121, output: .pattern("\(applet): [^\n]+\n"),
      errors: .pattern("swiftlet: \(applet)\\.elf: \(message)\(place)\(hint)\n\(registers)"))
  }

  /// The same for an exception, with its address if it has one.
  private static func fault(
    _ host: Variant, _ words: String, _ fault: String, at address: String? = nil, hint: String = ""
  ) -> Case {
    stopped(host, words, fault + (address.map { ", address \($0)," } ?? "") + " at pc 0x[0-9a-f]+", hint: hint)
  }

  private static func faults(_ host: Variant) -> [Case] {
    let isARM = host.architecture == "arm64"
    var cases = [
      // 0x80050000: the monitor's pages follow the stack.
      fault(host, "read-shim", read, at: "0x80050000"),
      fault(host, "read-shim write", write, at: "0x80050000"),
      fault(host, "read-shim jump", execute, at: "0x80050000"),
      fault(host, "write-text", write, at: "0x80000[0-9a-f]{3}"),
      // The device tree, which device-tree.elf reads, is in a page after the image.
      fault(host, "write-text tree", write, at: "0x8000[1-9a-f]000"),
      fault(host, "execute-data", execute, at: "0x8000[2-9][0-9a-f]{3}"),
      fault(host, "execute-stack", execute, at: "0x8004ff[0-9a-f]{2}"),
      fault(host, "null-read", read, at: "0x0"),
      fault(host, "null-call", execute, at: "0x0"),
      // The guard page below the stack of 256 KiB.
      fault(host, "stack-overflow", write, at: "0x8000ff[0-9a-f]{2}"),
      fault(host, "past-memory", read, at: "0xc0050000"),
      fault(host, "past-memory 0xfffffffffffffff8", read, at: "0x[0-9a-f]+f8"),
      fault(host, "device", read, at: isARM ? "0x9000000" : "0x10000000"),
      fault(host, "undefined", "undefined instruction"),
      fault(host, "privileged", "undefined instruction", hint: hint),
      fault(host, "privileged write", "undefined instruction", hint: hint),
      fault(host, "breakpoint", "breakpoint instruction"),
      fault(host, "unaligned-atomic", "misaligned access", at: "0x[0-9a-f]+d"),
      fault(host, "fetch-nowhere", execute, at: "0x3ffffff000"),
    ]
    let waits = "wait for an interrupt, which an applet never gets"
    cases.append(fault(host, "wfi", waits))
    if isARM {
      cases.append(fault(host, "monitor-call", "undefined instruction", hint: hint))
      cases.append(fault(host, "monitor-call smc", "undefined instruction", hint: hint))
    } else {
      // KVM blocks it there until a kick.
      cases.append(fault(Variant(board: host.board, options: "--timeout 300ms "), "wfi", waits))
    }
    return cases
  }

  private static func calls(_ host: Variant) -> [Case] {
    let elsewhere = "which are not completely in its memory"
    return [
      stopped(host, "unknown-call", "call 0x7777, which is not defined"),
      stopped(host, "unknown-call 0xffffffffffffffff", "call 0xffffffffffffffff, which is not defined"),
      stopped(host, "bad-address outside", "call 0x3 with 16 bytes at 0xc0050000, \(elsewhere)"),
      stopped(host, "bad-address wrap", "call 0x3 with 16 bytes at 0xfffffffffffffff8, \(elsewhere)"),
      stopped(host, "bad-address past-end", "call 0x3 with 16 bytes at 0x8004fff1, \(elsewhere)"),
      stopped(host, "bad-address guard", "call 0x3 with 16 bytes at 0x8000fff8, \(elsewhere)"),
      stopped(
        host, "bad-address too-long", "call 0x3 with 18446744073709551615 bytes at 0x8000[2-9][0-9a-f]{3}, \(elsewhere)"
      ),
      stopped(
        host, "bad-address text",
        "call 0x3 with 16 bytes at 0x80000[0-9a-f]{3}, which it has no permission to access in this way"),
    ]
  }

  private static func permitted(_ host: Variant) -> [Case] {
    let isARM = host.architecture == "arm64"
    var cases = [
      host.applet("divide-by-zero", output: "divide-by-zero: 7 / 0 = \(isARM ? 0 : UInt64.max)\n"),
      host.applet(
        "bad-address last-byte",
        output: .pattern("bad-address: last-byte, [^\n]+\nbad-address: allowed, as it should be\n")),
    ]
    if !isARM {
      // With any value in a7, the ECALL is Swiftlet's, not the firmware's or the kernel's.
      cases.append(
        host.applet("monitor-call", output: .pattern("(monitor-call: a7 = 0x[0-9a-f]+ makes no difference\n){9}")))
    }
    return cases
  }
}
