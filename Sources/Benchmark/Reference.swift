import JSON
import Platform

/// Earlier figures, to compare with.
///
/// A count is compared with a count of the same kernel: another makes each exit and each system call cost another number of
/// instructions, and another time. There the ratios to the floors are compared in their place, for the floors are of the
/// kernel that the figures are of.
public struct Reference {
  /// Why a file is none.
  public enum Failure: Error {
    case unreadable(Errno)
    case format

    public var description: String {
      switch self {
      case .unreadable(let errno): errno.description
      case .format: "this is no file that swiftlet bench --json has written"
      }
    }
  }

  /// An earlier measurement.
  private struct Figure {
    let name: String
    let typical: Int64
    let floor: Int64?
    let tolerance: Int?
  }

  private var figures: [Figure] = []
  private let host: JSONValue
  private let release: String
  /// The kernel that the earlier figures are of, where it is not the host's.
  public let otherKernel: String?

  /// Reads a file that `Results.json` has written.
  /// - Parameter host: what is compared with it.
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
      var floor: Int64?
      if case .integer(let value)? = result["floor"]?["typical"], value > 0 { floor = value }
      figures.append(Figure(name: name, typical: typical, floor: floor, tolerance: tolerance))
    }
  }

  /// What the earlier figures were measured on, where that cannot be compared with this host at all.
  public func mismatch(_ host: HostDescription) -> String? {
    for name: StaticString in ["architecture", "clock"] {
      if case .string(let there)? = self.host[name.description], let here = host[name], there != here {
        return "its \(name) is \(there), here it is \(here)"
      }
    }
    return nil
  }

  /// What is said above the comparison.
  public var heading: String {
    guard let otherKernel else { return "Compared with the file:\n" }
    return "Compared with the file, of which the kernel is \(otherKernel), and here it is \(release):\n"
      + "ratios to the floor, for counts and times of two kernels say nothing about each other.\n"
  }

  /// A measurement beside its earlier value.
  public struct Change {
    /// What grew: an amount, or a ratio to the floor in thousandths.
    public let before, now: Int64
    public let isRatio: Bool
    /// Whether it grew by more than it may.
    public let isTooMuch: Bool

    /// Growth in thousandths.
    public var growth: Int {
      let ratio = Double(now - before) / Double(before)
      return Int(max(min(ratio * 1000, 1e9), -1e9).rounded())
    }
  }

  /// Compares like with like: the typical sample with the typical one, or the ratio of two typical ones with such a ratio.
  /// - Returns: nil where there is no earlier value that it can be compared with.
  public func change(_ measurement: Measurement) -> Change? {
    guard let earlier = figures.first(where: { $0.name == measurement.name }), earlier.typical > 0 else { return nil }
    let now = measurement.samples.typical
    guard otherKernel != nil else {
      let isTooMuch = exceeds(Double(now), Double(earlier.typical), earlier)
      return Change(before: earlier.typical, now: now, isRatio: false, isTooMuch: isTooMuch)
    }
    guard let floor = measurement.floor?.typical, let earlierFloor = earlier.floor, let ratio = measurement.ratio else {
      return nil
    }
    let before = Double(earlier.typical) / Double(earlierFloor)
    // A kernel whose floor is lower makes the ratio greater by itself: what is above the floor must have grown, too.
    let isTooMuch =
      exceeds(Double(now) / Double(floor), before, earlier)
      && exceeds(Double(now - floor), Double(earlier.typical - earlierFloor), earlier)
    return Change(
      before: max(Int64((before * 1000).rounded()), 1), now: Int64(ratio), isRatio: true, isTooMuch: isTooMuch)
  }

  /// Names of earlier figures that a run lacks, of those that `session` measures.
  public func missing(from measurements: [Measurement], of session: Session) -> [String] {
    var names: [String] = []
    for figure in figures where session.covers(figure.name) {
      if !measurements.contains(where: { $0.name == figure.name }) { names.append(figure.name) }
    }
    return names
  }

  /// A line that says that a figure is missing.
  public static func missingLine(_ name: String) -> String { padded(name) + "not measured\n" }

  @inline(never)
  private static func padded(_ name: String) -> String {
    name + String(repeating: " ", count: max(Table.nameWidth - name.utf8.count, 1))
  }

  private func exceeds(_ now: Double, _ before: Double, _ earlier: Figure) -> Bool {
    guard let tolerance = earlier.tolerance else { return false }
    return now > before + before.magnitude * Double(tolerance) / 100
  }

  /// A line that says what changed.
  public func line(_ measurement: Measurement, countsInstructions: Bool) -> (text: String, isTooMuch: Bool) {
    let name = Self.padded(measurement.name)
    guard let change = change(measurement) else {
      guard let earlier = figures.first(where: { $0.name == measurement.name }) else { return (name + "new\n", false) }
      let reason = earlier.typical > 0 ? "it has no floor" : "it was 0"
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
        + (change.isTooMuch ? "  more than it may\n" : "\n"),
      change.isTooMuch
    )
  }
}
