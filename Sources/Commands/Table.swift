import CLinux

/// The width of the terminal that standard output is; nil if it is none.
func terminalWidth() -> Int? {
  guard linux_isatty(STDOUT_FILENO) else { return nil }
  let columns = Int(linux_terminal_size(STDOUT_FILENO) & 0xffff)
  return columns > 0 ? columns : nil
}

/// Rows that fit a terminal: the cells of the last column lose their beginning, which is that of a path, and if need be those of the
/// first column their end.
/// - Parameter width: number of characters; nil for no limit.
func fitted(_ rows: [[String]], to width: Int?) -> [[String]] {
  guard let width, let last = rows.first?.indices.last, last > 0 else { return rows }
  let widths = widths(of: rows)
  /// The least that remains of a cell.
  let least = 8
  let excess = widths.reduce(0, +) + 2 * last - width
  guard excess > 0 else { return rows }
  let lastWidth = max(widths[last] - excess, min(least, widths[last]))
  let firstWidth = max(widths[0] - (excess - (widths[last] - lastWidth)), min(least, widths[0]))
  return rows.map { row in
    var row = row
    if row.count == last + 1, row[last].unicodeScalars.count > lastWidth {
      row[last] = "…" + String(row[last].unicodeScalars.suffix(lastWidth - 1))
    }
    if row[0].unicodeScalars.count > firstWidth {
      row[0] = String(row[0].unicodeScalars.prefix(firstWidth - 1)) + "…"
    }
    return row
  }
}

/// A table in which each column is as wide as its widest cell.
func table(_ rows: [[String]]) -> String {
  let widths = widths(of: rows)
  var text = ""
  for row in rows {
    for (column, value) in row.enumerated() {
      text += column == row.count - 1 ? value + "\n" : padded(value, to: widths[column] + 2)
    }
  }
  return text
}

private func widths(of rows: [[String]]) -> [Int] {
  var widths: [Int] = []
  for row in rows {
    for (column, value) in row.enumerated() {
      if column == widths.count { widths.append(0) }
      widths[column] = max(widths[column], value.unicodeScalars.count)
    }
  }
  return widths
}

/// Text padded with spaces.
func padded(_ text: String, to width: Int) -> String {
  text + String(repeating: " ", count: max(width - text.unicodeScalars.count, 0))
}

/// A size in bytes with a unit, and one digit after the point: "1.5M".
func sizeText(_ bytes: Int64) -> String {
  var (tenths, unit) = (max(bytes, 0), 0)
  guard tenths >= 1024 else { return "\(tenths)" }
  while tenths >= 1024 << 10, unit < 3 { (tenths, unit) = (tenths >> 10, unit + 1) }
  // Tenths of the next unit.
  tenths = (tenths * 10) >> 10
  return "\(tenths / 10).\(tenths % 10)" + ["K", "M", "G", "T"][unit]
}

/// A time in milliseconds since 1970 as local time (RFC 3339); the number, if it has none.
func timeText(_ milliseconds: Int64, withMilliseconds: Bool = false) -> String {
  var bytes = [CChar](repeating: 0, count: 64)
  guard milliseconds >= 0, linux_local_time(milliseconds / 1000, &bytes) else { return "\(milliseconds)" }
  let text = bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  var rest: [UInt8] = []
  if withMilliseconds { rest = Array(".\(1000 + milliseconds % 1000)".utf8) }
  if !rest.isEmpty { rest.remove(at: 1) }
  // The offset from UTC has six characters.
  return String(decoding: text.dropLast(6) + rest + text.suffix(6), as: UTF8.self)
}
