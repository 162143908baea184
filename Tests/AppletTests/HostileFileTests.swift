import Applet
import Machine
import Platform
import TestSupport
import Testing

/// Files by an attacker or with errors: none traps, and none results in an image that is unsafe to load.
struct HostileFileTests {
  private func file(_ architecture: Architecture, pie: Bool) -> [UInt8] {
    var file = ELFBuilder.applet(architecture, at: pie ? 0x1000 : 0x8000_0000)
    file.type = pie ? 3 : 2
    let base: UInt64 = pie ? 0x1000 : 0x8000_0000
    file.symbols = [.init("start", at: base + 0x40, size: 16), .init("constant", at: base + 0x1000)]
    return file.bytes()
  }

  /// Uses everything that results from a file: image, memory, names.
  private func examine(_ bytes: [UInt8], _ architecture: Architecture, _ comment: @autoclosure () -> Comment) {
    do throws(ImageError) {
      let image = try image(bytes, architecture)
      if let complaint = complaint(image, fileSize: bytes.count) { Issue.record("\(complaint): \(comment())") }
      load(image, comment())
      let symbols = image.intoSymbols()
      for address in [0, 0x8000_0044, 0x8000_1040, 0x8000_1000, .max] as [UInt64] { _ = symbols.nearest(to: address) }
    } catch { _ = error.description }
  }

  private func load(_ image: borrowing AppletImage, _ comment: Comment) {
    guard
      let layout = try? SecureLayout(image: image.range, size: 1 << 20, hostPage: 4096, addressLimit: 1 << 40),
      var memory = try? GuestMemory(layout: layout, kernel: LinuxKernel())
    else { return }
    memory.load(image)
    for (region, next) in zip(memory.regions, memory.regions.dropFirst())
    where region.range.upperBound > next.range.lowerBound {
      Issue.record("regions overlap: \(comment)")
    }
    for region in memory.regions
    where !layout.slot.contains(region.range.lowerBound)
      || region.range.upperBound > layout.slot.upperBound
      || region.access.isSuperset(of: [.write, .execute])
    {
      Issue.record("region outside memory, or writable and executable: \(comment)")
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64, .aarch32], [false, true])
  func everyTruncationIsRejectedOrSafe(architecture: Architecture, pie: Bool) throws {
    let whole = file(architecture, pie: pie)
    #expect(error(whole, architecture) == nil)
    for length in 0..<whole.count { examine(Array(whole[..<length]), architecture, "cut at \(length)") }
    // A file that ends before the content of the last segment cannot be loaded.
    let needed = (architecture == .aarch32 ? 52 + 3 * 32 : 64 + 3 * 56) + 128 + 9 + 9
    for length in 0..<needed { #expect(error(Array(whole[..<length]), architecture) != nil, "cut at \(length)") }
  }

  @Test(arguments: [Architecture.arm64, .riscv64, .aarch32])
  func everyByteWithExtremeValuesIsRejectedOrSafe(architecture: Architecture) {
    let whole = file(architecture, pie: false)
    for index in whole.indices {
      for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff, whole[index] ^ 1, whole[index] &+ 1, whole[index] &- 1] {
        var changed = whole
        changed[index] = value
        examine(changed, architecture, "byte \(index) is \(value)")
      }
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64, .aarch32], 0..<4)
  func randomChangesAreRejectedOrSafe(architecture: Architecture, seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    let whole = file(architecture, pie: seed % 2 == 1)
    let headers = architecture == .aarch32 ? 52 + 3 * 32 : 64 + 3 * 56
    for round in 0..<1500 {
      var changed = whole
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        // Mostly in the headers, where each bit has a meaning.
        let limit = Int.random(in: 0..<4, using: &random) == 0 ? changed.count : headers
        changed[.random(in: 16..<limit, using: &random)] = .random(in: 0...255, using: &random)
      }
      examine(changed, architecture, "seed \(seed), round \(round)")
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64, .aarch32], 0..<4)
  func randomWordsInTheHeadersAreRejectedOrSafe(architecture: Architecture, seed: Int) {
    var random = SeededGenerator(seed: 100 + UInt64(seed))
    let values: [UInt64] = [
      0, 1, 0x40, 0x1000, 0x7fff_f000, 0x8000_0000, 0x8000_0fff, 0x8000_1000, 0x8010_0000, 1 << 31, 1 << 32, 1 << 38,
      1 << 47, 1 << 63, .max, .max - 1, .max - 4095, .max - 0x8000_0000,
    ]
    for round in 0..<1500 {
      var file = ELFBuilder.applet(architecture)
      file.type = UInt16.random(in: 2...3, using: &random)
      for index in file.segments.indices {
        func maybe(_ value: UInt64?) -> UInt64? {
          Int.random(in: 0..<4, using: &random) == 0 ? values.randomElement(using: &random)! : value
        }
        file.segments[index].address = maybe(file.segments[index].address)!
        file.segments[index].offset = maybe(nil)
        file.segments[index].fileSize = maybe(nil)
        file.segments[index].memorySize = maybe(file.segments[index].memorySize)
        if Int.random(in: 0..<4, using: &random) == 0 {
          file.segments[index].flags = .random(in: 0...7, using: &random)
        }
        if Int.random(in: 0..<8, using: &random) == 0 { file.segments[index].type = .random(in: 0...7, using: &random) }
      }
      if Bool.random(using: &random) { file.entry = values.randomElement(using: &random)! }
      examine(file.bytes(), architecture, "seed \(seed), round \(round)")
    }
  }
}
