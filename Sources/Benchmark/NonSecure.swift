import Applet
import AppletABI
import CFloor
import KVM
import Machine
import Monitor
import Platform

extension Benchmark {
  static let callNonSecure = Benchmark(
    name: "call-non-secure",
    summary: "call of a program in system mode: for the time, one with two arguments, and on arm64 by a block",
    runs: 1000
  ) { setting throws(BenchmarkError) in
    let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_NOTHING)
    var found = [
      Measurement("call-non-secure", try setting.systemCalls(FLOOR_SYSTEM_TIME), floor: floor),
      Measurement("call-non-secure-arguments", try setting.systemCalls(FLOOR_SYSTEM_ARGUMENTS), floor: floor),
    ]
    if setting.architecture == .arm64 {
      found.append(Measurement("call-non-secure-block", try setting.systemCalls(FLOOR_SYSTEM_BLOCK), floor: floor))
    }
    return found
  }
}

extension Setting {
  /// Where the program leaves its times: amid the heap that the default memory gives it.
  private static let timesAddress = AppletImage.baseOfPIE + 0x10_0000

  /// Times between calls of a program in system mode.
  fileprivate func systemCalls(_ kind: floor_system_call) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    let words = [UInt64(kind.rawValue), UInt64(marks), Self.timesAddress, 0]
    let image = try image(Executable.applet(FLOOR_GUEST_SYSTEM, architecture, words: words))
    let context: ExecCtx
    do { context = try ExecCtx(image: image, secure: false, system: system, architecture: architecture) } catch {
      throw .load(error)
    }
    // Before Linux 6.4 none of its calls comes here, and it would make its last one for ever.
    guard context.canCall else { throw .skipped("this kernel passes no calls on, as Linux does from 6.4 on") }
    try context.finish()
    var times = context.numbers(at: Self.timesAddress, count: marks)
    if kind == FLOOR_SYSTEM_ARGUMENTS {
      let frequency: UInt64
      do { frequency = try context.counterFrequency() } catch { throw .kvm(error) }
      let nanoseconds = 1e9 / Double(frequency)
      times = times.map { [first = times[0]] in Int64((Double($0 &- first) * nanoseconds).rounded()) }
    }
    return Samples(marks: times, skip: Self.warmUp)
  }
}
