import Applet
import CBaseline
import CLinux
import KVM
import Launch
import Machine
import Monitor
import Platform

/// Executable files made from machine code in this program.
enum Executable {
  private static let headerSize = 192

  /// An ELF file (System V ABI, "Object Files") with one segment, readable and executable, which includes the headers.
  /// - Parameters:
  ///   - entry: offset of the first instruction in the code.
  ///   - base: address of the segment.
  ///   - words: up to eight words placed before the code.
  static func elf(_ code: baseline_code, entry: Int, base: UInt64, architecture: Architecture, words: [UInt64] = [])
    -> [UInt8]
  {
    var file: [UInt8] = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]  // 64-bit, little-endian, version 1
    let size = UInt64(headerSize + code.count)
    func pad(to count: Int) { while file.count < count { file.append(0) } }
    func add(_ value: UInt64, _ bytes: Int) {
      for byte in 0..<bytes { file.append(UInt8(truncatingIfNeeded: value >> UInt64(byte * 8))) }
    }
    pad(to: 16)
    for (value, bytes): (UInt64, Int) in [
      (2, 2), (UInt64(architecture.facts.elfMachine), 2), (1, 4),  // ET_EXEC
      (base + UInt64(headerSize + entry), 8), (64, 8), (0, 8),  // program headers follow; no sections
      (0, 4), (64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2),
      (1, 4), (5, 4), (0, 8), (base, 8), (base, 8), (size, 8), (size, 8), (0x1_0000, 8),  // PT_LOAD, r-x
    ] { add(value, bytes) }
    pad(to: headerSize - words.count * 8)
    for word in words { add(word, 8) }
    file.append(contentsOf: UnsafeRawBufferPointer(start: code.start, count: code.count))
    return file
  }

  /// An applet that starts with a guest of the baseline.
  static func applet(_ guest: baseline_guest, _ architecture: Architecture, words: [UInt64] = []) -> [UInt8] {
    elf(
      baseline_guests(), entry: baseline_guest_entry(guest), base: AppletImage.baseOfPIE, architecture: architecture,
      words: words)
  }

  /// The Linux program that is the baseline of a start.
  static func start(_ architecture: Architecture) -> [UInt8] {
    elf(baseline_start_program(), entry: 0, base: 0x40_0000, architecture: architecture)
  }
}

extension Setting {
  func openSystem() throws(BenchmarkError) -> System {
    do { return try System(kernel: kernel) } catch { throw .kvm(error) }
  }

  func image(_ file: [UInt8]) throws(BenchmarkError) -> AppletImage {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: file.count, alignment: 8)
    defer { bytes.deallocate() }
    bytes.copyBytes(from: file)
    let contents: FileContents
    do { contents = try FileContents(copying: UnsafeRawBufferPointer(bytes), kernel: kernel) } catch {
      throw .host(error)
    }
    do { return try AppletImage(contents, architecture: architecture) } catch { throw .image(error) }
  }

  func makeContext(_ guest: baseline_guest, _ system: borrowing System, _ request: GuestRequest = GuestRequest())
    throws(BenchmarkError) -> ExecCtx
  {
    try makeContext(try image(Executable.applet(guest, architecture)), system, request)
  }

  /// Creates a context in the same way as `swiftlet run`.
  func makeContext(_ image: consuming AppletImage, _ system: borrowing System, _ request: GuestRequest = GuestRequest())
    throws(BenchmarkError) -> ExecCtx
  {
    let spec: GuestSpec
    do { spec = try GuestSpec(request) } catch { throw .spec(error) }
    do { return try spec.makeContext(image, name: "bench", system: system, architecture: architecture) } catch {
      throw .launch(error)
    }
  }
}

extension ExecCtx {
  /// First address of memory that a guest may use freely.
  var free: UInt64 { memory.layout.heap.lowerBound }

  /// Sets the guest's first registers.
  func setArguments(_ values: UInt64...) {
    // Those of a call are there.
    for (index, value) in values.enumerated() { try? setRegister(architecture.callRegister + index, value) }
  }

  /// Runs it to its end.
  func finish() throws(BenchmarkError) {
    do { _ = try run() } catch { throw .run(error) }
  }

  /// Numbers that the guest has stored in its memory.
  func numbers(at address: UInt64, count: Int) -> [Int64] {
    let bytes = memory.bytes(at: address, count: count * 8)
    return (0..<count).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self) }
  }
}

/// Records times, for handlers.
final class Recorder {
  private(set) var marks: [Int64]
  private var next = 0

  /// - Parameter count: number of intervals between marks.
  init(count: Int) { marks = Array(repeating: 0, count: count + 1) }

  /// - Returns: whether all marks have been recorded.
  func mark() -> Bool {
    marks[next] = Clock.monotonic
    next += 1
    return next == marks.count
  }
}
