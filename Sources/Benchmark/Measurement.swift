/// A result of a benchmark.
public struct Measurement {
  /// The unit of the numbers.
  public enum Unit: Sendable {
    /// Nanoseconds of CLOCK_MONOTONIC, or what the clock counts instead.
    case time
    /// Bytes of memory.
    case bytes
  }

  /// The name of the measurement.
  public let name: String
  /// The unit of the samples.
  public let unit: Unit
  /// The samples.
  public let samples: Samples
  /// The baseline: the same work done by C only; nil if there is none.
  public let baseline: Samples?
  /// The growth in percent at which a comparison fails; nil for none.
  public let tolerance: Int?
  /// Number of bytes that one sample transfers; 0 if it transfers none.
  public let moved: Int

  // Not inlined, here and below: the copies would be a tenth of this target's code.
  @inline(never)
  init(
    _ name: String, _ samples: Samples, baseline: Samples? = nil, unit: Unit = .time, tolerance: Int? = 3,
    moved: Int = 0
  ) {
    self.name = name
    self.samples = samples
    self.baseline = baseline
    self.unit = unit
    self.tolerance = tolerance
    self.moved = moved
  }

  /// `typical` divided by the baseline's, in thousandths; nil without a baseline.
  public var ratio: Int? {
    guard let baseline, baseline.typical > 0 else { return nil }
    return Int((samples.typical * 1000 + baseline.typical / 2) / baseline.typical)
  }
}

/// Samples of one quantity.
public struct Samples {
  /// In ascending order; at least one.
  public let sorted: [Int64]

  @inline(never)
  init(_ values: [Int64]) { sorted = values.isEmpty ? [0] : values.sorted() }

  /// Intervals between marks, without the first few.
  @inline(never)
  init(marks: [Int64], skip: Int = 0) {
    var times: [Int64] = []
    times.reserveCapacity(marks.count)
    for index in marks.indices.dropFirst(skip + 1) { times.append(marks[index] - marks[index - 1]) }
    self.init(times)
  }

  /// The smallest sample that at most this many thousandths of all samples are less than or equal to.
  public func quantile(_ thousandths: Int) -> Int64 {
    sorted[min(max((sorted.count * thousandths + 999) / 1000 - 1, 0), sorted.count - 1)]
  }

  /// The smallest sample.
  public var minimum: Int64 { sorted[0] }
  /// The largest sample.
  public var maximum: Int64 { sorted[sorted.count - 1] }
  /// The median.
  public var median: Int64 { quantile(500) }
  /// The 99th percentile.
  public var p99: Int64 { quantile(990) }

  /// Mean of the lower half of the samples. Disturbances only increase a sample. With a coarse clock a median would be a multiple
  /// of the clock's resolution; a mean is not.
  public var typical: Int64 {
    let half = sorted[..<((sorted.count + 1) / 2)]
    return (half.reduce(0, &+) + Int64(half.count) / 2) / Int64(half.count)
  }

  /// Interquartile range, in thousandths of the median.
  public var spread: Int {
    median > 0 ? Int((quantile(750) - quantile(250)) * 1000 / median) : 0
  }
}
