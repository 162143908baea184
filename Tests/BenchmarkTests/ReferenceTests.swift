import struct Foundation.Data
import class Foundation.FileManager
import struct Foundation.UUID
import Machine
import Platform
import Testing

@testable import Benchmark

/// Comparisons with earlier figures: of the same kernel by amounts, of another one by ratios to the baseline.
struct ReferenceTests {
  private let host = HostDescription(architecture: .arm64, kernel: LinuxKernel(), countsInstructions: true)

  /// The result of a comparison of one figure.
  private func compare(
    _ now: Measurement, with earlier: Measurement, ofKernel release: String? = nil
  ) throws -> (line: String, isTooMuch: Bool, heading: String) {
    var results = Results(host: host, version: "1", countsInstructions: true)
    results.measurements = [earlier]
    var text = String(decoding: try #require(results.json), as: UTF8.self)
    if let release {
      let here = try #require(host["kernel"])
      text = text.replacingOccurrences(of: "\"kernel\":\"\(here)\"", with: "\"kernel\":\"\(release)\"")
      #expect(text.contains(release))
    }
    let path = FileManager.default.temporaryDirectory.appending(path: "reference-\(UUID()).json")
    try Data(text.utf8).write(to: path)
    defer { try? FileManager.default.removeItem(at: path) }
    let reference = try Reference(path: path.path, host: host, kernel: LinuxKernel())
    #expect(reference.mismatch(host) == nil)
    let (line, isTooMuch) = reference.line(now, countsInstructions: true)
    return (line, isTooMuch, reference.heading)
  }

  private func measurement(_ value: Int64, baseline: Int64?, tolerance: Int? = 3) -> Measurement {
    Measurement("call", Samples([value]), baseline: baseline.map { Samples([$0]) }, tolerance: tolerance)
  }

  @Test(arguments: [(1030, false), (1031, true), (500, false)])
  func theSameKernelIsComparedByAmounts(_ now: Int64, _ isTooMuch: Bool) throws {
    // The baseline has grown, too, but the difference to it counts.
    let found = try compare(measurement(now, baseline: 2000), with: measurement(1000, baseline: 900))
    #expect(found.isTooMuch == isTooMuch)
    #expect(found.line.contains("1,000 -> "))
    #expect(found.line.contains("exceeds the tolerance") == isTooMuch)
    #expect(found.heading == "Compared with the file:\n")
  }

  @Test(arguments: [
    // A slower and a faster kernel, with the same work above the baseline.
    (measurement: (2100, 2000), isTooMuch: false), (measurement: (600, 500), isTooMuch: false),
    // More work above the baseline.
    (measurement: (1140, 1000), isTooMuch: true), (measurement: (2300, 2000), isTooMuch: true),
    // More, but within the tolerance.
    (measurement: (1120, 1000), isTooMuch: false),
  ])
  func twoKernelsAreComparedByRatios(_ now: (Int64, Int64), _ isTooMuch: Bool) throws {
    let found = try compare(
      measurement(now.0, baseline: now.1), with: measurement(1100, baseline: 1000), ofKernel: "5.0.0-other")
    #expect(found.isTooMuch == isTooMuch)
    #expect(found.line.contains("1.100 -> "))
    #expect(found.heading.contains("5.0.0-other"))
  }

  /// Typical samples are compared with typical ones.
  @Test(
    arguments: [
      // The typical sample has grown by 4 %, the minimum has not.
      (now: [500, 1580, 2000, 2000], isTooMuch: true),
      // The minimum has grown, the typical sample has not; rare samples are ignored.
      (now: [980, 1020, 9000, 9000], isTooMuch: false),
      (now: [1030, 1030, 1030, 1030], isTooMuch: false), (now: [1031, 1031, 1031, 1031], isTooMuch: true),
    ] as [(now: [Int64], isTooMuch: Bool)])
  func theTypicalSampleIsCompared(_ now: [Int64], _ isTooMuch: Bool) throws {
    // Minimum 500, typical 1000.
    let earlier = Measurement("call", Samples([500, 1500, 2000, 2000]), baseline: Samples([400, 600, 900, 900]))
    let found = try compare(Measurement("call", Samples(now)), with: earlier)
    #expect(found.isTooMuch == isTooMuch, "\(found.line)")
    #expect(found.line.contains("1,000 -> "))
    let baseline = Samples([490, 510, 900, 900])
    let ratio = try compare(
      Measurement("call", Samples(now), baseline: baseline), with: earlier, ofKernel: "5.0.0-other")
    #expect(ratio.isTooMuch == isTooMuch, "\(ratio.line)")
    #expect(ratio.line.contains("2.000 -> "))
  }

  @Test func figuresThatWereZeroAreNotCompared() throws {
    let found = try compare(measurement(5, baseline: 5), with: measurement(0, baseline: 5))
    #expect(found.line.hasSuffix("not compared: it was 0\n"))
    #expect(!found.isTooMuch)
  }

  @Test func missingFiguresAreNamed() throws {
    var results = Results(host: host, version: "1", countsInstructions: true)
    results.measurements = ["call", "call-mmio", "stop", "gone"].map { Measurement($0, Samples([5])) }
    let path = FileManager.default.temporaryDirectory.appending(path: "reference-\(UUID()).json")
    try Data(try #require(results.json)).write(to: path)
    defer { try? FileManager.default.removeItem(at: path) }
    let reference = try Reference(path: path.path, host: host, kernel: LinuxKernel())
    func missing(_ names: String...) throws -> [String] {
      let session = try Session(
        names, runs: nil, files: BenchmarkFiles(), architecture: .arm64, kernel: LinuxKernel())
      return reference.missing(from: [Measurement("call", Samples([5]))], of: session)
    }
    #expect(try missing() == ["call-mmio", "stop", "gone"])
    #expect(try missing("call", "stop") == ["stop"])
    #expect(try missing("call") == [])
    #expect(Reference.missingLine("stop") == "stop                      not measured\n")
  }

  @Test func withoutBaselineKernelsAreNotCompared() throws {
    let found = try compare(
      measurement(9000, baseline: nil), with: measurement(1000, baseline: nil), ofKernel: "5.0.0-other")
    #expect(!found.isTooMuch)
    #expect(found.line.contains("not compared"))
    #expect(try compare(measurement(9000, baseline: nil), with: measurement(1000, baseline: nil)).isTooMuch)
  }

  @Test func figuresWithoutToleranceMayGrow() throws {
    let earlier = measurement(1000, baseline: 900, tolerance: nil)
    #expect(try !compare(measurement(9000, baseline: 900), with: earlier).isTooMuch)
  }

  @Test func figuresMissingFromTheFileAreNew() throws {
    let other = Measurement("stop", Samples([5]), baseline: nil)
    let found = try compare(other, with: measurement(1000, baseline: 900))
    #expect(found.line.hasSuffix("new\n"))
    #expect(!found.isTooMuch)
  }

  @Test func anotherClockIsRejected() throws {
    let times = Results(
      host: HostDescription(architecture: .arm64, kernel: LinuxKernel(), countsInstructions: false), version: "1",
      countsInstructions: false)
    let path = FileManager.default.temporaryDirectory.appending(path: "reference-\(UUID()).json")
    try Data(try #require(times.json)).write(to: path)
    defer { try? FileManager.default.removeItem(at: path) }
    let reference = try Reference(path: path.path, host: host, kernel: LinuxKernel())
    #expect(reference.mismatch(host)?.contains("clock") == true)
  }

  @Test(arguments: ["", "{}", "{\"format\":2}", "{\"format\":1,\"host\":{},\"results\":[{\"name\":1}]}"])
  func otherFilesAreRejected(_ text: String) throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "reference-\(UUID()).json")
    try Data(text.utf8).write(to: path)
    defer { try? FileManager.default.removeItem(at: path) }
    #expect(throws: Reference.Failure.self) { try Reference(path: path.path, host: host, kernel: LinuxKernel()) }
  }
}
