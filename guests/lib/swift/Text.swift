import CApplet

/// Console output in a buffer on the stack of the `print` that made it. It is written with one call when it is full, by
/// `flush`, and at the end of that `print`. It makes no allocation.
///
/// It has a pointer instead of an array, because the compiler copies an array in a struct at each access.
public struct Text: ~Copyable {
  /// The number of bytes that it buffers.
  static var capacity: Int { 512 }

  private let bytes: UnsafeMutablePointer<UInt8>
  private var count = 0

  init(_ bytes: UnsafeMutablePointer<UInt8>) {
    self.bytes = bytes
  }

  /// Errors are ignored: there is no other place to report them.
  public mutating func flush() {
    if count > 0 {
      // What the standard library's print has collected comes first.
      flush_output()
      try? Calls.write(UnsafeRawBufferPointer(start: bytes, count: count))
      count = 0
    }
  }

  public mutating func byte(_ byte: UInt8) {
    if count == Text.capacity {
      flush()
    }
    bytes[count] = byte
    count &+= 1
  }

  public mutating func write(_ text: StaticString) {
    write(Span(_unsafeStart: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Disfavored, so that a literal is a StaticString, which needs neither allocation nor Unicode tables.
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
}
