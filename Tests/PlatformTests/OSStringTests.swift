import Platform
import TestSupport
import Testing

struct OSStringTests {
  private func text(_ bytes: [UInt8]) -> String { bytes.withUnsafeBytes { String(osBytes: $0) } }

  @Test func unicodeTextIsPreserved() {
    for characters in ["", "hello.elf", "é\u{1F600}", "\u{10fe00}\u{fffd}\u{ffff}", "e\u{301}"] {
      let text = text(Array(characters.utf8))
      #expect(text == characters && text.isCharacters)
      #expect(text.osBytes == Array(characters.utf8))
    }
  }

  /// Latin-1; a truncated character; an overlong form; half of a surrogate pair; beyond Unicode; characters that
  /// represent bytes.
  @Test(
    arguments: [
      [0x63, 0x61, 0x66, 0xe9], [0x78, 0xff, 0x79], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xc0, 0xaf], [0xe0, 0x80, 0xaf],
      [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xf4, 0x8f, 0xbf, 0xa9], [0xf4, 0x8f, 0xbc, 0x81],
      [0x80, 0xc3, 0xa9],
    ] as [[UInt8]])
  func otherBytesComeBackAsTheyWere(bytes: [UInt8]) {
    let text = text(bytes)
    #expect(!text.isCharacters)
    #expect(text.osBytes == bytes)
    #expect(text.withOSString { String(osBytes: $0) } == text)
    #expect((text + "=é").osBytes == bytes + Array("=é".utf8))
  }

  @Test func allByteStringsArePreserved() {
    var random = SeededGenerator(seed: 5)
    let parts: [[UInt8]] = [
      [0x61], [0xc3, 0xa9], [0xf4, 0x8f], [0xbf], [0xe2, 0x82, 0xac], [0xf4], [0x80], [0xff], [0xed],
    ]
    for _ in 0..<2000 {
      let bytes = (0..<Int.random(in: 0..<12, using: &random)).flatMap { _ in parts.randomElement(using: &random)! }
      #expect(text(bytes).osBytes == bytes)
    }
  }
}
