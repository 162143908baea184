import AppletABI
import Platform

/// How long the monitor takes to answer calls of an applet, of samples: a histogram for each number.
///
/// Calls are not measured unless `measure` asks for it, because two reads of the clock would slow every call down.
package final class CallLatency {
  /// The calls of a number.
  package struct Histogram {
    /// Numbers of calls that took at most 1 µs, 4 µs and so on up to 4^10 µs, each without those before, and longer.
    package private(set) var buckets = InlineArray<12, UInt64>(repeating: 0)
    /// The number of buckets.
    package static var bucketCount: Int { 12 }
    /// Nanoseconds of all.
    package private(set) var sum: Int64 = 0

    mutating func add(_ nanoseconds: Int64) {
      var (index, bound) = (0, Int64(1000))
      while index < Self.bucketCount - 1, nanoseconds > bound { (index, bound) = (index + 1, bound * 4) }
      buckets[index] &+= 1
      sum &+= max(nanoseconds, 0)
    }
  }

  private var histograms: [(number: Int32, histogram: Histogram)] = []
  private var rest = 0

  package init() {}

  /// The numbers that were measured, by name.
  package var named: [(name: StaticString, histogram: Histogram)] {
    CallCounts.numbers.compactMap { entry in
      histograms.first { $0.number == entry.number }.map { (entry.name, $0.histogram) }
    }
  }

  /// Measures the next calls of an applet that has no handler of its own, on the thread that runs it. A program in system mode has
  /// its calls answered by another function, and is not measured.
  package func measure(_ count: Int, of context: ExecCtx) {
    guard context.isSecure, rest > 0 || context.handler == nil else { return }
    rest = count
    context.handler = { [self] context throws(ExecError) in try answer(context) }
  }

  private func answer(_ context: ExecCtx) throws(ExecError) {
    rest -= 1
    if rest == 0 { context.handler = nil }
    let number = Int32(truncatingIfNeeded: context.a0)
    guard context.a0 <= UInt64(APPLET_CALL_LAST), CallCounts.numbers.contains(where: { $0.number == number }) else {
      return try secureHandler(context)
    }
    context.callCounts.recount(number)
    let start = Clock.monotonic
    try secureHandler(context)
    add(Clock.monotonic - start, of: number)
  }

  private func add(_ nanoseconds: Int64, of number: Int32) {
    let found = histograms.firstIndex { $0.number == number }
    if found == nil { histograms.append((number, Histogram())) }
    histograms[found ?? histograms.count - 1].histogram.add(nanoseconds)
  }
}
