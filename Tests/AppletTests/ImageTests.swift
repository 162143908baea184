import Applet
import AppletABI
import Foundation
import Machine
import Platform
import TestSupport
import Testing

struct ImageTests {
  @Test(arguments: [Architecture.arm64, .riscv64])
  func aValidFileIsRead(architecture: Architecture) throws {
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

  /// 32-bit Arm on a host of arm64; the address of T32 instructions is odd.
  @Test func aFileOf32BitsIsReadAsItIs() throws {
    var file = ELFBuilder.applet(.aarch32, at: 0x1000_0000, code: [1, 2, 3, 4])
    file.entry += 1
    file.symbols = [.init("main", at: 0x1000_0041, size: 8), .init("table", at: 0x1000_1000, size: 4)]
    file.sections = [0x1000_0000..<0x1000_0100]
    file.addNote("Go\0\0", 4, [0])
    let image = try image(file.bytes(), .arm64)
    #expect(image.architecture == .aarch32)
    #expect(image.entry == 0x1000_0041)
    #expect(image.segments.map(\.address) == [0x1000_0000, 0x1000_1000, 0x1000_2000])
    #expect(image.segments.map(\.size) == [132, 9, 0x1800])
    #expect(image.segments.map(\.access) == [[.read, .execute], [.read], [.read, .write]])
    #expect(image.notes.isGo)
    #expect(String(decoding: image.file.bytes[image.segments[2].content], as: UTF8.self) == "variables")
    let symbols = image.intoSymbols()
    #expect(symbols.nearest(to: 0x1000_0040)?.name == "main")
    #expect(symbols.nearest(to: 0x1000_1002)?.offset == 2)
    #expect(error(file.bytes(), .riscv64) == .not64Bit)
    file.flags = 0x400_0000
    #expect(error(file.bytes()) == .oldABI)
    file.flags = 0x500_0000
    file.machine = 3
    #expect(error(file.bytes()) == .not64Bit)
    file.machine = 40
    file.entry = 0x1000_1001
    #expect(error(file.bytes()) == .entry(0x1000_1001))
  }

  @Test func positionIndependentFilesAreLoadedAtTheirBase() throws {
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

  @Test func emptySegmentsAndOtherHeadersAreSkipped() throws {
    var file = ELFBuilder.applet(.arm64)
    file.segments.append(.init(ELFBuilder.read, at: 0x8000_0000, []))
    var note = ELFBuilder.Segment(ELFBuilder.read | 3, at: 0x8000_0000, [1, 2, 3])
    for type: UInt32 in [0, 4, 6, 7, 0x6474_e551, 0x7000_0003] {
      note.type = type
      file.segments.append(note)
    }
    #expect(try image(file.bytes()).segments.count == 3)
  }

  @Test func theOffsetOfAnEmptySegmentIsIgnored() throws {
    for offset: UInt64 in [0x123, 1 << 20, 1 << 40, .max] {
      var file = ELFBuilder.applet(.arm64)
      var bss = ELFBuilder.Segment(ELFBuilder.read | ELFBuilder.write, at: 0x8010_0000, [], memorySize: 0x3000)
      bss.offset = offset
      var empty = ELFBuilder.Segment(ELFBuilder.read, at: 0, [])
      empty.offset = offset
      var dynamic = empty
      dynamic.type = 2
      file.segments += [bss, empty, dynamic]
      let image = try image(file.bytes())
      #expect(image.segments.count == 4)
      #expect(image.segments[3].size == 0x3000)
      #expect(image.segments[3].content.isEmpty)
    }
  }

  @Test func aStaticPIENeedsNoLibrary() {
    var file = ELFBuilder.applet(.arm64)
    // DT_RELA, DT_NULL, and DT_NEEDED after the end.
    func dynamic(_ tags: [UInt64]) -> ELFBuilder.Segment {
      var segment = ELFBuilder.Segment(ELFBuilder.read, at: 0x8000_1000, tags.flatMap { [$0, 0] }.flatMap(\.bytes))
      segment.type = 2
      return segment
    }
    file.segments.append(dynamic([7, 0, 1]))
    #expect(error(file.bytes()) == nil)
    file.segments[3] = dynamic([7, 1, 0])
    #expect(error(file.bytes()) == .dynamicallyLinked)
    // The end is missing, or within an entry.
    file.segments[3] = dynamic([7, 7])
    #expect(error(file.bytes()) == nil)
    file.segments[3].content.removeLast()
    #expect(error(file.bytes()) == nil)
    file.segments[3].content = [1]
    #expect(error(file.bytes()) == nil)
  }

  @Test func notesSayWhatAnImageIsBuiltFor() throws {
    func notes(_ add: (inout ELFBuilder) -> Void) throws(ImageError) -> ImageNotes {
      var file = ELFBuilder.applet(.arm64)
      add(&file)
      return try image(file.bytes()).notes
    }
    #expect(try notes { _ in }.layout == nil)
    // Go's linker counts the padding into the owner's name.
    let go = try notes { $0.addNote("Go\0\0", 4, [0x6463_6261]) }
    #expect(go.isGo && go.layout == .contiguous && go.abi == nil)
    // TamaGo's linker: the segment of notes has another note, and the build ID is in a section.
    let tamago = try notes {
      $0.addNote("Xen\0", 18, [0, 0])
      $0.symbols = [.init("main", at: 0x8000_0040)]
      $0.noteSections = [ELFBuilder.note("Xen\0", 18, [0, 0]), ELFBuilder.note("Go\0\0", 4, [1, 2])]
    }
    #expect(tamago.isGo && tamago.layout == .contiguous)
    #expect(try !notes { $0.addNote("Go\0\0", 3, [0]) }.isGo)
    #expect(try !notes { $0.addNote("GNU\0", 4, [0]) }.isGo)
    // Its own wish comes before what Go's would be, in whatever order they stand.
    let both = try notes {
      $0.addNote("Swiftlet\0", 2, [0])
      $0.addNote("GNU\0", 3, [1, 2, 3, 4, 5])
      $0.addNote("Go\0\0", 4, [1])
      $0.addNote("Swiftlet\0", 1, [2, 7])
    }
    #expect(both.isGo && both.layout == .compact && both.abi == 2)
    #expect(try notes { $0.addNote("Swiftlet\0", 2, [1]) }.layout == .contiguous)
    #expect(throws: ImageError.unknownLayout(2)) { try notes { $0.addNote("Swiftlet\0", 2, [2]) } }
    // What is no note, or not all there, says nothing.
    #expect(try notes { $0.addNote("Swiftlet", 1, [3]) }.abi == nil)
    #expect(try notes { $0.addNote("Swiftlet\0", 1, []) }.abi == nil)
    for change: (inout ELFBuilder.Segment) -> Void in [
      { $0.fileSize = 27 }, { $0.fileSize = 11 }, { $0.offset = .max }, { $0.content[4] = 0xff },
      { $0.content[3] = 0xff },
    ] {
      let changed = try notes {
        $0.addNote("Swiftlet\0", 1, [1, 0])
        change(&$0.segments[3])
      }
      #expect(changed.abi == nil)
    }
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func anImageOfAnotherVersionIsRefused(architecture: Architecture) throws {
    var file = ELFBuilder.applet(architecture)
    file.addNote("Swiftlet\0", 1, [UInt32(APPLET_ABI_MAJOR), 99])
    #expect(error(file.bytes(), architecture) == nil)
    for version in [0, 1, 3, .max] as [UInt32] {
      file = ELFBuilder.applet(architecture)
      file.addNote("Swiftlet\0", 1, [version, 0])
      #expect(error(file.bytes(), architecture) == .abi(found: version))
    }
    // Version 1's start-up code, as it was built, and the same with a note of this version.
    let arm64: [UInt32] = [
      0xaa1f_03fd, 0xaa1f_03fe, 0xd503_201f, 0x1000_82e1, 0xd503_201f, 0x1000_82a2, 0xd503_201f, 0x10ff_ff23,
      0xeb02_003f, 0x5400_0100, 0xa8c1_1424, 0xf840_8426, 0xf110_0cbf,
    ]
    let riscv64: [UInt16] = [
      0x4401, 0x4081, 0x852e, 0x1617, 0x0000, 0x0613, 0x0a26, 0x1697, 0x0000, 0x8693, 0x09a6, 0x0717, 0x0000, 0x0713,
      0xfea7, 0x428d, 0x0f63, 0x00d6, 0x621c, 0x3803, 0x0086, 0x3883, 0x0106, 0x0661,
    ]
    let code =
      architecture == .arm64
      ? arm64.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
      : riscv64.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    file = ELFBuilder.applet(architecture, code: code)
    #expect(error(file.bytes(), architecture) == .abi(found: 1))
    #expect(error(ELFBuilder.applet(architecture, code: [0, 0] + code).bytes(), architecture) == nil)
    file.addNote("Swiftlet\0", 1, [UInt32(APPLET_ABI_MAJOR), 0])
    #expect(error(file.bytes(), architecture) == nil)
    // An entry at the end of the text.
    file = ELFBuilder.applet(architecture)
    file.entry = 0x8000_0000 + 0x7f
    #expect(error(file.bytes(), architecture) == nil)
  }

  @Test(arguments: BadFile.all) func invalidFilesAreRejected(bad: BadFile) {
    #expect(error(bad.bytes) == bad.error)
  }

  @Test func unreadableFilesReportTheError() {
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
    // Sparse: it takes no disk space.
    #expect(truncate(path, AppletImage.sizeLimit + 1) == 0)
    #expect(throws: ImageError.unreadable(.tooBig)) {
      _ = try AppletImage(path: path, architecture: .arm64, kernel: LinuxKernel())
    }
  }

  @Test func everyErrorIsOneLineWithARemedy() {
    let others: [ImageError] = [
      .unreadable(.noEntry), .unreadable(.invalid), .unreadable(.tooBig), .unreadable(.isDirectory),
      .unknownLayout(7), .abi(found: 1), .abi(found: 3), .layout(.zeroPage, memory: 1 << 20),
      .layout(.needsMemory(1 << 20), memory: 1 << 17),
      .layout(.needsMemory(1 << 40), memory: 1 << 17), .layout(.beyondAddressSpace(limit: 1 << 38), memory: 1 << 20),
    ]
    for error in BadFile.all.map(\.error) + others {
      let text = error.description
      #expect(!text.contains("\n") && text.utf8.count > 20 && text.utf8.count < 160, "\(text)")
      #expect(text.contains(": "), "\(text)")
    }
    #expect(ImageError.layout(.needsMemory(3 << 16), memory: 1 << 17).description.contains("--memory 192K or more"))
    // Unreachable parts are not read.
    #expect(!ImageError.layout(.needsMemory(1 << 40), memory: 1 << 17).description.contains("--memory"))
  }
}

/// An invalid file, with the error.
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
