/// Text on its way to the console, kept on the stack and written with one call: when it is full, at `flush`, and at the
/// end of its life. No allocation.
public struct Text: ~Copyable {
  private static var capacity: Int { 512 }
  private var bytes = InlineArray<512, UInt8>(repeating: 0)
  private var count = 0

  public init() {}

  deinit {
    send()
  }

  public mutating func flush() {
    send()
    count = 0
  }

  public mutating func byte(_ byte: UInt8) {
    if count == Text.capacity {
      flush()
    }
    bytes[count] = byte
    count += 1
  }

  public mutating func write(_ text: StaticString) {
    for character in UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount) {
      byte(character)
    }
  }

  /// Disfavored, so that a literal is a StaticString and costs neither allocation nor Unicode.
  @_disfavoredOverload
  public mutating func write(_ text: String) {
    for character in text.utf8 {
      byte(character)
    }
  }

  public mutating func write(_ text: Span<UInt8>) {
    for index in text.indices {
      byte(text[index])
    }
  }

  public mutating func decimal(_ value: Int64) {
    if value < 0 {
      byte(UInt8(ascii: "-"))
    }
    decimal(value.magnitude)
  }

  public mutating func decimal(_ value: UInt64) {
    if value >= 10 {
      decimal(value / 10)
    }
    byte(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value % 10))
  }

  public mutating func hexadecimal(_ value: UInt64) {
    if value >= 16 {
      hexadecimal(value / 16)
    }
    digit(UInt8(truncatingIfNeeded: value % 16))
  }

  /// Two digits for each byte.
  public mutating func hexadecimal(_ bytes: Span<UInt8>) {
    for index in bytes.indices {
      digit(bytes[index] >> 4)
      digit(bytes[index] & 15)
    }
  }

  private mutating func digit(_ value: UInt8) {
    byte(value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value)
  }

  /// A console that cannot be written to leaves nobody to tell.
  private func send() {
    if count > 0 {
      bytes.span.extracting(first: count).withUnsafeBytes { try? Calls.write($0) }
    }
  }
}

/// Writes a line with one call.
public func print(_ text: StaticString, terminator: StaticString = "\n") {
  var out = Text()
  out.write(text)
  out.write(terminator)
}

/// Writes a line with one call.
@_disfavoredOverload
public func print(_ text: String, terminator: StaticString = "\n") {
  var out = Text()
  out.write(text)
  out.write(terminator)
}

/// Says why on the console and ends the applet with status 134, which is what a shell shows for an abort.
public func panic(_ message: StaticString) -> Never {
  var out = Text()
  out.write("panic: ")
  out.write(message)
  out.write("\n")
  out.flush()
  Calls.exit(134)
}
