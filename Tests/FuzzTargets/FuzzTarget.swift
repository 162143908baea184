import CFuzz
import CLinux
import Machine

/// An entry point for input from outside, with its fuzzer. `run` must not trap for any bytes, and checks the documented
/// properties of the code.
public struct FuzzTarget: Sendable {
  public let name: String
  /// Its kind of input, for the table in docs/robustness.md.
  public let input: String
  public let run: @Sendable (UnsafeRawBufferPointer) -> Void
  /// Valid inputs to start from.
  public let seeds: @Sendable () -> [[UInt8]]

  public static let all = [
    elf, tree, overlay, rpc, service, control, options, call, system, exits, virtio, linux, values, records, replies,
    api,
  ]

  public static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// Decodes a fuzzer's input; zeros after its end.
struct Input {
  private var bytes: UnsafeRawBufferPointer.SubSequence

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes[...] }

  var isEmpty: Bool { bytes.isEmpty }

  mutating func byte() -> UInt8 { bytes.popFirst() ?? 0 }

  mutating func take(_ count: Int) -> [UInt8] {
    defer { bytes = bytes.dropFirst(count) }
    return Array(bytes.prefix(count))
  }

  mutating func rest() -> [UInt8] { take(bytes.count) }

  mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) -> Number {
    var number: Number = 0
    for index in 0..<MemoryLayout<Number>.size { number |= Number(truncatingIfNeeded: byte()) << Number(index * 8) }
    return number
  }

  /// A number that is often small, or near a bound.
  mutating func value(near bounds: [UInt64]) -> UInt64 {
    let kind = byte()
    switch kind & 3 {
    case 0: return UInt64(byte())
    case 1:
      return bounds.isEmpty
        ? 0 : bounds[Int(kind >> 2) % bounds.count] &+ UInt64(bitPattern: Int64(Int8(bitPattern: byte())))
    case 2: return bounds.isEmpty ? 0 : bounds[Int(kind >> 2) % bounds.count] &+ UInt64(number(UInt16.self))
    default: return number(UInt64.self)
    }
  }
}

/// A property that a fuzzer checks: ends the program if it does not hold.
func hold(_ condition: Bool, _ what: StaticString) {
  if !condition { fatalError(what.description) }
}

/// A file in memory with these bytes; its path.
final class MemoryFile {
  let descriptor: Int32
  var path: String { "/proc/self/fd/\(descriptor)" }

  init(_ bytes: some Collection<UInt8>) {
    descriptor = Int32(truncatingIfNeeded: fuzz_memory_file())
    precondition(descriptor >= 0, "no memory file")
    let array = Array(bytes)
    var done = 0
    while done < array.count {
      let result = array.withUnsafeBytes { linux_write(descriptor, $0.baseAddress! + done, array.count - done) }
      precondition(result > 0)
      done += result
    }
  }

  deinit { _ = linux_close(descriptor) }
}

let architectures: [Architecture] = [.arm64, .riscv64]
