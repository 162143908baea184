import Foundation
import Testing

/// GoTEE's convention: an applet that does what TamaGo's runtime does, in each way to run it.
struct GoTEETests {
  static let session = Session(Variant.all.flatMap(runtime) + [Board.arm64, .riscv64].flatMap { others($0) })

  @Test(arguments: session.cases)
  func conventionHolds(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static let lines =
    "go-runtime: one heap up to the stack\n+\ngo-runtime: random bytes come\n"
    + String(repeating: "go-runtime: {\"id\":0,\"result\":\"hello\",\"error\":null}\n", count: 2)
    + (1...3).map { "go-runtime: \($0) mississippi\n" }.joined()

  private static func runtime(_ host: Variant) -> [Case] {
    [
      host.applet("go-runtime", output: .text(lines)),
      Case(host.board, "run \(host.options)--lockstep go-runtime.elf", output: .text(lines)),
    ]
  }

  private static func others(_ board: Board) -> [Case] {
    let page = "0x[0-9a-f]{5}000"
    let regions =
      "0: 0x80000000-\(page) r-x image\n1: \(page)-\(page) r-- image\n(2: \(page)-\(page) rw- image\n)?"
      + "[23]: \(page)-0x80fc0000 rw- heap\n[34]: 0x80fc0000-0x81000000 rw- stack\n"
      + "[45]: 0x81001000-0x81002000 r-- device tree\n"
    return [
      Case(
        board, "run --shadows 2 --inject-faults 1 go-runtime.elf", output: .text(lines), errors: .containing([])),
      Case(
        board, "run --non-secure --with-secure go-runtime.elf system-ask.elf exit",
        output: .text(lines + "system-ask: exit: -32, and then -32\n")),
      Case(
        board, "run --layout compact go-runtime.elf", status: 134, output: .containing(["panic: no heap from 0x8000"])),
      Case(board, "run --layout contiguous regions.elf", output: .pattern(regions)),
      Case(board, "run --layout contiguous heap.elf", output: "heap: all right\n"),
      Case(
        board, "run --layout contiguous -m 128K hello-c.elf",
        output: .containing(["hello from C on \(board.architecture)"])),
      DaemonTests.daemon(
        board, "in the daemon",
        """
        swiftlet start -n one go-runtime.elf; swiftlet wait one; swiftlet logs one
        swiftlet start -n two --layout contiguous regions.elf; swiftlet wait two; swiftlet logs two
        """, output: .pattern("one\n" + NSRegularExpression.escapedPattern(for: lines) + "two\n" + regions)),
      DaemonTests.daemon(
        board, "an applet's own status of 125 is no stop",
        """
        swiftlet start -n own --restart on-failure:1 --restart-delay 50ms exit-status.elf 125
        swiftlet wait own; echo $?; swiftlet ps | awk 'NR == 2 { print $2, $(NF - 1) }'
        """, output: "own\n125\nexited 1\n", errors: "swiftlet: own: exited by itself with status 125\n"),
    ]
  }
}
