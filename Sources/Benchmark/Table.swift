/// The results as a table.
public enum Table {
  static let nameWidth = 26

  /// The line with the names of the columns.
  public static func header(countsInstructions: Bool) -> String {
    row("", ["median", "p99", "minimum", "spread", "baseline", "ratio"])
      + (countsInstructions ? "times in instructions" : "") + "\n"
  }

  /// The line of a measurement.
  public static func line(_ measurement: Measurement, countsInstructions: Bool) -> String {
    func amount(_ value: Int64) -> String {
      self.amount(value, measurement.unit, countsInstructions: countsInstructions)
    }
    let samples = measurement.samples
    var text = row(
      measurement.name,
      [
        amount(samples.median), amount(samples.p99), amount(samples.minimum), fraction(samples.spread, 1) + "%",
        measurement.baseline.map { amount($0.median) } ?? "-",
        measurement.ratio.map { fraction($0, 3) } ?? "-",
      ])
    if measurement.moved > 0, !countsInstructions, samples.median > 0 {
      text += grouped(Int64(measurement.moved) * 1000 / samples.median) + " MB/s"
    }
    while text.utf8.last == 0x20 { text.removeLast() }
    return text + "\n"
  }

  private static func row(_ name: String, _ cells: [String]) -> String {
    var text = name + String(repeating: " ", count: max(nameWidth - name.utf8.count, 1))
    for (index, cell) in cells.enumerated() {
      let width = index == 3 || index == 5 ? 8 : 13
      text += String(repeating: " ", count: max(width - cell.utf8.count, 1)) + cell
    }
    return text + "  "
  }

  static func amount(_ value: Int64, _ unit: Measurement.Unit, countsInstructions: Bool) -> String {
    switch unit {
    case .bytes where value >= 10240: return grouped(value >> 10) + " KiB"
    case .bytes: return grouped(value) + " B"
    case .time where countsInstructions: return grouped(value)
    case .time where value < 100_000: return grouped(value) + " ns"
    case .time where value < 100_000_000: return grouped(value / 1000) + " us"
    case .time: return grouped(value / 1_000_000) + " ms"
    }
  }

  /// A number with commas between groups of three digits.
  static func grouped(_ value: Int64) -> String {
    var digits = Array(String(value.magnitude).utf8)
    var place = digits.count - 3
    while place > 0 {
      digits.insert(0x2c, at: place)
      place -= 3
    }
    return (value < 0 ? "-" : "") + String(decoding: digits, as: UTF8.self)
  }

  /// Thousandths as a number with this many digits after the decimal point: of a whole for three digits, of a percentage for one.
  static func fraction(_ thousandths: Int, _ digits: Int) -> String {
    let unit = digits == 3 ? 1000 : 10
    let magnitude = Int(thousandths.magnitude)
    let rest = String(magnitude % unit)
    return (thousandths < 0 ? "-" : "") + "\(magnitude / unit)."
      + String(repeating: "0", count: max(digits - rest.utf8.count, 0)) + rest
  }
}
