import CBaseline
import CLinux
import Machine
import Platform
import Testing

@testable import Benchmark

/// The benchmarks of a run.
struct SessionTests {
  private func session(_ names: String..., on architecture: Architecture = .arm64) throws(Session.Refusal) -> Session {
    try Session(names, runs: nil, files: BenchmarkFiles(), architecture: architecture, kernel: LinuxKernel())
  }

  @Test func benchmarksOfTheArchitectureRun() throws {
    #expect(try session().benchmarks.contains { $0.name.description == "call-mmio" })
    #expect(try !session(on: .riscv64).benchmarks.contains { $0.name.description == "call-mmio" })
    #expect(try session().isWhole)
    #expect(try !session("call").isWhole)
  }

  @Test func namesOfBenchmarksAreChecked() throws {
    #expect(throws: Session.Refusal.unknown("stopp")) { try session("call", "stopp") }
    #expect(throws: Session.Refusal.unsuited("call-mmio")) { try session("call-mmio", on: .riscv64) }
    #expect(try session("stop", "call").benchmarks.map { $0.name.description } == ["call", "stop"])
  }

  @Test func listedBenchmarksApply() {
    #expect(!Benchmark.all(for: .riscv64).contains { $0.name.description == "call-mmio" })
    #expect(Benchmark.all(for: .arm64).count == Benchmark.all.count)
    #expect(Benchmark.all(for: nil).count == Benchmark.all.count)
    #expect(Set(Benchmark.all.map { $0.name.description }).count == Benchmark.all.count)
  }

  @Test func measurementsBelongToTheLongestMatchingBenchmark() throws {
    for (measurement, owner) in [
      ("call", "call"), ("call-mmio", "call-mmio"), ("call-non-secure-block", "call-non-secure"), ("rpc", "rpc"),
      ("rpc-forwarded", "rpc-forwarded"), ("parallel-4", "parallel"), ("start-applet-memory", "start"),
    ] { #expect(Benchmark.owner(of: measurement) == owner) }
    #expect(Benchmark.owner(of: "callous") == nil)
    #expect(try session("call").covers("call"))
    #expect(try !session("call").covers("call-non-secure"))
    #expect(try session().covers("gone"))
    #expect(try !session("call").covers("gone"))
  }
}

/// The baseline's functions for processes.
struct BaselineTests {
  /// More than any small program has: the memory of the process before exec must not be counted.
  private static let ballast = 64 << 20

  @Test func memoryBeforeExecIsNotCounted() throws {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.ballast, alignment: 4096)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 1)
    let process = try Process(LinuxKernel())
    let bytes = try process.memory(.path("/bin/true"))
    #expect((4096..<Int64(Self.ballast / 2)).contains(bytes))
    #expect(memory[Self.ballast - 1] == 1)
  }

  @Test func failedBenchmarksHaveNoFigures() throws {
    let process = try Process(LinuxKernel())
    #expect(throws: BenchmarkError.self) { try process.memory(.path("/bin/false")) }
    #expect(throws: BenchmarkError.self) { try process.time(.path("/bin/false")) }
    #expect(throws: BenchmarkError.self) { try process.memory(.path("/nonexistent")) }
    #expect(try process.time(.path("/bin/true")) > 0)
  }
}

/// Threads that wait for each other.
struct GateTests {
  @Test func aGateIsReleasedIfAThreadFails() throws {
    let gate = Gate(count: 2)
    let lock = Lock()
    nonisolated(unsafe) var hasPassed: Bool?
    let thread = try Thread {
      let passed = gate.pass()
      lock.withLock { hasPassed = passed }
    }
    gate.release()
    thread.join()
    #expect(lock.withLock { hasPassed } == false)
  }
}
