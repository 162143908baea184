import Foundation
import Testing

/// `swiftlet dtb`, overlays, and trees of the user.
struct TreeTests {
  static let session = Session([Board.arm64, .riscv64].flatMap(cases)) { _ in files }

  @Test(arguments: session.cases)
  func tree(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  /// Compiled overlays; empty without dtc, which the cases report.
  private static let files: [String: [UInt8]] = {
    let settings = (try? compiled(Repository.path("dts/overlays/settings.dtso"))) ?? []
    let stray = "/dts-v1/; / { fragment { target-path = \"/soc\"; __overlay__ { x = <1>; }; }; };"
    let memory =
      "/dts-v1/; / { fragment { target-path = \"/memory@80000000\"; __overlay__ { reg = <0 0x80000000 0 0x40000000>; }; }; };"
    let wild =
      "/dts-v1/; / { fragment { target-path = \"/\"; __overlay__ { x = <1>; }; }; "
      + "__local_fixups__ { fragment { __overlay__ { x = <0x40000000>; }; }; }; };"
    return [
      "settings.dtbo": settings, "short.dtbo": Array(settings.dropLast(9)), "text.dtbo": Array("no tree at all".utf8),
      "stray.dtbo": compiled(text: stray), "memory.dtbo": compiled(text: memory), "wild.dtbo": compiled(text: wild),
      "large.dtbo": [UInt8](repeating: 0, count: 65537),
    ]
  }()

  /// The tree of a source; empty if it cannot be compiled.
  static func compiled(text: String) -> [UInt8] {
    (try? withScratchDirectory { directory in
      let file = directory.appending(path: "source.dts")
      try Data(text.utf8).write(to: file)
      return try compiled(file.path)
    }) ?? []
  }

  private static func compiled(_ source: String) throws -> [UInt8] {
    try withScratchDirectory { directory in
      let file = directory.appending(path: "compiled.dtb")
      _ = try Program.run("/usr/bin/env", ["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", file.path, source])
      return Array(try Data(contentsOf: file))
    }
  }

  private static func cases(_ board: Board) -> [Case] {
    func refused(_ file: String, _ message: String) -> Case {
      Case(
        board, "run --overlay ../files/\(file) hello-c.elf", status: 126,
        errors: .pattern("swiftlet: ../files/\(file): \(message)[^\n]*\n"))
    }
    let words = "device-tree: argument device-tree.elf\ndevice-tree: argument one\n"
    return [
      // The output is the tree that a guest gets, and can replace it.
      Case(
        board, "the written tree instead of the generated one",
        script: "swiftlet dtb -o /tmp/t.dtb device-tree.elf one && swiftlet run --dtb /tmp/t.dtb device-tree.elf one",
        output: .containing([words, "calls by \(board == .arm64 ? "svc" : "ecall")"])),
      Case(
        board, "a tree through a pipe",
        script: "swiftlet dtb device-tree.elf one >/tmp/t.dtb && swiftlet run --dtb /tmp/t.dtb device-tree.elf two",
        output: .containing([words, "the arguments differ from the call's"])),
      Case(
        board, "a program's tree",
        script: "swiftlet dtb --non-secure --cpus 2 -o /tmp/t.dtb system-hello.elf one && "
          + "swiftlet run --non-secure --cpus 2 --dtb /tmp/t.dtb system-hello.elf two",
        output: .text("system-hello: level 1 on \(board.architecture), argument one\n")),
      Case(
        board, "a tree with more CPUs",
        script: "swiftlet dtb --non-secure --cpus 2 -o /tmp/t.dtb system-hello.elf; "
          + "swiftlet run --non-secure --dtb /tmp/t.dtb system-hello.elf",
        status: 126,
        errors:
          "swiftlet: /tmp/t.dtb: contradicts the guest's hardware: /cpus/cpu@1 is a CPU that the guest does not have\n"),
      Case(
        board, "a tree with more memory",
        script: "swiftlet dtb -m 32M -o /tmp/t.dtb hello-c.elf; swiftlet run --dtb /tmp/t.dtb hello-c.elf", status: 126,
        errors: .containing(["/tmp/t.dtb: contradicts the guest's hardware: /memory@80000000 "])),
      Case(
        board, "run --overlay ../files/settings.dtbo device-tree.elf one",
        output: .containing([words, "device-tree: every 250 ms: hello from an overlay\n"])),
      Case(
        board, "an overlay in the written tree",
        script: "swiftlet dtb --overlay ../files/settings.dtbo -o /tmp/t.dtb device-tree.elf one && "
          + "swiftlet run --dtb /tmp/t.dtb device-tree.elf one",
        output: .containing([words, "device-tree: every 250 ms: hello from an overlay\n"])),
      refused("short.dtbo", "a truncated device tree"), refused("text.dtbo", "not a flattened device tree"),
      refused("stray.dtbo", "the overlay does not apply: its target node"),
      refused(
        "memory.dtbo", "contradicts the guest's hardware: /memory@80000000 is memory that the guest does not have"),
      refused("wild.dtbo", "a damaged device tree"), refused("large.dtbo", "larger than 64 KiB"),
      Case(
        board, "run --overlay nowhere.dtbo hello-c.elf", status: 127,
        errors: .pattern("swiftlet: nowhere.dtbo: cannot be read: [^\n]+\n")),
      Case(
        board, "dtb -o /nowhere/t.dtb hello-c.elf", status: 123,
        errors: .pattern("swiftlet: /nowhere/t.dtb: cannot be written: [^\n]+\n")),
    ]
  }
}
