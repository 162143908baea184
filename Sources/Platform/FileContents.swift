import CLinux

/// The bytes of a file as they were when it was read.
///
/// Read, not mapped: whoever touches a mapped file that somebody else cuts short meanwhile is killed.
public struct FileContents: ~Copyable {
  private let mapping: Mapping
  /// Size in bytes.
  public let count: Int

  /// Reads a regular file whole.
  /// - Parameter limit: most bytes that it may have.
  /// - Throws: the kernel's error; EFBIG for a file beyond the limit, EISDIR for a directory, EINVAL for what else is no file.
  public init(path: String, limit: Int, kernel: any Kernel) throws(Errno) {
    try self.init(OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel), limit: limit)
  }

  /// Reads a regular file that is open already, from its beginning to its end wherever it stands, and leaves it there: others
  /// may have the same open file, and read it too.
  /// - Throws: as above.
  public init(_ file: consuming OwnedFD, limit: Int) throws(Errno) {
    let kernel = file.kernel
    let size = try checked(linux_file_size(file.number))
    guard size <= limit else { throw Errno(EFBIG) }
    let mapping = try Mapping(anonymous: max(size, 1), hugePages: false, kernel: kernel)
    count = try Self.read(file, into: mapping, size: size)
    self.mapping = mapping
  }

  /// Reads what has no size beforehand, as the files of /proc have none, up to a limit; the rest is left out.
  /// - Throws: the kernel's error.
  public init(streaming path: String, limit: Int, kernel: any Kernel) throws(Errno) {
    let file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY, kernel: kernel)
    let mapping = try Mapping(anonymous: limit, hugePages: false, kernel: kernel)
    count = try Self.read(file, into: mapping, size: limit)
    self.mapping = mapping
  }

  /// Takes bytes that are in memory already, as tests and fuzzers have them.
  package init(copying bytes: UnsafeRawBufferPointer, kernel: any Kernel) throws(Errno) {
    mapping = try Mapping(anonymous: max(bytes.count, 1), hugePages: false, kernel: kernel)
    count = bytes.count
    mapping.bytes.copyMemory(from: bytes)
  }

  /// A copy of the bytes.
  public var array: [UInt8] { Array(bytes) }

  /// The bytes. The pointer is good while this value lives.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: mapping.start, count: count) }

  /// Reads until the end of the file, or of the room for it.
  private static func read(_ file: borrowing OwnedFD, into mapping: borrowing Mapping, size: Int) throws(Errno) -> Int {
    var count = 0
    while count < size {
      let result = linux_pread(file.number, mapping.start + count, size - count, count)
      if result == -Int(EINTR) { continue }
      let read = try checked(result)
      if read == 0 { break }  // cut short meanwhile
      count += read
    }
    return count
  }
}
