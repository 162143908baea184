import Foundation
import Testing

/// Every call of the kernel fails in turn, in every way that the manual names, while contexts are made, run and stopped.
struct KernelFaultTests {
  /// The program that does it, beside the tests' own: what it counts is the whole process's.
  private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("faults")

  @Test func everyFailureIsATypedErrorAndReleasesEverything() throws {
    let process = Process()
    process.executableURL = Self.program
    // Every seventh case; `make robustness` tries them all.
    process.arguments = ["7", "3"]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "faults 7 3:\n\(text)")
    #expect(text.contains("\n0 wrong, "))
  }

  @Test func daemonWithProcessesThatHangAndDie() throws {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Varlink/workers.py")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", script.path, Self.program.path]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "workers.py:\n\(text)")
  }
}
