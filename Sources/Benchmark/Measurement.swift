/// What a benchmark has found.
public struct Measurement {
  /// What the numbers count.
  public enum Unit: Sendable {
    /// Of CLOCK_MONOTONIC: nanoseconds, or what the clock counts in their place.
    case time
    case bytes
  }

  public let name: String
  public let unit: Unit
  public let samples: Samples
  /// The same work done by C alone; nil where there is nothing to compare with.
  public let floor: Samples?
  /// By how many percent it may grow before a comparison fails; nil for any.
  public let tolerance: Int?
  /// Bytes that one sample moves; 0 where it is not about bytes.
  public let moved: Int

  // Here and below: a copy of it at every place where it is used would be a tenth of all of this target's code.
  @inline(never)
  init(
    _ name: String, _ samples: Samples, floor: Samples? = nil, unit: Unit = .time, tolerance: Int? = 3, moved: Int = 0
  ) {
    self.name = name
    self.samples = samples
    self.floor = floor
    self.unit = unit
    self.tolerance = tolerance
    self.moved = moved
  }

  /// `typical` by the floor's, in thousandths; nil without a floor.
  public var ratio: Int? {
    guard let floor, floor.typical > 0 else { return nil }
    return Int((samples.typical * 1000 + floor.typical / 2) / floor.typical)
  }
}

/// Samples of one quantity.
public struct Samples {
  /// By ascending value; at least one.
  public let sorted: [Int64]

  @inline(never)
  init(_ values: [Int64]) { sorted = values.isEmpty ? [0] : values.sorted() }

  /// Times between marks, of which the first few are not counted.
  @inline(never)
  init(marks: [Int64], skip: Int = 0) {
    var times: [Int64] = []
    times.reserveCapacity(marks.count)
    for index in marks.indices.dropFirst(skip + 1) { times.append(marks[index] - marks[index - 1]) }
    self.init(times)
  }

  /// The smallest sample that so many thousandths of all do not exceed.
  public func quantile(_ thousandths: Int) -> Int64 {
    sorted[min(max((sorted.count * thousandths + 999) / 1000 - 1, 0), sorted.count - 1)]
  }

  public var minimum: Int64 { sorted[0] }
  public var maximum: Int64 { sorted[sorted.count - 1] }
  public var median: Int64 { quantile(500) }
  public var p99: Int64 { quantile(990) }

  /// Mean of the lower half of the samples. What disturbs a sample makes it greater; and where the clock's steps are coarse, a
  /// median is a multiple of them, and this is not.
  public var typical: Int64 {
    let half = sorted[..<((sorted.count + 1) / 2)]
    return (half.reduce(0, &+) + Int64(half.count) / 2) / Int64(half.count)
  }

  /// Width of the middle half, in thousandths of the median.
  public var spread: Int {
    median > 0 ? Int((quantile(750) - quantile(250)) * 1000 / median) : 0
  }
}
