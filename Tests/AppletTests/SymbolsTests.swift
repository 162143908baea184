import Applet
import Foundation
import Platform
import TestSupport
import Testing

struct SymbolsTests {
  private func symbols(
    _ symbols: [ELFBuilder.Symbol], type: UInt16 = 2, sections: [Range<UInt64>] = []
  ) throws -> Symbols {
    var file = ELFBuilder.applet(.arm64)
    file.type = type
    file.symbols = symbols
    file.sections = sections
    return try image(file.bytes()).intoSymbols()
  }

  private func name(_ list: [ELFBuilder.Symbol], _ address: UInt64, type: UInt16 = 2) throws -> String? {
    try symbols(list, type: type).nearest(to: address).map { "\($0.name)+\($0.offset)" }
  }

  @Test func theSymbolOfAnAddressIsFound() throws {
    let list: [ELFBuilder.Symbol] = [
      .init("main", at: 0x8000_0040, size: 0x20), .init("start", at: 0x8000_0000, size: 0x40),
      .init("table", at: 0x8000_1000),
    ]
    #expect(try name(list, 0x8000_0040) == "main+0")
    #expect(try name(list, 0x8000_005f) == "main+31")
    #expect(try name(list, 0x8000_003f) == "start+63")
    // Between two symbols with sizes there is none; a symbol without a size extends to the next.
    #expect(try name(list, 0x8000_0060) == nil)
    #expect(try name(list, 0x8000_1234) == "table+564")
    #expect(try name(list, 0x7fff_ffff) == nil)
  }

  @Test func symbolsOfPositionIndependentImagesAreFound() throws {
    #expect(try name([.init("main", at: 0x8000_0040)], 0x1_0000_0044, type: 3) == "main+4")
    #expect(try name([.init("main", at: 0x40)], 0x10, type: 3) == nil)
  }

  @Test func otherSymbolKindsAreIgnored() throws {
    var file = ELFBuilder.Symbol("file.c", at: 0x8000_0040)
    file.kind = 4
    var undefined = ELFBuilder.Symbol("elsewhere", at: 0x8000_0040)
    undefined.section = 0
    let list = [
      .init("main", at: 0x8000_0000), .init("$x", at: 0x8000_0040), .init("$d.", at: 0x8000_0040), file, undefined,
    ]
    #expect(try name(list, 0x8000_0044) == "main+68")
  }

  @Test func functionsArePreferredToLabels() throws {
    var label = ELFBuilder.Symbol("loop", at: 0x8000_0050)
    label.kind = 0
    var object = ELFBuilder.Symbol("alias", at: 0x8000_0040, size: 0x20)
    object.kind = 1
    let list: [ELFBuilder.Symbol] = [
      object, .init("main", at: 0x8000_0040, size: 0x20), label, .init(".L0 ", at: 0x8000_0058),
      .init(".Lpcrel_hi0", at: 0x8000_0070), .init("$xrv64i2p1_m2p0", at: 0x8000_0070),
      .init("$d.7", at: 0x8000_0070), .init("$s4main", at: 0x8000_0080),
    ]
    #expect(try name(list, 0x8000_005c) == "main+28")
    // After the function the label is the last symbol; labels and marks of the compiler are ignored.
    #expect(try name(list, 0x8000_0074) == "loop+36")
    #expect(try name(list, 0x8000_0080) == "$s4main+0")
  }

  @Test func aSymbolWithoutASizeExtendsToTheEndOfItsSection() throws {
    var start = ELFBuilder.Symbol("start", at: 0x8000_0000)
    start.section = 3
    var end = ELFBuilder.Symbol("_end", at: 0x8000_1000)
    end.section = 4
    var constant = ELFBuilder.Symbol("STACK_SIZE", at: 0x4000)
    constant.section = 0xfff1
    let symbols = try symbols(
      [start, end, constant], sections: [0x8000_0000..<0x8000_0080, 0x8000_0800..<0x8000_1000])
    #expect(symbols.nearest(to: 0x8000_007f)?.name == "start")
    #expect(symbols.nearest(to: 0x8000_0080) == nil)
    #expect(symbols.nearest(to: 0x8000_4000) == nil)
    #expect(symbols.nearest(to: 0x4000) == nil)
  }

  @Test func unneededPartsOfALargeFileAreReleased() throws {
    var file = ELFBuilder.applet(.arm64)
    file.padding = 8 << 20
    file.symbols = [.init("main", at: 0x8000_0040, size: 0x20)]
    let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    defer { try? FileManager.default.removeItem(at: path) }
    try Data(file.bytes()).write(to: path)
    let image = try AppletImage(path: path.path, architecture: .arm64, kernel: LinuxKernel())
    #expect(image.segments.count == 3)
    #expect(String(decoding: image.file.bytes[image.segments[2].content], as: UTF8.self) == "variables")
    // Other parts are not read, neither before nor after the symbols are taken.
    #expect(image.file.bytes[4 << 20] == 0)
    let symbols = image.intoSymbols()
    #expect(symbols.nearest(to: 0x8000_0044)?.name == "main")
    // A file that is truncated after its headers were read.
    let cut = try FileContents(
      OwnedFD(opening: path.path, kernel: LinuxKernel()), limit: AppletImage.sizeLimit, head: 4096)
    let half = try AppletImage(cut, architecture: .arm64)
    #expect(truncate(path.path, 8192) == 0)
    #expect(half.intoSymbols().nearest(to: 0x8000_0044) == nil)
  }

  @Test func symbolsArePrintable() throws {
    #expect(try name([.init("a\u{1b}[31m b", at: 0x8000_0040)], 0x8000_0040) == "a?[31m?b+0")
    let long = try #require(try name([.init(String(repeating: "x", count: 5000), at: 0x8000_0040)], 0x8000_0040))
    #expect(long.utf8.count == 82)
  }

  @Test func aFileWithoutSymbolsHasNone() throws {
    #expect(try name([], 0x8000_0040) == nil)
  }
}
