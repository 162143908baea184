import Applet
import Foundation
import Machine
import Platform
import TestSupport
import Testing

struct ImageTests {
  @Test(arguments: [Architecture.arm64, .riscv64])
  func aGoodFileIsReadAsItIs(architecture: Architecture) throws {
    let image = try image(ELFBuilder.applet(architecture, code: [1, 2, 3, 4]).bytes(), architecture)
    #expect(image.entry == 0x8000_0040)
    #expect(image.bias == 0)
    #expect(image.segments.map(\.address) == [0x8000_0000, 0x8000_1000, 0x8000_2000])
    #expect(image.segments.map(\.size) == [132, 9, 0x1800])
    #expect(image.segments.map(\.access) == [[.read, .execute], [.read], [.read, .write]])
    #expect(image.segments.map(\.pages.upperBound) == [0x8000_1000, 0x8000_2000, 0x8000_4000])
    #expect(image.range == 0x8000_0000..<0x8000_3800)
    let bytes = image.file.bytes
    #expect(bytes[image.segments[0].content].dropFirst(0x40).prefix(4).elementsEqual([1, 2, 3, 4]))
    #expect(String(decoding: bytes[image.segments[2].content], as: UTF8.self) == "variables")
  }

  @Test func aPositionIndependentFileGoesToItsBase() throws {
    var file = ELFBuilder.applet(.riscv64, at: 0x1000)
    file.type = 3
    let image = try image(file.bytes(), .riscv64)
    #expect(image.bias == 0x8000_0000)
    #expect(image.entry == 0x8000_1040)
    #expect(image.segments[0].address == 0x8000_1000)
  }

  @Test func segmentsAreSortedByAddress() throws {
    var file = ELFBuilder.applet(.arm64)
    file.segments.reverse()
    let image = try image(file.bytes())
    #expect(image.segments.map(\.address) == [0x8000_0000, 0x8000_1000, 0x8000_2000])
  }

  @Test func segmentsThatCoverNothingAndOtherHeadersAreSkipped() throws {
    var file = ELFBuilder.applet(.arm64)
    file.segments.append(.init(ELFBuilder.read, at: 0x8000_0000, []))
    var note = ELFBuilder.Segment(ELFBuilder.read | 3, at: 0x8000_0000, [1, 2, 3])
    for type: UInt32 in [0, 4, 6, 7, 0x6474_e551, 0x7000_0003] {
      note.type = type
      file.segments.append(note)
    }
    #expect(try image(file.bytes()).segments.count == 3)
  }

  @Test func aStaticPIEsOwnDynamicSectionIsNoLibrary() {
    var file = ELFBuilder.applet(.arm64)
    // DT_RELA, DT_NULL, and behind the end DT_NEEDED.
    func dynamic(_ tags: [UInt64]) -> ELFBuilder.Segment {
      var segment = ELFBuilder.Segment(ELFBuilder.read, at: 0x8000_1000, tags.flatMap { [$0, 0] }.flatMap(\.bytes))
      segment.type = 2
      return segment
    }
    file.segments.append(dynamic([7, 0, 1]))
    #expect(error(file.bytes()) == nil)
    file.segments[3] = dynamic([7, 1, 0])
    #expect(error(file.bytes()) == .dynamicallyLinked)
    // An end that is missing, or in the middle of an entry.
    file.segments[3] = dynamic([7, 7])
    #expect(error(file.bytes()) == nil)
    file.segments[3].content.removeLast()
    #expect(error(file.bytes()) == nil)
    file.segments[3].content = [1]
    #expect(error(file.bytes()) == nil)
  }

  @Test(arguments: BadFile.all) func aBadFileIsRefused(bad: BadFile) {
    #expect(error(bad.bytes) == bad.error)
  }

  @Test func unreadableFilesSayWhy() {
    for (path, errno) in [("/nowhere/a.elf", Errno.noEntry), ("/proc", .isDirectory), ("/dev/null", .invalid)] {
      #expect(throws: ImageError.unreadable(errno)) {
        _ = try AppletImage(path: path, architecture: .arm64, kernel: LinuxKernel())
      }
    }
  }

  @Test func aFileBeyondTheLimitIsNotRead() throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    defer { try? FileManager.default.removeItem(atPath: path) }
    #expect(FileManager.default.createFile(atPath: path, contents: nil))
    // Sparse: it takes no room.
    #expect(truncate(path, AppletImage.sizeLimit + 1) == 0)
    #expect(throws: ImageError.unreadable(.tooBig)) {
      _ = try AppletImage(path: path, architecture: .arm64, kernel: LinuxKernel())
    }
  }

  @Test func everyErrorIsOneLineThatSaysWhatToDo() {
    let others: [ImageError] = [
      .unreadable(.noEntry), .unreadable(.invalid), .unreadable(.tooBig), .unreadable(.isDirectory),
      .layout(.zeroPage, memory: 1 << 20), .layout(.needsMemory(1 << 20), memory: 1 << 17),
      .layout(.needsMemory(1 << 40), memory: 1 << 17), .layout(.beyondAddressSpace(limit: 1 << 38), memory: 1 << 20),
    ]
    for error in BadFile.all.map(\.error) + others {
      let text = error.description
      #expect(!text.contains("\n") && text.utf8.count > 20 && text.utf8.count < 160, "\(text)")
      #expect(text.contains(": "), "\(text)")
    }
    #expect(ImageError.layout(.needsMemory(3 << 16), memory: 1 << 17).description.contains("--memory 192K or more"))
    // What cannot be had is not asked for.
    #expect(!ImageError.layout(.needsMemory(1 << 40), memory: 1 << 17).description.contains("--memory"))
  }
}

/// A file that is no applet, and why.
struct BadFile: CustomTestStringConvertible, Sendable {
  let name: String
  let bytes: [UInt8]
  let error: ImageError

  var testDescription: String { name }

  init(_ name: String, _ error: ImageError, _ change: (inout ELFBuilder) -> Void) {
    var file = ELFBuilder.applet(.arm64)
    change(&file)
    self.init(name, error, bytes: file.bytes())
  }

  init(_ name: String, _ error: ImageError, bytes: [UInt8]) {
    self.name = name
    self.error = error
    self.bytes = bytes
  }

  private static let good = ELFBuilder.applet(.arm64).bytes()

  static let all: [BadFile] = header + segments

  private static let header: [BadFile] = [
    BadFile("empty file", .notELF, bytes: []),
    BadFile("three bytes", .notELF, bytes: [0x7f, 0x45, 0x4c]),
    BadFile("shell script", .notELF, bytes: Array("#!/bin/sh\necho hello\n".utf8)),
    BadFile("other magic", .notELF) { $0.magic[0] = 0x7e },
    BadFile("magic alone", .truncated(.fileHeader), bytes: Array(good[..<4])),
    BadFile("header cut short", .truncated(.fileHeader), bytes: Array(good[..<63])),
    BadFile("32-bit", .not64Bit) { $0.fileClass = 1 },
    BadFile("no class", .not64Bit) { $0.fileClass = 0 },
    BadFile("big-endian", .bigEndian) { $0.data = 2 },
    BadFile("no byte order", .bigEndian) { $0.data = 0 },
    BadFile("x86_64", .machine(found: 62, expected: .arm64)) { $0.machine = 62 },
    BadFile("the other architecture", .machine(found: 243, expected: .arm64)) { $0.machine = 243 },
    BadFile("relocatable", .notExecutable(type: 1)) { $0.type = 1 },
    BadFile("core file", .notExecutable(type: 4)) { $0.type = 4 },
    BadFile("no program headers", .noSegments) { $0.programHeaderCount = 0 },
    BadFile("too many program headers", .tooManyHeaders(129)) { $0.programHeaderCount = 129 },
    BadFile("65535 program headers", .tooManyHeaders(65535)) { $0.programHeaderCount = 65535 },
    BadFile("program headers of another size", .headerSize) { $0.programHeaderSize = 32 },
    BadFile("program headers of size 0", .headerSize) { $0.programHeaderSize = 0 },
    BadFile("program headers behind the end", .truncated(.programHeaders)) { $0.programHeaders = 1 << 20 },
    BadFile("program headers at the end", .truncated(.programHeaders)) { $0.programHeaders = UInt64(good.count) },
    BadFile("program headers that wrap", .truncated(.programHeaders)) { $0.programHeaders = .max - 55 },
    BadFile("program headers cut short", .truncated(.programHeaders), bytes: Array(good[..<(64 + 3 * 56 - 1)])),
  ]

  private static let segments: [BadFile] = [
    BadFile("content cut short", .truncated(.segment(2)), bytes: Array(good[..<(good.count - 1)])),
    BadFile("content behind the end", .truncated(.segment(1))) { $0.segments[1].offset = 1 << 40 },
    BadFile("content that wraps", .truncated(.segment(1))) { $0.segments[1].offset = .max },
    BadFile("content of a size that wraps", .truncated(.segment(0))) {
      $0.segments[0].fileSize = .max
      $0.segments[0].memorySize = .max
    },
    BadFile("more file than memory", .moreFileThanMemory(0)) { $0.segments[0].memorySize = 127 },
    BadFile("file without memory", .moreFileThanMemory(1)) { $0.segments[1].memorySize = 0 },
    BadFile("segment that wraps", .wraps(2)) { $0.segments[2].memorySize = .max - 0x8000_2000 + 1 },
    BadFile("segment to the last page", .wraps(2)) { $0.segments[2].address = .max - 0x1fff },
    BadFile("segment that wraps with its base", .wraps(2)) {
      $0.type = 3
      $0.segments[2].address = .max - 0x8000_0000 + 1
    },
    BadFile("writable and executable", .writableAndExecutable(0)) { $0.segments[0].flags = 7 },
    BadFile("writable and executable, not readable", .writableAndExecutable(2)) { $0.segments[2].flags = 3 },
    BadFile("the same segment twice", .overlap(0x8000_1000, 0x8000_1000)) { $0.segments.append($0.segments[1]) },
    BadFile("one byte of overlap", .overlap(0x8000_0000, 0x8000_007f)) { $0.segments[1].address = 0x8000_007f },
    BadFile("a segment around another", .overlap(0x8000_1000, 0x8000_0000)) {
      $0.segments.swapAt(0, 1); $0.segments[1].memorySize = 0x10000
    },
    BadFile("a shared page", .sharedPage(0x8000_0000, 0x8000_0800)) { $0.segments[1].address = 0x8000_0800 },
    BadFile("a page shared with zeros", .sharedPage(0x8000_2000, 0x8000_3800)) {
      $0.segments[1].address = 0x8000_3800
      $0.segments.swapAt(1, 2)
    },
    BadFile("nothing to load", .noSegments) { file in
      for index in file.segments.indices { file.segments[index].type = 4 }
    },
    BadFile("segments without memory", .noSegments) { file in
      for index in file.segments.indices {
        file.segments[index].content = []
        file.segments[index].memorySize = 0
      }
    },
    BadFile("interpreter", .dynamicallyLinked) { $0.segments[1].type = 3 },
    BadFile("dynamic section behind the end", .truncated(.segment(1))) {
      $0.segments[1].type = 2
      $0.segments[1].offset = 1 << 30
    },
    BadFile("entry before the text", .entry(0x7fff_ffff)) { $0.entry = 0x7fff_ffff },
    BadFile("entry just behind the text", .entry(0x8000_0080)) { $0.entry = 0x8000_0080 },
    BadFile("entry in constants", .entry(0x8000_1000)) { $0.entry = 0x8000_1000 },
    BadFile("entry in variables", .entry(0x8000_2000)) { $0.entry = 0x8000_2000 },
    BadFile("entry zero", .entry(0)) { $0.entry = 0 },
    BadFile("entry that wraps", .entry(.max)) {
      $0.type = 3
      $0.entry = .max
    },
  ]
}

extension UInt64 {
  /// Least significant first.
  var bytes: [UInt8] { withUnsafeBytes(of: littleEndian) { Array($0) } }
}
