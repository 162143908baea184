import Machine

/// The headers of an ELF file, read field by field with every offset checked. Borrowed bytes: for use inside one call.
struct ELFFile {
  private let bytes: UnsafeRawBufferPointer
  private let isPIE: Bool
  private let entry: UInt64
  private let programHeaders: Int
  private let programHeaderCount: Int

  private static let headerSize = 64
  private static let programHeaderSize = 56
  /// Most program headers that are looked at: linkers write about ten.
  private static let programHeaderLimit = 128

  /// Checks the file header.
  init(_ bytes: UnsafeRawBufferPointer, architecture: Architecture) throws(ImageError) {
    guard bytes.count >= 4, bytes.loadUnaligned(as: UInt32.self) == 0x464c_457f else { throw .notELF }
    guard bytes.count >= Self.headerSize else { throw .truncated(.fileHeader) }
    guard bytes[4] == 2 else { throw .not64Bit }
    guard bytes[5] == 1 else { throw .bigEndian }
    self.bytes = bytes
    let machine = bytes.loadUnaligned(fromByteOffset: 18, as: UInt16.self)
    guard machine == architecture.elfMachine else { throw .machine(found: machine, expected: architecture) }
    switch bytes.loadUnaligned(fromByteOffset: 16, as: UInt16.self) {
    case 2: isPIE = false
    case 3: isPIE = true
    case let other: throw .notExecutable(type: other)
    }
    entry = bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
    programHeaderCount = Int(bytes.loadUnaligned(fromByteOffset: 56, as: UInt16.self))
    guard programHeaderCount > 0 else { throw .noSegments }
    guard programHeaderCount <= Self.programHeaderLimit else { throw .tooManyHeaders(programHeaderCount) }
    guard bytes.loadUnaligned(fromByteOffset: 54, as: UInt16.self) == UInt16(Self.programHeaderSize) else {
      throw .headerSize
    }
    let offset = bytes.loadUnaligned(fromByteOffset: 32, as: UInt64.self)
    guard offset <= UInt64(bytes.count),
      UInt64(bytes.count) - offset >= UInt64(programHeaderCount * Self.programHeaderSize)
    else { throw .truncated(.programHeaders) }
    programHeaders = Int(offset)
  }

  /// Checks the program headers and gives what is to be loaded.
  func load() throws(ImageError) -> (entry: UInt64, segments: [AppletImage.Segment], bias: UInt64) {
    let bias = isPIE ? AppletImage.baseOfPIE : 0
    var segments: [AppletImage.Segment] = []
    segments.reserveCapacity(4)
    for number in 0..<programHeaderCount {
      let header = programHeaders + number * Self.programHeaderSize
      switch bytes.loadUnaligned(fromByteOffset: header, as: UInt32.self) {
      case 1: if let segment = try segment(number, header, bias) { try insert(segment, into: &segments) }
      case 2: try checkDynamic(number, header)
      case 3: throw .dynamicallyLinked
      default: break
      }
    }
    guard !segments.isEmpty else { throw .noSegments }
    let (entry, wraps) = self.entry.addingReportingOverflow(bias)
    guard !wraps,
      segments.contains(where: { $0.access.contains(.execute) && entry >= $0.address && entry - $0.address < $0.size })
    else { throw .entry(self.entry) }
    return (entry, segments, bias)
  }

  private func word(_ header: Int, _ offset: Int) -> UInt64 {
    bytes.loadUnaligned(fromByteOffset: header + offset, as: UInt64.self)
  }

  /// A segment's bytes in the file.
  private func content(_ number: Int, _ header: Int) throws(ImageError) -> Range<Int> {
    let (offset, size) = (word(header, 8), word(header, 32))
    guard offset <= UInt64(bytes.count), size <= UInt64(bytes.count) - offset else {
      throw .truncated(.segment(number))
    }
    return Int(offset)..<Int(offset + size)
  }

  /// - Returns: nil for a segment that covers no memory.
  private func segment(_ number: Int, _ header: Int, _ bias: UInt64) throws(ImageError) -> AppletImage.Segment? {
    let flags = bytes.loadUnaligned(fromByteOffset: header + 4, as: UInt32.self)
    let size = word(header, 40)
    let content = try content(number, header)
    guard UInt64(content.count) <= size else { throw .moreFileThanMemory(number) }
    if size == 0 { return nil }
    let (address, biasWraps) = word(header, 16).addingReportingOverflow(bias)
    let (end, endWraps) = address.addingReportingOverflow(size)
    // Rounding up to pages must not wrap either.
    guard !biasWraps, !endWraps, end <= UInt64.max - PageTable.pageSize else { throw .wraps(number) }
    guard flags & 0b011 != 0b011 else { throw .writableAndExecutable(number) }
    var access: Access = [.read]
    if flags & 1 != 0 { access.insert(.execute) }
    if flags & 2 != 0 { access.insert(.write) }
    return AppletImage.Segment(address: address, size: size, content: content, access: access)
  }

  /// Puts a segment where it belongs by address.
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

  /// A static executable's dynamic section, if there is one, needs no library (DT_NEEDED).
  private func checkDynamic(_ number: Int, _ header: Int) throws(ImageError) {
    var content = try content(number, header)
    while content.count >= 16 {
      let tag = bytes.loadUnaligned(fromByteOffset: content.lowerBound, as: UInt64.self)
      if tag == 0 { return }
      if tag == 1 { throw .dynamicallyLinked }
      content = content.lowerBound + 16..<content.upperBound
    }
  }
}
