import Applet
import KVM
import Launch
import Machine
import Monitor
import Platform

/// A benchmark: one measurement, or several related ones.
public struct Benchmark: Sendable {
  /// Its name on the command line, and the prefix of its measurements' names.
  public let name: StaticString
  /// What it measures, in one line.
  public let summary: StaticString
  /// Number of samples by default.
  let runs: Int
  /// Whether it applies to an architecture.
  var isFor: @Sendable (Architecture) -> Bool = { _ in true }
  let measure: @Sendable (Setting) throws(BenchmarkError) -> [Measurement]

  /// All benchmarks, in the order in which they run. Those that fork come first, while the process is small.
  public static let all: [Benchmark] = [
    start, sandboxedCall, daemon, open, call, callByStore, callNonSecure, copy, getrandom, console, rpc, forwardedRPC,
    lockstep, clone, stop, parallel, memory, cpu, linux,
  ]

  /// The benchmarks for an architecture; nil for all architectures.
  public static func all(for architecture: Architecture?) -> [Benchmark] {
    guard let architecture else { return all }
    return all.filter { $0.isFor(architecture) }
  }

  /// Whether it has this name.
  @inline(never)
  func isNamed(_ name: String) -> Bool { self.name.description == name }

  /// The name of the benchmark of a measurement: the longest one that is a prefix up to a hyphen.
  @inline(never)
  static func owner(of measurement: String) -> String? {
    var end = measurement.endIndex
    while true {
      let name = String(measurement[..<end])
      if all.contains(where: { $0.isNamed(name) }) { return name }
      guard let hyphen = name.lastIndex(of: "-") else { return nil }
      end = hyphen
    }
  }
}

/// The arguments of a benchmark.
struct Setting {
  let architecture: Architecture
  let kernel: LinuxKernel
  /// Number of samples.
  let runs: Int
  let files: BenchmarkFiles

  /// Number of calls before the first measured one.
  static let warmUp = 16
}

/// Paths of files that some benchmarks need; nil for none.
public struct BenchmarkFiles {
  /// An applet that `start` also measures.
  public var applet: String?
  /// A program that `start` runs with it instead of the baseline.
  public var beside: String?
  /// A kernel and its initrd.
  public var linux: String?
  /// The initrd.
  public var initrd: String?

  /// No files.
  public init() {}
}

/// Why a benchmark has no result.
public enum BenchmarkError: Error {
  /// An error of KVM.
  case kvm(KVMError)
  /// The image of a guest was rejected.
  case image(ImageError)
  /// The description of a guest was rejected.
  case spec(SpecError)
  /// A guest could not be created.
  case launch(LaunchError)
  /// Contexts cannot run in lockstep.
  case lockstep(LockstepError)
  /// An RPC method could not be registered.
  case service(RPCError)
  /// The guest's run failed.
  case run(ExecError)
  /// A system call failed.
  case host(Errno)
  /// The baseline's C program fails.
  case baseline(Errno)
  /// A measured process ended with this status of wait(2).
  case process(Int32)
  /// The guest computed another result than the host.
  case wrongResult
  /// The guest's run had an unexpected outcome.
  case wrongEnd
  /// The daemon did not do what was requested.
  case daemon(String)
  /// It needs something that is not available.
  case skipped(StaticString)

  /// The error, in one line.
  public var description: String {
    switch self {
    case .kvm(let error): error.description
    case .image(let error): error.description
    case .spec(let error): error.description(value: "")
    case .launch(let error): error.description
    case .lockstep(let error): error.description
    case .service(let error): error.message
    case .run(let error): error.description
    case .host(let errno): errno.description
    case .baseline(let errno): "cannot measure the baseline: \(errno.description)"
    case .process(let status) where status & 0x7f != 0: "signal \(status & 0x7f) ended the measured process"
    case .process(let status): "the measured process ended with status \(status >> 8)"
    case .wrongResult: "the guest and the host computed different results"
    case .wrongEnd: "the guest's run had an unexpected outcome"
    case .daemon(let message): "the daemon: \(message)"
    case .skipped(let reason): "skipped: \(reason)"
    }
  }
}

/// The result of a function of the baseline: 0 or more.
@discardableResult
func checkBaseline(_ result: Int) throws(BenchmarkError) -> Int {
  if let errno = Errno(result: result) { throw .baseline(errno) }
  return result
}

/// The result of a system call; throws its error.
@discardableResult
func checkHost(_ result: Int) throws(BenchmarkError) -> Int {
  if let errno = Errno(result: result) { throw .host(errno) }
  return result
}
