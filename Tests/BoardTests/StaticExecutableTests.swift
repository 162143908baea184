import Foundation
import Testing

/// Properties of the cross-compiled program: small, and independent of the system's libraries.
struct StaticExecutableTests {
  private struct ProgramHeader {
    let type: UInt32
    let flags: UInt32
  }

  @Test(arguments: [("arm64", UInt16(183)), ("riscv64", UInt16(243))])
  func executable(architecture: String, machine: UInt16) throws {
    let path = try Repository.built("\(architecture)/swiftlet")
    let bytes = try [UInt8](Data(contentsOf: URL(filePath: path)))
    #expect(bytes.count <= 2_000_000)
    try #require(bytes.count >= 64 && bytes.prefix(6) == [0x7f, 0x45, 0x4c, 0x46, 2, 1])
    func number<Number: FixedWidthInteger>(at offset: Int, as type: Number.Type = Number.self) -> Number {
      bytes.withUnsafeBytes { Number(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: type)) }
    }
    #expect(number(at: 18, as: UInt16.self) == machine)
    let start = Int(number(at: 32, as: UInt64.self)), count = Int(number(at: 56, as: UInt16.self))
    try #require(start + count * 56 <= bytes.count)
    let headers = (0..<count).map { index in
      ProgramHeader(type: number(at: start + index * 56), flags: number(at: start + index * 56 + 4))
    }
    #expect(headers.contains { $0.type == 1 })
    // PT_DYNAMIC and PT_INTERP.
    #expect(!headers.contains { $0.type == 2 || $0.type == 3 })
    // PF_W and PF_X; PT_GNU_STACK, without which a process's stack is executable.
    #expect(!headers.contains { $0.flags & 3 == 3 })
    #expect(headers.contains { $0.type == 0x6474_e551 })
    // Stripped: there is no symbol table.
    let sections = Int(number(at: 40, as: UInt64.self))
    for index in 0..<Int(number(at: 60, as: UInt16.self)) {
      #expect(number(at: sections + index * 64 + 4, as: UInt32.self) != 2)
    }
  }
}
