import Foundation
import FuzzTargets
import TestSupport
import Testing

/// The corpus of the fuzzers: inputs that once caused an error, and inputs with much coverage. An input that traps ends the test
/// program.
struct CorpusTests {
  private static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
    "corpus")

  @Test(arguments: FuzzTarget.all.map { $0.name }) func inputsOfTheCorpusAreHandled(name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    for seed in target.seeds() { seed.withUnsafeBytes { target.run($0) } }
    let files = try FileManager.default.contentsOfDirectory(
      at: Self.directory.appendingPathComponent(name), includingPropertiesForKeys: nil)
    #expect(!files.isEmpty)
    for file in files.sorted(by: { $0.path < $1.path }) {
      try Data(contentsOf: file).withUnsafeBytes { target.run($0) }
    }
  }

  /// Seeds with some changed bytes, the same in each run. `make fuzz` does this for longer, guided by coverage.
  @Test(arguments: FuzzTarget.all.map { $0.name }) func changedSeedsAreHandled(name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    let seeds = target.seeds()
    var random = SeededGenerator(seed: 1)
    #expect(!seeds.isEmpty)
    for _ in 0..<200 {
      var input = seeds.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...8, using: &random) where !input.isEmpty {
        input[Int.random(in: 0..<input.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      // If an input traps here, the fuzzer finds it, too.
      input.withUnsafeBytes { target.run($0) }
    }
  }
}
