import Foundation
import FuzzTargets
import TestSupport
import Testing

/// What fuzzers have found worth keeping: inputs that once broke something, and some that reach far. An input that breaks
/// something again ends the test program.
struct CorpusTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
    "corpus")

  @Test(arguments: FuzzTarget.all.map { $0.name }) func inputsFoundOnceBreakNothing(name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    for seed in target.seeds() { seed.withUnsafeBytes { target.run($0) } }
    let files = try FileManager.default.contentsOfDirectory(
      at: Self.folder.appendingPathComponent(name), includingPropertiesForKeys: nil)
    #expect(!files.isEmpty)
    for file in files.sorted(by: { $0.path < $1.path }) {
      try Data(contentsOf: file).withUnsafeBytes { target.run($0) }
    }
  }

  /// Seeds with some of their bytes changed, the same ones each time, for a moment: `make fuzz` does it better, and longer.
  @Test(arguments: FuzzTarget.all.map { $0.name }) func changedSeedsBreakNothing(name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    let seeds = target.seeds()
    var random = SeededGenerator(seed: 1)
    let end = Date.now + 0.3
    while Date.now < end {
      var input = seeds.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...8, using: &random) where !input.isEmpty {
        input[Int.random(in: 0..<input.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      // The input that ends the program here can be found by running the fuzzer.
      input.withUnsafeBytes { target.run($0) }
    }
  }
}
