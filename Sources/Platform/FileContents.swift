import CLinux

/// The contents of a file at the time when it was read.
///
/// The file is read, not mapped: an access to a mapped file raises SIGBUS if another process has truncated it.
public struct FileContents: ~Copyable {
  private let mapping: Mapping
  /// Size in bytes.
  public let count: Int
  /// The file, while parts of it may still be read; nil if it was read completely.
  private var file: OwnedFD?
  /// Number of bytes at the beginning that were read at once.
  private let head: Int

  /// Reads a whole regular file.
  /// - Parameter limit: maximum size of the file, in bytes.
  /// - Throws: the kernel's error; EFBIG for a file over the limit, EISDIR for a directory, EINVAL for another file that is not
  ///   regular.
  public init(path: String, limit: Int, kernel: any Kernel) throws(Errno) {
    try self.init(Self.open(path, kernel: kernel), limit: limit)
  }

  /// Opens a file for reading, without waiting if it is not a regular file.
  package static func open(_ path: String, kernel: any Kernel) throws(Errno) -> OwnedFD {
    try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel)
  }

  /// Reads a whole regular file that is open already, whatever its file offset is. The offset does not change: other processes
  /// may share the open file description.
  /// - Parameter head: maximum number of bytes to read now; `read` reads further parts. Parts that were not read are zero, and
  ///   take no memory.
  /// - Throws: as above.
  public init(_ file: consuming OwnedFD, limit: Int, head: Int = .max) throws(Errno) {
    let kernel = file.kernel
    let size = try checked(linux_file_size(file.number))
    guard size <= limit else { throw Errno(EFBIG) }
    let mapping = try Mapping(anonymous: max(size, 1), hugePages: false, kernel: kernel)
    let read = try Self.read(file, into: mapping, 0..<min(size, head))
    let isWhole = read < head
    count = isWhole ? read : size
    self.head = read
    self.mapping = mapping
    self.file = isWhole ? nil : consume file
  }

  /// Reads a file whose size is not known in advance, such as one in /proc, up to a limit; the rest is left out.
  /// - Throws: the kernel's error.
  public init(streaming path: String, limit: Int, kernel: any Kernel) throws(Errno) {
    let file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY, kernel: kernel)
    let mapping = try Mapping(anonymous: limit, hugePages: false, kernel: kernel)
    count = try Self.read(file, into: mapping, 0..<limit)
    head = count
    self.mapping = mapping
    self.file = nil
  }

  /// Copies bytes that are in memory, for tests and fuzzers.
  package init(copying bytes: UnsafeRawBufferPointer, kernel: any Kernel) throws(Errno) {
    mapping = try Mapping(anonymous: max(bytes.count, 1), hugePages: false, kernel: kernel)
    count = bytes.count
    head = count
    file = nil
    mapping.bytes.copyMemory(from: bytes)
  }

  /// Whether the file was read completely.
  package var isWhole: Bool { file == nil }

  /// Reads parts of a file that was not read completely.
  /// - Parameter parts: within `count` bytes.
  /// - Throws: the kernel's error; EIO if the file was truncated meanwhile.
  package mutating func read(_ parts: [Range<Int>]) throws(Errno) {
    guard let file = file.take() else { return }
    // No byte is read twice, even if parts overlap.
    var end = head
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) where part.upperBound > end {
      let missing = max(part.lowerBound, end)..<part.upperBound
      guard try Self.read(file, into: mapping, missing) == missing.count else { throw Errno(EIO) }
      end = part.upperBound
    }
    self.file = consume file
  }

  /// Closes a file that was not read completely, and releases the memory of all but these parts, which become zero.
  package mutating func keep(_ parts: [Range<Int>]) {
    guard file != nil else { return }
    file = nil
    let page = linux_page_size()
    var end = 0
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      discard(from: end, to: part.lowerBound / page * page)
      end = max(end, (part.upperBound + page - 1) / page * page)
    }
    discard(from: end, to: count)
  }

  private func discard(from start: Int, to end: Int) {
    // The mapping is private and anonymous: its pages are zero from here on.
    if start < end { _ = linux_madvise(mapping.start + start, end - start, MADV_DONTNEED) }
  }

  /// A copy of the bytes.
  public var array: [UInt8] { Array(bytes) }

  /// The bytes. The pointer is valid while this value exists.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: mapping.start, count: count) }

  /// Reads a part, or as much of it as the file has.
  /// - Returns: the number of bytes.
  private static func read(_ file: borrowing OwnedFD, into mapping: borrowing Mapping, _ part: Range<Int>) throws(Errno)
    -> Int
  {
    var at = part.lowerBound
    while at < part.upperBound {
      let result = linux_pread(file.number, mapping.start + at, part.upperBound - at, at)
      if result == -Int(EINTR) { continue }
      let read = try checked(result)
      if read == 0 { break }  // truncated since its size was read
      at += read
    }
    return at - part.lowerBound
  }
}
