import Foundation
import Machine
import Testing

/// The machine code in Machine, compared with its assembly source.
struct ShimTests {
  /// The toolchain's clang, or any other; nil if there is none.
  private static let clang: String? = {
    let directories = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    func find(_ name: String) -> String? {
      directories.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
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
  func theMachineCodeIsWhatItsAssemblySays(architecture: Architecture, flags: [String]) throws {
    let assembled = try assemble("shim-\(architecture.name)", flags)
    let shim = architecture.shim.withUnsafeBytes { Data($0) }
    #expect(shim == assembled.code[".text"], "run tools/shims after a change of the assembly")
    #expect(shim.count <= 4096)
    let facts = architecture.facts
    #expect(assembled.symbols["resume"] == UInt64(facts.shimResume))
    #expect(assembled.symbols["leave_call"] == UInt64(facts.shimCall))
    #expect(assembled.symbols["watch_floating_point"] == UInt64(facts.shimRestore.upperBound))
    // stvec's two low bits are its mode: direct.
    #expect(assembled.symbols["trap"] ?? 0 == 0)
    let call = architecture.shim[facts.shimCall / 4]
    switch architecture {
    case .arm64:
      #expect(call == 0xd400_0002)  // hvc #0
      #expect(withUnsafeBytes(of: ARM64.shimDoorbellStore) { Data($0) } == assembled.code[".doorbell"])
    case .riscv64: #expect(call == 0x0000_0073)  // ecall
    case .aarch32: Issue.record("its shim is arm64's")
    }
    let vectors = architecture.vectors.withUnsafeBytes { Data($0) }
    let vector = try #require(try assemble("vectors-\(architecture.name)", flags).code[".text"])
    #expect(vectors.prefix(vector.count) == vector)
  }

  /// A program in system mode starts with the same code at each of arm64's sixteen vectors.
  @Test func allVectorsOfAProgramAreEqual() {
    let vectors = Architecture.arm64.vectors
    #expect(vectors.count == 16 * 32)
    for vector in 1..<16 { #expect(vectors[vector * 32..<vector * 32 + 32].elementsEqual(vectors[..<32])) }
  }

  /// The code at arm64's sixteen vectors, 0x80 apart: a synchronous exception from EL0 saves the registers; from AArch32
  /// it zeroes their upper halves before; an SError does the same; all others branch.
  @Test func arm64VectorsAreAtTheirOffsets() {
    let shim = Architecture.arm64.shim
    func isBranch(_ word: UInt32) -> Bool { word >> 26 == 0b000101 }
    for vector in 0..<16 {
      let word = shim[vector * 32]
      #expect(isBranch(word) == (vector != 8 && vector != 12), "vector \(vector)")
      #expect(word != 0)
    }
    // stp x0, x1, [sp]
    #expect(shim[8 * 32] == 0xa900_07e0)
    // mov w0, w0 to mov w14, w14; b 0x400
    for register in 0..<15 as Range<UInt32> {
      #expect(shim[12 * 32 + Int(register)] == 0x2a00_03e0 | register << 16 | register)
    }
    #expect(shim[12 * 32 + 15] == 0x1400_0000 | (0x03ff_ffff & UInt32(bitPattern: (0x400 - 0x63c) / 4)))
  }

  /// The code sections of an object file, and the symbols in `.text`.
  private struct Assembled {
    var code: [String: Data] = [:]
    var symbols: [String: UInt64] = [:]
  }

  private func assemble(_ name: String, _ flags: [String]) throws -> Assembled {
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let include = repository.appendingPathComponent("Sources/AppletABI/include").path
    let source = repository.appendingPathComponent("Sources/Machine/Shims/\(name).S").path
    let object = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).o")
    defer { try? FileManager.default.removeItem(at: object) }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: try #require(Self.clang))
    process.arguments =
      ["-c", "-x", "assembler-with-cpp", "-I", include] + flags
      + [source, "-o", object.path]
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let standardError = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "\(standardError)")
    return try sections(of: try Data(contentsOf: object))
  }

  /// The sections and symbols of a 64-bit relocatable ELF file.
  private func sections(of file: Data) throws -> Assembled {
    func number(_ offset: Int, _ size: Int) -> Int {
      (0..<size).reversed().reduce(0) { $0 << 8 | Int(file[offset + $1]) }
    }
    func string(_ offset: Int) -> String { String(decoding: file[offset...].prefix { $0 != 0 }, as: UTF8.self) }
    let headers = (0..<number(60, 2)).map { number(40, 8) + $0 * 64 }
    func name(_ header: Int) -> String { string(number(headers[number(62, 2)] + 24, 8) + number(header, 4)) }
    let text = try #require(headers.firstIndex { name($0) == ".text" })
    // The shim is complete: there are no relocations.
    #expect(!headers.contains { name($0) == ".rela.text" })
    var assembled = Assembled()
    for header in headers where number(header + 4, 4) == 1 {
      let start = number(header + 24, 8)
      assembled.code[name(header)] = Data(file[start..<start + number(header + 32, 8)])
    }
    let table = try #require(headers.first { number($0 + 4, 4) == 2 })
    let names = number(headers[number(table + 40, 4)] + 24, 8)
    for entry in stride(from: number(table + 24, 8), to: number(table + 24, 8) + number(table + 32, 8), by: 24)
    where number(entry + 6, 2) == text {
      assembled.symbols[string(names + number(entry, 4))] = UInt64(number(entry + 8, 8))
    }
    return assembled
  }

  /// If an applet is brought back to the shim from its own code, its floating-point registers are saved at the next
  /// exit: CPACR_EL1 enables them, and sstatus.FS is dirty.
  @Test func aShimRestartKeepsFloatingPointRegisters() throws {
    let layout = try SecureLayout(
      image: 0x8000_0000..<0x8000_1000, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 40)
    let arm = Architecture.arm64.shimRestart(layout)
    #expect(arm.filter { $0.id == ARM64.cpacrEL1 }.map(\.value) == [3 << 20])
    let riscv = Architecture.riscv64.shimRestart(layout)
    #expect(riscv.filter { $0.id == RISCV64.sstatus }.map(\.value) == [3 << 13])
  }

  /// The registers that the monitor sets for a trap to the shim are those that the CPU would set.
  @Test func aTrapByTheMonitorEqualsOneByTheCPU() throws {
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
    // A class that is neither a call nor an access to floating point, which the shim handles itself.
    #expect(value(.arm64, 0xa000_03c0, ARM64.esrEL1) == 0)
    // SRET has set SPIE; SPP is clear, FS stays as it is.
    #expect(value(.riscv64, 3 << 13 | 1 << 5, RISCV64.sstatus) == 3 << 13)
    #expect(value(.riscv64, 1 << 5, RISCV64.sepc) == 0x8000_0048)
    #expect(value(.riscv64, 1 << 5, RISCV64.mode) == 1)
    #expect(value(.riscv64, 1 << 5, RISCV64.pc) == layout.shim)
    let cause = try #require(value(.riscv64, 1 << 5, RISCV64.scause))
    #expect(Architecture.riscv64.trap(cause: cause) == .fault(.other(1 << 63 | 1)))
  }

  /// The code that restores registers begins where a vCPU is after an exit, or where arm64's code branches from there,
  /// and ends with the return to the applet.
  @Test func theShimRestoresRegistersAfterAnExit() {
    let (arm, riscv) = (Architecture.arm64, Architecture.riscv64)
    let offset = arm.facts.shimResume - arm.facts.shimReturn
    #expect(arm.shim[arm.facts.shimReturn / 4] == 0b000101 << 26 | UInt32(offset / 4))  // b resume
    #expect(riscv.facts.shimReturn == riscv.facts.shimResume)
    #expect(arm.shim[arm.facts.shimRestore.upperBound / 4 - 1] == 0xd69f_03e0)  // eret
    #expect(riscv.shim[riscv.facts.shimRestore.upperBound / 4 - 1] == 0x1020_0073)  // sret
  }
}
