import JSON
import Platform

/// The figures for programs, and for comparisons later.
public struct Results {
  public let host: HostDescription
  public let version: String
  public let countsInstructions: Bool
  public var measurements: [Measurement] = []

  public init(host: HostDescription, version: String, countsInstructions: Bool) {
    self.host = host
    self.version = version
    self.countsInstructions = countsInstructions
  }

  /// As JSON, with a line for each measurement, so that a file under version control changes where a figure does.
  /// - Returns: nil where there is no memory for it.
  public var json: [UInt8]? {
    var facts: [JSONMember] = host.facts.map { JSONMember($0.name.description, .string($0.value)) }
    facts.append(JSONMember("swiftlet", .string(version)))
    guard let head = JSONValue.object(facts).encoded else { return nil }
    var text = Array("{\n\"format\": 1,\n\"host\": ".utf8) + head + Array(",\n\"results\": [".utf8)
    for (index, measurement) in measurements.enumerated() {
      guard let line = json(measurement).encoded else { return nil }
      text += Array((index == 0 ? "\n" : ",\n").utf8) + line
    }
    return text + Array("\n]\n}\n".utf8)
  }

  private func json(_ measurement: Measurement) -> JSONValue {
    var members = [
      JSONMember("name", .string(measurement.name)),
      JSONMember("unit", .string(unit(measurement))),
    ]
    members += json(measurement.samples)
    if let floor = measurement.floor { members.append(JSONMember("floor", .object(json(floor)))) }
    // Both without a fraction: jansson writes seventeen digits of one.
    if let ratio = measurement.ratio { members.append(JSONMember("ratioPerMille", .integer(Int64(ratio)))) }
    if let tolerance = measurement.tolerance {
      members.append(JSONMember("tolerancePercent", .integer(Int64(tolerance))))
    }
    if measurement.moved > 0 { members.append(JSONMember("bytes", .integer(Int64(measurement.moved)))) }
    return .object(members)
  }

  private func json(_ samples: Samples) -> [JSONMember] {
    [
      JSONMember("samples", .integer(Int64(samples.sorted.count))),
      JSONMember("minimum", .integer(samples.minimum)),
      JSONMember("median", .integer(samples.median)),
      JSONMember("typical", .integer(samples.typical)),
      JSONMember("p99", .integer(samples.p99)),
      JSONMember("maximum", .integer(samples.maximum)),
      // Steps of five in a hundred, for plots.
      JSONMember("quantiles", .array((0...20).map { .integer($0 == 0 ? samples.minimum : samples.quantile($0 * 50)) })),
    ]
  }

  private func unit(_ measurement: Measurement) -> String {
    switch measurement.unit {
    case .time: countsInstructions ? "instructions" : "ns"
    case .bytes: "bytes"
    }
  }

  /// As comma-separated values, with a line of names above.
  public var csv: [UInt8] {
    var text = "name,unit,samples,minimum,median,p99,maximum,spread,floor,ratio\n"
    for measurement in measurements {
      let samples = measurement.samples
      text += "\(measurement.name),\(unit(measurement)),\(samples.sorted.count),\(samples.minimum),\(samples.median),"
      text += "\(samples.p99),\(samples.maximum),\(Table.fraction(samples.spread, 3)),"
      text += (measurement.floor.map { "\($0.median)" } ?? "") + ","
      text += (measurement.ratio.map { Table.fraction($0, 3) } ?? "") + "\n"
    }
    return Array(text.utf8)
  }
}

/// Earlier figures, to compare with.
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

  private var figures: [(name: String, typical: Int64, tolerance: Int?)] = []
  private var host: [JSONMember] = []

  /// Reads a file that `Results.json` has written.
  public init(path: String, kernel: LinuxKernel) throws(Failure) {
    let file: FileContents
    do { file = try FileContents(path: path, limit: 1 << 24, kernel: kernel) } catch { throw .unreadable(error) }
    guard let root = JSONValue(parsing: file.bytes), root["format"] == .integer(1),
      case .array(let results)? = root["results"], case .object(let host)? = root["host"]
    else { throw .format }
    self.host = host
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
      figures.append((name, typical, tolerance))
    }
  }

  /// What the earlier figures were measured on, where that cannot be compared with this host.
  public func mismatch(_ host: HostDescription) -> String? {
    for name in ["architecture", "clock"] {
      let here = host.facts.first { $0.name.description == name }?.value
      if case .string(let there)? = JSONValue.object(self.host)[name], let here, there != here {
        return "its \(name) is \(there), here it is \(here)"
      }
    }
    return nil
  }

  /// A measurement beside its earlier value.
  public struct Change {
    public let before: Int64
    /// Growth in thousandths.
    public let growth: Int
    /// Whether it grew by more than it may.
    public let isTooMuch: Bool
  }

  /// - Returns: nil where there is no earlier value.
  public func change(_ measurement: Measurement) -> Change? {
    guard let earlier = figures.first(where: { $0.name == measurement.name }), earlier.typical > 0 else { return nil }
    let now = measurement.samples.typical
    let ratio = Double(now - earlier.typical) / Double(earlier.typical)
    let growth = Int(max(min(ratio * 1000, 1e9), -1e9).rounded())
    // The kernel's own work may come into half of the samples and more; a figure that has grown has grown in each.
    let isTooMuch =
      earlier.tolerance.map {
        Double(measurement.samples.minimum) > Double(earlier.typical) * Double(100 + $0) / 100
      } ?? false
    return Change(before: earlier.typical, growth: growth, isTooMuch: isTooMuch)
  }

  /// A line that says what changed.
  public func line(_ measurement: Measurement, countsInstructions: Bool) -> (text: String, isTooMuch: Bool) {
    func amount(_ value: Int64) -> String {
      Table.amount(value, measurement.unit, countsInstructions: countsInstructions)
    }
    let name = measurement.name + String(repeating: " ", count: max(20 - measurement.name.utf8.count, 1))
    guard let change = change(measurement) else { return (name + "new\n", false) }
    let sign = change.growth > 0 ? "+" : ""
    return (
      name + "\(amount(change.before)) -> \(amount(measurement.samples.typical))  "
        + "\(sign)\(Table.fraction(change.growth, 1))%\(change.isTooMuch ? "  more than it may" : "")\n",
      change.isTooMuch
    )
  }
}
