import Applet
import KVM
import Machine
import Monitor
import Platform

/// One thing that is measured, or a few that belong together.
public struct Benchmark: Sendable {
  /// By which it is asked for; its measurements' names begin with it.
  public let name: StaticString
  /// What it measures, in one line.
  public let summary: StaticString
  /// Samples taken unless the user asks for another number.
  let runs: Int
  /// Whether it makes sense on an architecture.
  var isFor: @Sendable (Architecture) -> Bool = { _ in true }
  let measure: @Sendable (Setting) throws(BenchmarkError) -> [Measurement]

  /// All of them, in the order in which they run. Those that fork come first, while the process is small.
  public static let all: [Benchmark] = [
    start, sandboxedCall, daemon, open, call, callByStore, callNonSecure, copy, getrandom, console, rpc, forwardedRPC,
    lockstep, clone, stop, parallel, memory, processor, linux,
  ]

  /// Those that make sense on an architecture; nil for none in particular.
  public static func all(for architecture: Architecture?) -> [Benchmark] {
    guard let architecture else { return all }
    return all.filter { $0.isFor(architecture) }
  }

  /// Whether this is its name.
  @inline(never)
  func isNamed(_ name: String) -> Bool { self.name.description == name }

  /// The name of the benchmark that a measurement is of: the longest that its name begins with, up to a hyphen.
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

/// What a benchmark measures on, and how often.
struct Setting {
  let architecture: Architecture
  let kernel: LinuxKernel
  /// Samples.
  let runs: Int
  let files: BenchmarkFiles

  /// Calls made before those that count.
  static let warmUp = 16
}

/// Paths of what some benchmarks take beside what this program carries; nil for none.
public struct BenchmarkFiles {
  /// An applet that `start` starts, too.
  public var applet: String?
  /// A program that it runs in the floor's place for that.
  public var beside: String?
  /// A kernel and its initial file system.
  public var linux: String?
  public var initrd: String?

  public init() {}
}

/// Why a benchmark has no result.
public enum BenchmarkError: Error {
  case kvm(KVMError)
  case image(ImageError)
  case load(LoadError)
  case run(ExecError)
  case host(Errno)
  /// The C program that the floor is measured with fails.
  case floor(Errno)
  /// A process that is measured ended with this status of wait(2).
  case process(Int32)
  /// A guest came to another result than the host.
  case wrongResult
  /// A guest's run ended otherwise than it should.
  case wrongEnd
  /// The daemon did not do what it was asked for.
  case daemon(String)
  /// It needs what was not given.
  case skipped(StaticString)

  /// What happened, in one line.
  public var description: String {
    switch self {
    case .kvm(let error): error.description
    case .image(let error): error.description
    case .load(let error): error.description
    case .run(let error): error.description
    case .host(let errno): errno.description
    case .floor(let errno): "its floor cannot be measured: \(errno.description)"
    case .process(let status) where status & 0x7f != 0: "signal \(status & 0x7f) ended the process that is measured"
    case .process(let status): "the process that is measured ended with status \(status >> 8)"
    case .wrongResult: "the guest computed another result than the host"
    case .wrongEnd: "the guest's run ended otherwise than it should"
    case .daemon(let complaint): "the daemon: \(complaint)"
    case .skipped(let reason): "skipped: \(reason)"
    }
  }
}

/// The value of a floor's function: 0 or more.
@discardableResult
func checkFloor(_ result: Int) throws(BenchmarkError) -> Int {
  if let errno = Errno(result: result) { throw .floor(errno) }
  return result
}

/// The value of a system call's answer, or its error.
@discardableResult
func checkHost(_ result: Int) throws(BenchmarkError) -> Int {
  if let errno = Errno(result: result) { throw .host(errno) }
  return result
}
