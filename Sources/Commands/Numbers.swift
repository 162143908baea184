import CLinux

/// Parses a size: a number with an optional suffix K, M, G or T (powers of 1024).
func parseSize(_ text: String) -> UInt64? {
  var digits = Array(text.utf8)
  var shift: UInt64 = 0
  switch digits.last {
  case UInt8(ascii: "K"), UInt8(ascii: "k"): shift = 10
  case UInt8(ascii: "M"), UInt8(ascii: "m"): shift = 20
  case UInt8(ascii: "G"), UInt8(ascii: "g"): shift = 30
  case UInt8(ascii: "T"), UInt8(ascii: "t"): shift = 40
  default: break
  }
  if shift > 0 { digits.removeLast() }
  guard let number = decimal(digits[...]), number <= UInt64.max >> shift else { return nil }
  return number << shift
}

/// Parses a duration, in nanoseconds: a number with an optional fraction and a suffix ns, us, ms, s, m, h or d; without one, seconds.
func parseDuration(_ text: String) -> Int64? {
  let bytes = Array(text.utf8)
  let end = bytes.firstIndex { !isDigit($0) && $0 != UInt8(ascii: ".") } ?? bytes.count
  let unit: UInt64
  switch String(decoding: bytes[end...], as: UTF8.self) {
  case "ns": unit = 1
  case "us": unit = 1000
  case "ms": unit = 1_000_000
  case "", "s": unit = 1_000_000_000
  case "m": unit = 60_000_000_000
  case "h": unit = 3_600_000_000_000
  case "d": unit = 86_400_000_000_000
  default: return nil
  }
  let point = bytes[..<end].firstIndex(of: UInt8(ascii: ".")) ?? end
  guard let whole = decimal(bytes[..<point]) else { return nil }
  let (nanoseconds, overflow) = whole.multipliedReportingOverflow(by: unit)
  guard !overflow else { return nil }
  var fraction: UInt64 = 0
  var place = unit
  if point < end {
    guard point + 1 < end, !bytes[(point + 1)..<end].contains(UInt8(ascii: ".")) else { return nil }
    for digit in bytes[(point + 1)..<end] {
      place /= 10
      fraction += place * UInt64(digit - UInt8(ascii: "0"))
    }
  }
  let (sum, sumOverflow) = nanoseconds.addingReportingOverflow(fraction)
  return sumOverflow ? nil : Int64(exactly: sum)
}

/// Parses a time, in milliseconds since 1970: a duration before now, a date with or without a time of day (local, or with Z or an
/// offset from UTC), or "@" and seconds since 1970.
func parseTime(_ text: String, now: Int64) -> Int64? {
  if let duration = parseDuration(text) { return max(now - duration / 1_000_000, 0) }
  var bytes = Array(text.utf8)[...]
  if bytes.first == UInt8(ascii: "@") {
    return decimal(bytes.dropFirst()).flatMap { $0 <= UInt64(Int64.max / 1000) ? Int64($0) * 1000 : nil }
  }
  // An offset, ±HH:MM, follows a time of day.
  var offset: Int64?
  if bytes.last == UInt8(ascii: "Z") {
    offset = 0
    bytes.removeLast()
  } else if bytes.count > 16, let found = parseOffset(Array(bytes.suffix(6))) {
    offset = found
    bytes.removeLast(6)
  }
  var fraction: Int64 = 0
  if let point = bytes.firstIndex(of: UInt8(ascii: ".")) {
    guard let part = parseDuration("0" + String(decoding: bytes[point...], as: UTF8.self)) else { return nil }
    fraction = part / 1_000_000
    bytes = bytes[..<point]
  }
  var seconds: Int64 = 0
  let known = String(decoding: bytes, as: UTF8.self)
  guard linux_parse_time(known, offset != nil, &seconds), seconds >= 0, seconds < Int64.max / 2000 else { return nil }
  return max(seconds * 1000 + fraction - (offset ?? 0), 0)
}

/// An offset from UTC, "+01:00" or "-01:00", in milliseconds.
private func parseOffset(_ text: [UInt8]) -> Int64? {
  guard text[3] == UInt8(ascii: ":"), let hours = decimal(text[1...2]), let minutes = decimal(text[4...5]) else {
    return nil
  }
  let offset = Int64(hours * 60 + minutes) * 60_000
  switch text[0] {
  case UInt8(ascii: "+"): return offset
  case UInt8(ascii: "-"): return -offset
  default: return nil
  }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

private func decimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
  guard !digits.isEmpty else { return nil }
  var number: UInt64 = 0
  for digit in digits {
    guard isDigit(digit) else { return nil }
    let (tens, first) = number.multipliedReportingOverflow(by: 10)
    let (sum, second) = tens.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
    if first || second { return nil }
    number = sum
  }
  return number
}
