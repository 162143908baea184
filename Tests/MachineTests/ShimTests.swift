import Foundation
import Machine
import Testing

/// The machine code in Machine against the assembly that it was made of.
struct ShimTests {
  /// The toolchain's clang, or any other; nil where there is none.
  private static let clang: String? = {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    func find(_ name: String) -> String? {
      folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
    if let swift = find("swift") {
      let tools = URL(fileURLWithPath: swift).resolvingSymlinksInPath().deletingLastPathComponent()
      let beside = tools.appendingPathComponent("clang").path
      if FileManager.default.isExecutableFile(atPath: beside) { return beside }
    }
    return find("clang")
  }()

  @Test(
    .enabled(if: clang != nil, "no clang on PATH: the shims' assembly is not compared with their machine code"),
    arguments: [
      (Architecture.arm64, ["--target=aarch64-none-elf"]),
      (.riscv64, ["--target=riscv64-none-elf", "-march=rv64gc", "-mabi=lp64d", "-mno-relax"]),
    ])
  func theShimIsWhatItsAssemblySays(architecture: Architecture, flags: [String]) throws {
    let assembled = try assemble("\(architecture.name)", flags)
    let shim = architecture.shim.withUnsafeBytes { Data($0) }
    #expect(shim == assembled.text, "run tools/shims after a change of the assembly")
    #expect(shim.count <= 4096)
    let resume = architecture == .arm64 ? ARM64.shimResume : RISCV64.shimResume
    #expect(assembled.symbols["resume"] == UInt64(resume))
    if architecture == .arm64 {
      // mov x0, #1, then the instruction that leaves.
      let leave = Int(try #require(assembled.symbols["leave"]))
      #expect(ARM64.shimLeave * 4 == leave + 4)
      #expect(architecture.shim[ARM64.shimLeave] == 0xd400_0002)  // hvc #0
    } else {
      // stvec's two low bits are its mode: direct.
      #expect(assembled.symbols["trap"] == 0)
    }
  }

  /// What stands at each of arm64's sixteen vectors, 0x80 apart: from EL0 on AArch64 a synchronous exception saves the
  /// registers; an SError goes the same way; all else branches on.
  @Test func arm64sVectorsAreWhereTheProcessorLooks() {
    let shim = Architecture.arm64.shim
    func isBranch(_ word: UInt32) -> Bool { word >> 26 == 0b000101 }
    for vector in 0..<16 {
      let word = shim[vector * 32]
      #expect(isBranch(word) == (vector != 8), "vector \(vector)")
      #expect(word != 0)
    }
    // stp x0, x1, [sp]
    #expect(shim[8 * 32] == 0xa900_07e0)
  }

  private func assemble(_ name: String, _ flags: [String]) throws -> (text: Data, symbols: [String: UInt64]) {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let include = tests.deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Sources/AppletABI/include").path
    let object = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).o")
    defer { try? FileManager.default.removeItem(at: object) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(Self.clang))
    process.arguments =
      ["-c", "-x", "assembler-with-cpp", "-I", include] + flags
      + [tests.appendingPathComponent("Shims/\(name).S").path, "-o", object.path]
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(complaints)")
    return try sections(of: try Data(contentsOf: object))
  }

  /// The text section and the symbols in it of a 64-bit relocatable ELF file.
  private func sections(of file: Data) throws -> (text: Data, symbols: [String: UInt64]) {
    func number(_ offset: Int, _ size: Int) -> Int {
      (0..<size).reversed().reduce(0) { $0 << 8 | Int(file[offset + $1]) }
    }
    func string(_ offset: Int) -> String { String(decoding: file[offset...].prefix { $0 != 0 }, as: UTF8.self) }
    let headers = (0..<number(60, 2)).map { number(40, 8) + $0 * 64 }
    func name(_ header: Int) -> String { string(number(headers[number(62, 2)] + 24, 8) + number(header, 4)) }
    let text = try #require(headers.firstIndex { name($0) == ".text" })
    let start = number(headers[text] + 24, 8)
    // The shim is one piece: nothing is left for a linker to fill in.
    #expect(!headers.contains { name($0) == ".rela.text" })
    var symbols: [String: UInt64] = [:]
    let table = try #require(headers.first { number($0 + 4, 4) == 2 })
    let names = number(headers[number(table + 40, 4)] + 24, 8)
    for entry in stride(from: number(table + 24, 8), to: number(table + 24, 8) + number(table + 32, 8), by: 24)
    where number(entry + 6, 2) == text {
      symbols[string(names + number(entry, 4))] = UInt64(number(entry + 8, 8))
    }
    return (file[start..<start + number(headers[text] + 32, 8)], symbols)
  }

  /// Brought back to the shim amid its own code, an applet has its floating-point registers saved at the next exit: CPACR_EL1
  /// lets them be used, and sstatus.FS says that they were.
  @Test func aRestartLosesNoFloatingPointRegisters() throws {
    let layout = try SecureLayout(
      image: 0x8000_0000..<0x8000_1000, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 40)
    let arm = Architecture.arm64.shimRestart(layout)
    #expect(arm.filter { $0.id == ARM64.cpacrEL1 }.map(\.value) == [3 << 20])
    let riscv = Architecture.riscv64.shimRestart(layout)
    #expect(riscv.filter { $0.id == RISCV64.sstatus }.map(\.value) == [3 << 13])
  }

  /// What the monitor sets for an applet that is to trap into the shim is what its processor would have set.
  @Test func anAppletThatIsTrappedLooksAsIfItHadTrapped() throws {
    let layout = try SecureLayout(
      image: 0x8000_0000..<0x8000_1000, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 40)
    func value(_ architecture: Architecture, _ status: UInt64, _ id: UInt64) -> UInt64? {
      architecture.shimTrap(layout, pc: 0x8000_0048, status: status).first { $0.id == id }?.value
    }
    // EL1 with SP_EL1 at the vector of synchronous exceptions from EL0; N and C are the applet's.
    #expect(value(.arm64, 0xa000_03c0, ARM64.elrEL1) == 0x8000_0048)
    #expect(value(.arm64, 0xa000_03c0, ARM64.spsrEL1) == 0xa000_03c0)
    #expect(value(.arm64, 0xa000_03c0, ARM64.pstate) == 0x3c5)
    #expect(value(.arm64, 0xa000_03c0, ARM64.pc) == layout.shim + 0x400)
    #expect(Architecture.arm64.shim[0x400 / 4] == 0xa900_07e0)
    // A class that is neither a call nor the use of floating point, which the shim answers itself.
    #expect(value(.arm64, 0xa000_03c0, ARM64.esrEL1) == 0)
    // SRET has set SPIE; SPP is clear, FS stays as it is.
    #expect(value(.riscv64, 3 << 13 | 1 << 5, RISCV64.sstatus) == 3 << 13)
    #expect(value(.riscv64, 1 << 5, RISCV64.sepc) == 0x8000_0048)
    #expect(value(.riscv64, 1 << 5, RISCV64.mode) == 1)
    #expect(value(.riscv64, 1 << 5, RISCV64.pc) == layout.shim)
    let cause = try #require(value(.riscv64, 1 << 5, RISCV64.scause))
    #expect(Architecture.riscv64.trap(cause: cause) == .fault(.other(1 << 63 | 1)))
  }

  /// Behind its exit a vCPU has nothing left to store.
  @Test func behindTheExitComesTheRestoring() {
    let arm = Architecture.arm64
    #expect(arm.shimBehindExit.map { arm.shim[$0 / 4 - 1] } == 0xd400_0002)
    let riscv = Architecture.riscv64
    #expect(riscv.shim[riscv.shimRestore.lowerBound / 4 - 1] == 0x0000_0073)
  }
}
