import JSON
import Platform

/// The results as files, for programs and for later comparisons.
public struct Results {
  /// The host of the measurements.
  public let host: HostDescription
  /// The version of Swiftlet.
  public let version: String
  /// Whether the clock counts instructions.
  public let countsInstructions: Bool
  /// The measurements, in order.
  public var measurements: [Measurement] = []

  /// Results without measurements.
  public init(host: HostDescription, version: String, countsInstructions: Bool) {
    self.host = host
    self.version = version
    self.countsInstructions = countsInstructions
  }

  /// As JSON, with one line for each measurement, so that changes in version control are readable.
  /// - Returns: nil if memory runs out.
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
    if let baseline = measurement.baseline { members.append(JSONMember("floor", .object(json(baseline)))) }
    // Integers: jansson writes reals with seventeen digits.
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
      JSONMember("spreadPerMille", .integer(Int64(samples.spread))),
      // Steps of five percent, for plots.
      JSONMember("quantiles", .array((0...20).map { .integer($0 == 0 ? samples.minimum : samples.quantile($0 * 50)) })),
    ]
  }

  private func unit(_ measurement: Measurement) -> String {
    switch measurement.unit {
    case .time: countsInstructions ? "instructions" : "ns"
    case .bytes: "bytes"
    }
  }

  /// As comma-separated values, with a header line.
  public var csv: [UInt8] {
    var text = "name,unit,samples,minimum,typical,median,p99,maximum,spread,floor,ratio\n"
    for measurement in measurements {
      let samples = measurement.samples
      text += "\(measurement.name),\(unit(measurement)),\(samples.sorted.count),\(samples.minimum),\(samples.typical),"
      text += "\(samples.median),\(samples.p99),\(samples.maximum),\(Table.fraction(samples.spread, 3)),"
      text += (measurement.baseline.map { "\($0.typical)" } ?? "") + ","
      text += (measurement.ratio.map { Table.fraction($0, 3) } ?? "") + "\n"
    }
    return Array(text.utf8)
  }
}
