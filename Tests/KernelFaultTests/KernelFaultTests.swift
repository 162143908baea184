import Foundation
import Testing

/// Every call of the kernel fails in turn, with each errno of its manual page, while contexts are made, run and
/// stopped.
struct KernelFaultTests {
  /// The program for this, in the directory of the tests: it counts resources of the whole process.
  private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("faults")

  @Test func everyFailureIsATypedErrorAndReleasesEverything() throws {
    let process = Process()
    process.executableURL = Self.program
    // Every seventh case; `make robustness` runs all of them.
    process.arguments = ["7", "3"]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "faults 7 3:\n\(text)")
    #expect(text.contains("\n0 wrong, "))
  }

  /// The daemon with processes that hang or are killed, with malicious clients, and across its own end.
  @Test(arguments: ["workers", "clients", "lasting", "declared"])
  func daemon(_ name: String) throws {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Varlink/\(name).py")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", script.path, Self.program.path]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(name).py:\n\(text)")
  }
}
