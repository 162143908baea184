import Machine

/// The headers of an ELF file. Each field is read after its offset was checked. The bytes are borrowed: for use within one call.
struct ELFFile {
  /// The architecture that it was built for.
  let architecture: Architecture
  private let bytes: UnsafeRawBufferPointer
  private let elfClass: ELFClass
  private let isPIE: Bool
  private let entry: UInt64
  /// The range of the program headers, within the file.
  let programHeaders: Range<Int>
  private let programHeaderCount: Int

  /// Maximum number of sections of notes that are read.
  private static let noteSectionLimit = 16
  /// Maximum number of program headers: linkers write about ten.
  private static let programHeaderLimit = 128

  /// Checks the file header.
  /// - Parameter architecture: the host's.
  init(_ bytes: UnsafeRawBufferPointer, architecture: Architecture) throws(ImageError) {
    guard bytes.count >= 4, bytes.loadUnaligned(as: UInt32.self) == 0x464c_457f else { throw .notELF }
    // Every file is longer than a 32-bit file header.
    guard bytes.count >= ELFClass.narrow.fileHeaderSize else { throw .truncated(.fileHeader) }
    guard let elfClass = ELFClass(bytes[4]), elfClass == .wide || architecture.narrow != nil else { throw .not64Bit }
    guard bytes.count >= elfClass.fileHeaderSize else { throw .truncated(.fileHeader) }
    guard bytes[5] == 1 else { throw .bigEndian }
    self.bytes = bytes
    self.elfClass = elfClass
    self.architecture = elfClass == .wide ? architecture : architecture.narrow ?? architecture
    let machine = bytes.loadUnaligned(fromByteOffset: 18, as: UInt16.self)
    guard machine == self.architecture.facts.elfMachine else {
      throw elfClass == .wide ? .machine(found: machine, expected: architecture) : .not64Bit
    }
    if elfClass == .narrow {
      // EF_ARM_EABIMASK of e_flags: version 5.
      guard bytes[39] == 5 else { throw .oldABI }
    }
    switch bytes.loadUnaligned(fromByteOffset: 16, as: UInt16.self) {
    case 2: isPIE = false
    case 3: isPIE = true
    case let other: throw .notExecutable(type: other)
    }
    entry = elfClass.word(bytes, 0, 24, 24)
    programHeaderCount = Int(bytes.loadUnaligned(fromByteOffset: elfClass.pick(44, 56), as: UInt16.self))
    guard programHeaderCount > 0 else { throw .noSegments }
    guard programHeaderCount <= Self.programHeaderLimit else { throw .tooManyHeaders(programHeaderCount) }
    guard
      bytes.loadUnaligned(fromByteOffset: elfClass.pick(42, 54), as: UInt16.self) == UInt16(elfClass.programHeaderSize)
    else { throw .headerSize }
    let offset = elfClass.word(bytes, 0, 28, 32)
    let size = programHeaderCount * elfClass.programHeaderSize
    guard offset <= UInt64(bytes.count), UInt64(bytes.count) - offset >= UInt64(size) else {
      throw .truncated(.programHeaders)
    }
    programHeaders = Int(offset)..<Int(offset) + size
  }

  /// The result of parsing the program headers.
  struct Loaded {
    let entry: UInt64
    let segments: [AppletImage.Segment]
    let bias: UInt64
    /// Contents of the dynamic sections, for `checkDynamic`.
    let dynamic: [Range<Int>]
    /// Contents of the segments of notes, for `ImageNotes`.
    let notes: [Range<Int>]
  }

  /// Checks the program headers and returns the loadable segments.
  func load() throws(ImageError) -> Loaded {
    let bias = isPIE ? AppletImage.baseOfPIE : 0
    var segments: [AppletImage.Segment] = []
    segments.reserveCapacity(4)
    var dynamic: [Range<Int>] = []
    var notes: [Range<Int>] = []
    for number in 0..<programHeaderCount {
      let header = programHeaders.lowerBound + number * elfClass.programHeaderSize
      switch bytes.loadUnaligned(fromByteOffset: header, as: UInt32.self) {
      case 1: if let segment = try segment(number, header, bias) { try insert(segment, into: &segments) }
      case 2: dynamic.append(try content(number, header))
      case 3: throw .dynamicallyLinked
      case 4:
        if let content = try? content(number, header) {
          notes.append(content.lowerBound..<min(content.upperBound, content.lowerBound + ImageNotes.sizeLimit))
        }
      default: break
      }
    }
    guard !segments.isEmpty else { throw .noSegments }
    let (entry, wraps) = self.entry.addingReportingOverflow(bias)
    // An address of T32 instructions has bit 0 set.
    let first = architecture.start(at: entry).pc
    guard !wraps,
      segments.contains(where: { $0.access.contains(.execute) && first >= $0.address && first - $0.address < $0.size })
    else { throw .entry(self.entry) }
    return Loaded(entry: entry, segments: segments, bias: bias, dynamic: dynamic, notes: notes)
  }

  /// The range of the section headers, within the file; nil without any.
  var sectionHeaders: Range<Int>? { SymbolTable.sections(bytes) }

  /// Contents of the first sections of notes (SHT_NOTE), for `ImageNotes`.
  /// - Parameter headers: `sectionHeaders`, which have been read.
  func noteSections(_ headers: Range<Int>) -> [Range<Int>] {
    var found: [Range<Int>] = []
    for header in stride(from: headers.lowerBound, to: headers.upperBound, by: elfClass.sectionHeaderSize) {
      guard found.count < Self.noteSectionLimit, bytes.loadUnaligned(fromByteOffset: header + 4, as: UInt32.self) == 7
      else { continue }
      let start = elfClass.word(bytes, header, 16, 24)
      let size = min(elfClass.word(bytes, header, 20, 32), UInt64(ImageNotes.sizeLimit))
      guard start <= UInt64(bytes.count), size <= UInt64(bytes.count) - start else { continue }
      found.append(Int(start)..<Int(start + size))
    }
    return found
  }

  /// The range of a segment's bytes in the file.
  private func content(_ number: Int, _ header: Int) throws(ImageError) -> Range<Int> {
    let (offset, size) = (elfClass.word(bytes, header, 4, 8), elfClass.word(bytes, header, 16, 32))
    // Without bytes the offset is meaningless: linkers leave that of `.bss` past the end of a stripped file.
    if size == 0 { return 0..<0 }
    guard offset <= UInt64(bytes.count), size <= UInt64(bytes.count) - offset else {
      throw .truncated(.segment(number))
    }
    return Int(offset)..<Int(offset + size)
  }

  /// - Returns: nil for a segment without memory.
  private func segment(_ number: Int, _ header: Int, _ bias: UInt64) throws(ImageError) -> AppletImage.Segment? {
    let flags = bytes.loadUnaligned(fromByteOffset: header + elfClass.pick(24, 4), as: UInt32.self)
    let size = elfClass.word(bytes, header, 20, 40)
    let content = try content(number, header)
    guard UInt64(content.count) <= size else { throw .moreFileThanMemory(number) }
    if size == 0 { return nil }
    let (address, biasWraps) = elfClass.word(bytes, header, 8, 16).addingReportingOverflow(bias)
    let (end, endWraps) = address.addingReportingOverflow(size)
    // The end rounded up to pages must not wrap either.
    guard !biasWraps, !endWraps, end <= UInt64.max - PageTable.pageSize else { throw .wraps(number) }
    guard flags & 0b011 != 0b011 else { throw .writableAndExecutable(number) }
    var access: Access = [.read]
    if flags & 1 != 0 { access.insert(.execute) }
    if flags & 2 != 0 { access.insert(.write) }
    return AppletImage.Segment(address: address, size: size, content: content, access: access)
  }

  /// Inserts a segment by ascending address.
  private func insert(_ segment: AppletImage.Segment, into segments: inout [AppletImage.Segment]) throws(ImageError) {
    let place = segments.firstIndex { $0.address > segment.address } ?? segments.count
    for neighbour in [place - 1, place] where segments.indices.contains(neighbour) {
      let other = segments[neighbour]
      if other.address < segment.address + segment.size, segment.address < other.address + other.size {
        throw .overlap(other.address, segment.address)
      }
      if other.pages.overlaps(segment.pages) { throw .sharedPage(other.address, segment.address) }
    }
    segments.insert(segment, at: place)
  }

  /// The dynamic section of a static executable, if there is one, must not need a library (DT_NEEDED).
  func checkDynamic(_ content: Range<Int>) throws(ImageError) {
    var content = content
    while content.count >= elfClass.dynamicSize {
      let tag = elfClass.word(bytes, content.lowerBound, 0, 0)
      if tag == 0 { return }
      if tag == 1 { throw .dynamicallyLinked }
      content = content.lowerBound + elfClass.dynamicSize..<content.upperBound
    }
  }
}
