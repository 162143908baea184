import Machine
import Platform

/// A run of some benchmarks.
public struct Session {
  let architecture: Architecture
  let kernel: LinuxKernel
  let benchmarks: [Benchmark]
  /// Samples of each; nil for as many as each takes by itself.
  let runs: Int?
  let files: BenchmarkFiles

  /// Why there is no such run.
  public enum Refusal: Error, Equatable {
    /// There is no benchmark of this name.
    case unknown(String)
    /// It makes no sense on the host's architecture.
    case unsuited(String)
  }

  /// - Parameter names: of benchmarks; none for all that make sense on the architecture.
  public init(
    _ names: [String], runs: Int?, files: BenchmarkFiles, architecture: Architecture, kernel: LinuxKernel
  ) throws(Refusal) {
    let suited = Benchmark.all(for: architecture)
    for name in names where !suited.contains(where: { $0.isNamed(name) }) {
      throw Benchmark.all.contains { $0.isNamed(name) } ? .unsuited(name) : .unknown(name)
    }
    self.architecture = architecture
    self.kernel = kernel
    self.runs = runs
    self.files = files
    benchmarks = suited.filter { benchmark in names.isEmpty || names.contains(where: benchmark.isNamed) }
    isWhole = names.isEmpty
  }

  /// Whether nothing was left out on purpose.
  public let isWhole: Bool

  /// Whether a measurement of this name is of one of these benchmarks.
  public func covers(_ measurement: String) -> Bool {
    guard let owner = Benchmark.owner(of: measurement) else { return isWhole }
    return benchmarks.contains { $0.isNamed(owner) }
  }

  /// What a benchmark came to.
  public typealias Outcome = Result<[Measurement], BenchmarkError>

  /// Runs them one after the other.
  /// - Parameters:
  ///   - progress: told before each which one it is, how many come before it, and how many there are.
  ///   - finished: told after each what it came to.
  public func run(progress: (StaticString, Int, Int) -> Void, finished: (StaticString, Outcome) -> Void) {
    for (index, benchmark) in benchmarks.enumerated() {
      progress(benchmark.name, index, benchmarks.count)
      let setting = Setting(
        architecture: architecture, kernel: kernel, runs: runs ?? benchmark.runs, files: files)
      finished(
        benchmark.name,
        Outcome { () throws(BenchmarkError) -> [Measurement] in try benchmark.measure(setting) })
    }
  }
}
