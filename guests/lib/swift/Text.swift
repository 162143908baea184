/// Text on its way to the console, kept on the stack of the `print` that made it, and written with one call: when it is
/// full, at `flush`, and when that `print` ends. No allocation.
///
/// It holds a pointer and not its bytes, because the compiler copies an array inside a struct for every look at it.
public struct Text: ~Copyable {
  /// Bytes that it holds at most before it writes them.
  static var capacity: Int { 512 }

  private let bytes: UnsafeMutablePointer<UInt8>
  private var count = 0

  init(_ bytes: UnsafeMutablePointer<UInt8>) {
    self.bytes = bytes
  }

  /// A console that cannot be written to leaves nobody to tell.
  public mutating func flush() {
    if count > 0 {
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
}
