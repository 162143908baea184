import Applet
import CBaseline
import KVM
import Launch
import Machine
import Monitor
import Platform

extension Benchmark {
  static let callNonSecure = Benchmark(
    name: "call-non-secure",
    summary: "call of a program in system mode: for the time, with two arguments, and on arm64 by block",
    runs: 1000
  ) { setting throws(BenchmarkError) in
    let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_NOTHING)
    var found = [
      Measurement("call-non-secure", try setting.systemCalls(BASELINE_SYSTEM_TIME), baseline: baseline),
      Measurement("call-non-secure-arguments", try setting.systemCalls(BASELINE_SYSTEM_ARGUMENTS), baseline: baseline),
    ]
    if setting.architecture.facts.usesSMCCC {
      found.append(
        Measurement("call-non-secure-block", try setting.systemCalls(BASELINE_SYSTEM_BLOCK), baseline: baseline))
    }
    return found
  }
}

extension Setting {
  /// Where the program stores its times: within its heap, with the default memory.
  private static let timesAddress = AppletImage.baseOfPIE + 0x10_0000

  /// Times between calls of a program in system mode.
  fileprivate func systemCalls(_ kind: baseline_system_call) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    let words = [UInt64(kind.rawValue), UInt64(marks), Self.timesAddress, 0]
    let image = try image(Executable.applet(BASELINE_GUEST_SYSTEM, architecture, words: words))
    var request = GuestRequest()
    request.isSecure = false
    let context = try makeContext(image, system, request)
    // Before Linux 6.4 its calls do not reach the monitor, and it would repeat its last call forever.
    guard context.canCall else { throw .skipped("this kernel does not forward calls (added in Linux 6.4)") }
    try context.finish()
    var times = context.numbers(at: Self.timesAddress, count: marks)
    if kind == BASELINE_SYSTEM_ARGUMENTS {
      let frequency: UInt64
      do { frequency = try context.counterFrequency() } catch { throw .kvm(error) }
      let nanoseconds = 1e9 / Double(frequency)
      times = times.map { [first = times[0]] in Int64((Double($0 &- first) * nanoseconds).rounded()) }
    }
    return Samples(marks: times, skip: Self.warmUp)
  }
}
