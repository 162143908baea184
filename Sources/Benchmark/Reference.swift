import JSON
import Platform

/// Earlier results, for comparison.
///
/// Counts and times are compared only with those of the same kernel, since another kernel has other costs for exits and system
/// calls. With another kernel, the ratios to the baselines are compared, because each baseline was measured on the same kernel
/// as its figure.
public struct Reference {
  /// Why a file cannot be used.
  public enum Failure: Error {
    /// The file cannot be read.
    case unreadable(Errno)
    /// The file has another format.
    case format

    /// A description, in one line.
    public var description: String {
      switch self {
      case .unreadable(let errno): errno.description
      case .format: "not a file written by swiftlet bench --json"
      }
    }
  }

  /// An earlier figure.
  private struct Figure {
    let name: String
    let typical: Int64
    let baseline: Int64?
    let tolerance: Int?
  }

  private var figures: [Figure] = []
  private let host: JSONValue
  private let release: String
  /// The kernel of the earlier results, if it is not the host's.
  public let otherKernel: String?

  /// Reads a file that `Results.json` has written.
  /// - Parameter host: the host of the results to be compared.
  public init(path: String, host: HostDescription, kernel: LinuxKernel) throws(Failure) {
    let file: FileContents
    do { file = try FileContents(path: path, limit: 1 << 24, kernel: kernel) } catch { throw .unreadable(error) }
    guard let root = JSONValue(parsing: file.bytes), root["format"] == .integer(1),
      case .array(let results)? = root["results"], let earlier = root["host"], case .object = earlier
    else { throw .format }
    self.host = earlier
    release = host["kernel"] ?? ""
    if case .string(let there)? = earlier["kernel"], there != release { otherKernel = there } else { otherKernel = nil }
    for result in results {
      guard case .string(let name)? = result["name"], case .integer(let typical)? = result["typical"] else {
        throw .format
      }
      var tolerance: Int?
      switch result["tolerancePercent"] {
      case .integer(let number) where (0..<1000).contains(number): tolerance = Int(number)
      case nil: break
      default: throw .format
      }
      var baseline: Int64?
      if case .integer(let value)? = result["floor"]?["typical"], value > 0 { baseline = value }
      figures.append(Figure(name: name, typical: typical, baseline: baseline, tolerance: tolerance))
    }
  }

  /// Why the results of the two hosts cannot be compared; nil if they can.
  public func mismatch(_ host: HostDescription) -> String? {
    for name: StaticString in ["architecture", "clock"] {
      if case .string(let there)? = self.host[name.description], let here = host[name], there != here {
        return "its \(name) is \(there), this host's is \(here)"
      }
    }
    return nil
  }

  /// The text above the comparison.
  public var heading: String {
    guard let otherKernel else { return "Compared with the file:\n" }
    return "Compared with the file, from kernel \(otherKernel); this kernel is \(release):\n"
      + "ratios to the baseline, since counts and times of different kernels are not comparable.\n"
  }

  /// A measurement and its earlier value.
  public struct Change {
    /// An amount, or a ratio to the baseline in thousandths.
    public let before, now: Int64
    /// Whether the two values are ratios to the baseline.
    public let isRatio: Bool
    /// Whether the growth exceeds the tolerance.
    public let isTooMuch: Bool

    /// Growth in thousandths.
    public var growth: Int {
      let ratio = Double(now - before) / Double(before)
      return Int(max(min(ratio * 1000, 1e9), -1e9).rounded())
    }
  }

  /// Compares the typical sample with the earlier one, or the ratio to the baseline with the earlier ratio.
  /// - Returns: nil if there is no comparable earlier value.
  public func change(_ measurement: Measurement) -> Change? {
    guard let earlier = figures.first(where: { $0.name == measurement.name }), earlier.typical > 0 else { return nil }
    let now = measurement.samples.typical
    guard otherKernel != nil else {
      let isTooMuch = exceeds(Double(now), Double(earlier.typical), earlier)
      return Change(before: earlier.typical, now: now, isRatio: false, isTooMuch: isTooMuch)
    }
    guard let baseline = measurement.baseline?.typical, let earlierBaseline = earlier.baseline,
      let ratio = measurement.ratio
    else {
      return nil
    }
    let before = Double(earlier.typical) / Double(earlierBaseline)
    // A faster baseline alone makes the ratio grow: the difference to the baseline must have grown, too.
    let isTooMuch =
      exceeds(Double(now) / Double(baseline), before, earlier)
      && exceeds(Double(now - baseline), Double(earlier.typical - earlierBaseline), earlier)
    return Change(
      before: max(Int64((before * 1000).rounded()), 1), now: Int64(ratio), isRatio: true, isTooMuch: isTooMuch)
  }

  /// Names of earlier figures of `session`'s benchmarks that are not among the measurements.
  public func missing(from measurements: [Measurement], of session: Session) -> [String] {
    var names: [String] = []
    for figure in figures where session.covers(figure.name) {
      if !measurements.contains(where: { $0.name == figure.name }) { names.append(figure.name) }
    }
    return names
  }

  /// A line for a figure that was not measured.
  public static func missingLine(_ name: String) -> String { padded(name) + "not measured\n" }

  @inline(never)
  private static func padded(_ name: String) -> String {
    name + String(repeating: " ", count: max(Table.nameWidth - name.utf8.count, 1))
  }

  private func exceeds(_ now: Double, _ before: Double, _ earlier: Figure) -> Bool {
    guard let tolerance = earlier.tolerance else { return false }
    return now > before + before.magnitude * Double(tolerance) / 100
  }

  /// A line with a change.
  public func line(_ measurement: Measurement, countsInstructions: Bool) -> (text: String, isTooMuch: Bool) {
    let name = Self.padded(measurement.name)
    guard let change = change(measurement) else {
      guard let earlier = figures.first(where: { $0.name == measurement.name }) else { return (name + "new\n", false) }
      let reason = earlier.typical > 0 ? "it has no baseline" : "it was 0"
      return (name + "not compared: \(reason)\n", false)
    }
    func text(_ value: Int64) -> String {
      change.isRatio
        ? Table.fraction(Int(value), 3)
        : Table.amount(value, measurement.unit, countsInstructions: countsInstructions)
    }
    let sign = change.growth > 0 ? "+" : ""
    return (
      name + "\(text(change.before)) -> \(text(change.now))  \(sign)\(Table.fraction(change.growth, 1))%"
        + (change.isTooMuch ? "  exceeds the tolerance\n" : "\n"),
      change.isTooMuch
    )
  }
}
