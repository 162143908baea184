import Applet
import TestSupport
import Testing

struct SymbolsTests {
  private func symbols(_ symbols: [ELFBuilder.Symbol], type: UInt16 = 2) throws -> Symbols {
    var file = ELFBuilder.applet(.arm64)
    file.type = type
    file.symbols = symbols
    return try image(file.bytes()).intoSymbols()
  }

  private func name(_ list: [ELFBuilder.Symbol], _ address: UInt64, type: UInt16 = 2) throws -> String? {
    try symbols(list, type: type).nearest(to: address).map { "\($0.name)+\($0.offset)" }
  }

  @Test func theSymbolAroundAnAddressIsFound() throws {
    let list: [ELFBuilder.Symbol] = [
      .init("main", at: 0x8000_0040, size: 0x20), .init("start", at: 0x8000_0000, size: 0x40),
      .init("table", at: 0x8000_1000),
    ]
    #expect(try name(list, 0x8000_0040) == "main+0")
    #expect(try name(list, 0x8000_005f) == "main+31")
    #expect(try name(list, 0x8000_003f) == "start+63")
    // Between two sized symbols there is none; behind one without a size it reaches on.
    #expect(try name(list, 0x8000_0060) == nil)
    #expect(try name(list, 0x8000_1234) == "table+564")
    #expect(try name(list, 0x7fff_ffff) == nil)
  }

  @Test func addressesOfAPositionIndependentImageAreTakenBack() throws {
    #expect(try name([.init("main", at: 0x8000_0040)], 0x1_0000_0044, type: 3) == "main+4")
    #expect(try name([.init("main", at: 0x40)], 0x10, type: 3) == nil)
  }

  @Test func mappingMarksFilesAndUndefinedSymbolsAreNoNames() throws {
    var file = ELFBuilder.Symbol("file.c", at: 0x8000_0040)
    file.kind = 4
    var undefined = ELFBuilder.Symbol("elsewhere", at: 0x8000_0040)
    undefined.section = 0
    let list = [
      .init("main", at: 0x8000_0000), .init("$x", at: 0x8000_0040), .init("$d.", at: 0x8000_0040), file, undefined,
    ]
    #expect(try name(list, 0x8000_0044) == "main+68")
  }

  @Test func namesCannotDisturbATerminal() throws {
    #expect(try name([.init("a\u{1b}[31m b", at: 0x8000_0040)], 0x8000_0040) == "a?[31m?b+0")
    let long = try #require(try name([.init(String(repeating: "x", count: 5000), at: 0x8000_0040)], 0x8000_0040))
    #expect(long.utf8.count == 82)
  }

  @Test func aFileWithoutNamesHasNone() throws {
    #expect(try name([], 0x8000_0040) == nil)
  }
}
