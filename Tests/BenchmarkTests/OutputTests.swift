import JSON
import Machine
import Platform
import Testing

@testable import Benchmark

/// Figures as text and as data.
struct OutputTests {
  private let call = Measurement(
    "call", Samples([5500, 5520, 5540, 7000]), baseline: Samples([5400, 5420]), moved: 0)
  private let copy = Measurement("copy-1024", Samples([2000, 2000, 2000]), moved: 2048)
  private let memory = Measurement(
    "start-memory", Samples([307_200]), baseline: Samples([9216]), unit: .bytes, tolerance: 20)

  private func results(_ measurements: [Measurement], countsInstructions: Bool = true) -> Results {
    var results = Results(
      host: HostDescription(architecture: .riscv64, kernel: LinuxKernel(), countsInstructions: countsInstructions),
      version: "1.2", countsInstructions: countsInstructions)
    results.measurements = measurements
    return results
  }

  @Test func cellsAreAlignedWithTheHeader() {
    let header = Table.header(countsInstructions: true)
    let line = Table.line(call, countsInstructions: true)
    #expect(header.hasSuffix("times in instructions\n"))
    #expect(line == "call                              5,520        7,000        5,500    0.7%        5,400   1.020\n")
    for (name, cell) in [("median", "5,520"), ("p99", "7,000"), ("ratio", "1.020")] {
      #expect(header.firstRange(of: name)?.upperBound == line.firstRange(of: cell)?.upperBound)
    }
  }

  @Test func aFigureWithoutBaselineIsMarked() {
    #expect(Table.line(copy, countsInstructions: true).hasSuffix(" -       -\n"))
  }

  @Test func transfersHaveARate() {
    #expect(Table.line(copy, countsInstructions: false).hasSuffix("  1,024 MB/s\n"))
  }

  @Test(arguments: [
    (99_999, Measurement.Unit.time, false, "99,999 ns"), (100_000, .time, false, "100 us"),
    (99_999_999, .time, false, "99,999 us"), (100_000_000, .time, false, "100 ms"),
    (123_456_789, .time, true, "123,456,789"), (10_239, .bytes, true, "10,239 B"), (10_240, .bytes, false, "10 KiB"),
  ])
  func amountsHaveUnits(_ value: Int64, _ unit: Measurement.Unit, _ countsInstructions: Bool, _ text: String) {
    #expect(Table.amount(value, unit, countsInstructions: countsInstructions) == text)
  }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567"), (.min, "-9,223,372,036,854,775,808"),
  ])
  func digitsAreGrouped(_ value: Int64, _ text: String) { #expect(Table.grouped(value) == text) }

  @Test(arguments: [(1, 3, "0.001"), (1016, 3, "1.016"), (-5, 3, "-0.005"), (31, 1, "3.1"), (-1000, 1, "-100.0")])
  func fractionsAreFormatted(_ thousandths: Int, _ digits: Int, _ text: String) {
    #expect(Table.fraction(thousandths, digits) == text)
  }

  @Test func csvHasAColumnForEachName() throws {
    let text = String(decoding: results([call, memory, copy]).csv, as: UTF8.self)
    let lines = text.split(separator: "\n")
    #expect(lines[0] == "name,unit,samples,minimum,typical,median,p99,maximum,spread,floor,ratio")
    #expect(lines[1] == "call,instructions,4,5500,5510,5520,7000,7000,0.007,5400,1.020")
    #expect(lines[2] == "start-memory,bytes,1,307200,307200,307200,307200,307200,0.000,9216,33.333")
    #expect(lines[3] == "copy-1024,instructions,3,2000,2000,2000,2000,2000,0.000,,")
    #expect(String(decoding: results([call], countsInstructions: false).csv, as: UTF8.self).contains("call,ns,"))
  }

  @Test func jsonHasALineForEachMeasurement() throws {
    let stop = Measurement("stop", Samples([30, 90]), tolerance: nil)
    let bytes = try #require(results([call, stop, copy]).json)
    #expect(String(decoding: bytes, as: UTF8.self).split(separator: "\n").count == 9)
    let root = try bytes.withUnsafeBytes { try #require(JSONValue(parsing: $0)) }
    #expect(root["format"] == .integer(1))
    #expect(root["host"]?["swiftlet"] == .string("1.2"))
    #expect(root["host"]?["clock"] == .string("instructions"))
    guard case .array(let all)? = root["results"] else { throw Missing() }
    #expect(all[0]["name"] == .string("call"))
    #expect(all[0]["typical"] == .integer(5510))
    #expect(all[0]["spreadPerMille"] == .integer(7))
    #expect(all[0]["tolerancePercent"] == .integer(3))
    #expect(all[0]["floor"]?["minimum"] == .integer(5400))
    #expect(all[1]["tolerancePercent"] == nil)
    #expect(all[2]["bytes"] == .integer(2048))
    guard case .array(let quantiles)? = all[0]["quantiles"] else { throw Missing() }
    #expect(quantiles.count == 21 && quantiles.first == .integer(5500) && quantiles.last == .integer(7000))
  }

  struct Missing: Error {}
}

/// The host of the figures.
struct HostDescriptionTests {
  @Test(arguments: [
    ("CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0b\n", "Cortex-A76"),
    ("CPU implementer\t: 0x61\nCPU part\t: 0x022\n", "implementer 0x61, part 0x022"),
    ("CPU implementer\t: 0x41\nCPU part\t: 0xfff\n", "implementer 0x41, part 0xfff"),
    ("processor : 0\nmodel name\t: ARMv8 Processor rev 4 : x\n", "ARMv8 Processor rev 4 : x"),
    ("", "unknown"),
    ("hart\t: 1\nisa\t\t: rv64imafdch\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc"),
    ("isa : rv64imafdch\n", "rv64imafdch"), ("nothing\n:\n", "unknown"),
  ])
  func cpusHaveNames(_ text: String, _ name: String) {
    #expect(HostDescription.cpu(cpuinfo: text) == name)
  }

  @Test(arguments: [(0, 40), (36, 36), (40, 40), (48, 48)])
  func addressWidthIsTheKernels(_ answer: Int, _ bits: Int) {
    #expect(HostDescription.addressBits(answer) == bits)
  }

  @Test func theHeaderNamesTheClock() {
    let host = HostDescription(architecture: .riscv64, kernel: LinuxKernel(), countsInstructions: true)
    #expect(host["clock"] == "instructions")
    #expect(host["architecture"] == "riscv64")
    #expect(host["nothing"] == nil)
  }
}
