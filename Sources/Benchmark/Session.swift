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

  /// - Parameter names: of benchmarks; none for all.
  /// - Returns: nil where there is none of a name; `unknown` is called with it.
  public init?(
    _ names: [String], runs: Int?, files: BenchmarkFiles, architecture: Architecture, kernel: LinuxKernel,
    unknown: (String) -> Void
  ) {
    for name in names where !Benchmark.all.contains(where: { $0.name.description == name }) {
      unknown(name)
      return nil
    }
    self.architecture = architecture
    self.kernel = kernel
    self.runs = runs
    self.files = files
    benchmarks = Benchmark.all.filter { benchmark in
      names.isEmpty ? benchmark.isFor(architecture) : names.contains(benchmark.name.description)
    }
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
