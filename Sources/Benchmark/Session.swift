import Machine
import Platform

/// A run of benchmarks.
public struct Session {
  let architecture: Architecture
  let kernel: LinuxKernel
  let benchmarks: [Benchmark]
  /// Number of samples of each; nil for each benchmark's default.
  let runs: Int?
  let files: BenchmarkFiles

  /// Why a run is not possible.
  public enum Refusal: Error, Equatable {
    /// There is no benchmark of this name.
    case unknown(String)
    /// It does not apply to the host's architecture.
    case unsuited(String)
  }

  /// - Parameter names: of benchmarks; empty for all that apply to the architecture.
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

  /// Whether all benchmarks of the architecture run.
  public let isWhole: Bool

  /// Whether one of the benchmarks has this measurement.
  public func covers(_ measurement: String) -> Bool {
    guard let owner = Benchmark.owner(of: measurement) else { return isWhole }
    return benchmarks.contains { $0.isNamed(owner) }
  }

  /// The result of a benchmark.
  public typealias Outcome = Result<[Measurement], BenchmarkError>

  /// Runs them one after the other.
  /// - Parameters:
  ///   - progress: called before each with its name, the number of those before it, and the number of all.
  ///   - finished: called after each with its result.
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
