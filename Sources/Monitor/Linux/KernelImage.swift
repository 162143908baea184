import CLinux
import Machine
import Platform

/// Why a file cannot be used as a Linux kernel.
public enum KernelImageError: Error, Equatable, CustomStringConvertible {
  /// The file cannot be read.
  case unreadable(Errno)
  /// The file has no header of a Linux kernel.
  case notKernel
  /// An ELF file as the linker writes it: vmlinux.
  case elf
  /// The header is not valid.
  case header(KernelHeaderError)
  /// A kernel for another architecture.
  case architecture(found: Architecture, expected: Architecture)
  /// The file is shorter than its header says.
  case truncated
  /// Compressed with a method that is not supported.
  case compression(KernelFormat.Compression)
  /// Its compressed data is not a valid gzip stream.
  case damaged

  /// Whether the file could not be read, rather than not being a kernel.
  public var isUnreadable: Bool {
    if case .unreadable = self { true } else { false }
  }

  /// A description, in one line that follows the file's name.
  public var description: String {
    switch self {
    case .unreadable(.invalid): "not a regular file: give the path of a Linux kernel"
    case .unreadable(let errno): "cannot be read: \(errno.description)"
    case .notKernel, .header(.notKernel):
      "not a Linux kernel for ARM64 or RISC-V: give the file that a distribution installs as /boot/vmlinuz"
    case .elf: "an ELF file (vmlinux): give the Image that is made from it (arch/*/boot/Image)"
    case .header(.bigEndian): "a big-endian kernel: build it for little endian"
    case .header(.noSize): "does not say its size: give Linux 3.17 or later"
    case .architecture(let found, let expected):
      "a kernel for \(found.name), but the host is \(expected.name): give one for \(expected.name)"
    case .truncated: "truncated: copy or build it again"
    case .compression(let compression):
      "compressed with \(compression.name); only gzip is supported: decompress it"
    case .damaged: "its compressed data is damaged: copy or build it again"
    }
  }
}

/// A Linux kernel in a file, plain or compressed with gzip, in the format of the architecture's boot protocol. It is
/// read directly into guest memory.
public struct KernelImage: ~Copyable {
  /// The kernel's header.
  public let header: KernelHeader
  private let file: OwnedFD
  private let content: Content

  /// Which part of the file the kernel is.
  private enum Content {
    case plain(size: Int)
    case gzip(Range<Int>)
  }

  /// Opens a file and reads the kernel's header.
  /// - Parameter architecture: the host's architecture.
  public init(path: String, architecture: Architecture, kernel: any Kernel) throws(KernelImageError) {
    let opened: OwnedFD
    do { opened = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel) } catch {
      throw .unreadable(error)
    }
    let size: Int
    do { size = try checked(linux_file_size(opened.number)) } catch { throw .unreadable(error) }
    let found = try Self.examine(opened.number, size: size)
    guard found.header.architecture == architecture else {
      throw .architecture(found: found.header.architecture, expected: architecture)
    }
    file = opened
    content = found.content
    header = found.header
  }

  /// Determines the format of the file and reads the kernel's header.
  private static func examine(_ file: Int32, size: Int) throws(KernelImageError) -> (
    content: Content, header: KernelHeader
  ) {
    // In Swift 6.2 this function does not rethrow typed errors.
    let result = withUnsafeTemporaryAllocation(byteCount: headSize, alignment: 8) { head in
      Result { () throws(KernelImageError) in try examine(file, size: size, head: head) }
    }
    return try result.get()
  }

  private static func examine(
    _ file: Int32, size: Int, head: UnsafeMutableRawBufferPointer
  ) throws(KernelImageError) -> (content: Content, header: KernelHeader) {
    var count = try read(file, .plain(size: size), into: head)
    let content = try content(of: UnsafeRawBufferPointer(rebasing: head[..<count]), size: size)
    if case .gzip = content { count = try read(file, content, into: head) }
    let header = try header(UnsafeRawBufferPointer(rebasing: head[..<count]))
    if case .plain = content, header.fileSize > UInt64(size) { throw .truncated }
    return (content, header)
  }

  /// The size of the part of a kernel that has its headers, in bytes.
  private static let headSize = 1024

  private static func content(of start: UnsafeRawBufferPointer, size: Int) throws(KernelImageError) -> Content {
    switch KernelFormat(start) {
    case .plain: return .plain(size: size)
    case .gzip(let offset, let count):
      guard let offset = Int(exactly: offset), offset <= size else { throw .truncated }
      guard let count else { return .gzip(offset..<size) }
      guard let count = Int(exactly: count), count <= size - offset else { throw .truncated }
      return .gzip(offset..<offset + count)
    case .other(let compression): throw .compression(compression)
    }
  }

  private static func header(_ bytes: UnsafeRawBufferPointer) throws(KernelImageError) -> KernelHeader {
    guard bytes.count >= KernelHeader.size else { throw .notKernel }
    if bytes.loadUnaligned(as: UInt32.self) == 0x464c_457f { throw .elf }
    do throws(KernelHeaderError) { return try KernelHeader(bytes) } catch { throw .header(error) }
  }

  /// Reads the first bytes of the kernel.
  /// - Returns: their number, less than the buffer's size if the kernel is shorter.
  private static func read(_ file: Int32, _ content: Content, into target: UnsafeMutableRawBufferPointer)
    throws(KernelImageError) -> Int
  {
    switch content {
    case .plain(let size):
      let count = min(size, target.count)
      let result = linux_transfer(file, false, target.baseAddress, count, 0)
      if result < 0 { throw .unreadable(Errno(Int32(truncatingIfNeeded: -result))) }
      guard result == count else { throw .truncated }
      return count
    case .gzip(let part):
      do throws(GzipError) {
        var stream = try GzipStream(file, part)
        return try stream.read(into: target)
      } catch {
        switch error {
        case .unreadable(let errno): throw .unreadable(errno)
        case .truncated: throw .truncated
        case .damaged: throw .damaged
        }
      }
    }
  }

  /// Reads the kernel into memory. If the file is shorter than the memory, the rest is not changed; if it is longer,
  /// its rest is ignored.
  /// - Parameter memory: the range that the layout assigns to the kernel, whose size is that in the header.
  public func load(into memory: UnsafeMutableRawBufferPointer) throws(KernelImageError) {
    let count = try Self.read(file.number, content, into: memory)
    guard count >= min(header.fileSize, UInt64(memory.count)) else { throw .truncated }
  }
}
