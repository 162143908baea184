import Applet
import CBaseline
import KVM
import Machine
import Monitor

extension Benchmark {
  static let cpu = Benchmark(
    name: "processor", summary: "computation in the guest; the baseline is the same instructions on the host", runs: 10
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for (name, work, steps) in [
      ("integer", BASELINE_WORK_INTEGER, 1_000_000), ("memory", BASELINE_WORK_MEMORY, 1_000_000),
      ("floating", BASELINE_WORK_FLOATING, 500_000),
    ] {
      let (guest, guestResult) = try setting.workInGuest(work, steps)
      let (host, hostResult) = setting.workOnHost(work, steps)
      guard guestResult == hostResult else { throw .wrongResult }
      found.append(Measurement("processor-\(name)", Samples(guest), baseline: Samples(host)))
    }
    return found
  }
}

extension Setting {
  /// One round more than is measured: the first one touches the memory.
  fileprivate func workInGuest(_ work: baseline_processor_work, _ steps: Int) throws(BenchmarkError) -> ([Int64], Int64)
  {
    let system = try openSystem()
    let context = try makeContext(BASELINE_GUEST_WORK, system)
    let rounds = runs + 1
    let memory = (context.free + UInt64(rounds + 1) * 8 + 0xffff) & ~0xffff
    context.setArguments(UInt64(rounds), context.free, UInt64(work.rawValue), UInt64(steps), memory)
    try context.finish()
    let numbers = context.numbers(at: context.free, count: rounds + 1)
    return (Array(numbers[1..<rounds]), numbers[rounds])
  }

  fileprivate func workOnHost(_ work: baseline_processor_work, _ steps: Int) -> ([Int64], Int64) {
    let rounds = runs + 1
    var times = [Int64](repeating: 0, count: rounds + 1)
    let words = Int(BASELINE_WORK_MEMORY_SIZE) / 8
    let memory = UnsafeMutablePointer<UInt64>.allocate(capacity: words)
    defer { memory.deallocate() }
    memory.initialize(repeating: 0, count: words)
    baseline_work_on_host(rounds, &times, work, steps, memory)
    return (Array(times[1..<rounds]), times[rounds])
  }
}
