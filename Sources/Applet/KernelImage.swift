import CLinux
import Machine
import Platform

/// Why a file cannot be started as a Linux kernel.
public enum KernelImageError: Error, Equatable {
  case unreadable(Errno)
  case notKernel
  /// An ELF file, as the compiler leaves it: vmlinux.
  case elf
  case header(KernelHeader.Problem)
  case architecture(found: Architecture, expected: Architecture)
  /// The file ends before what its header announces.
  case truncated

  /// Whether the file could not be read at all, as against being no kernel.
  public var isUnreadable: Bool {
    if case .unreadable = self { true } else { false }
  }

  /// What is wrong and what to do, in one line that goes behind the file's name.
  public var description: String {
    switch self {
    case .unreadable(.invalid): "not a regular file: give the path of a Linux kernel"
    case .unreadable(let errno): "cannot be read: \(errno.description)"
    case .notKernel, .header(.notKernel):
      "no Linux kernel for ARM64 or RISC-V: give the file that a distribution installs as /boot/vmlinuz"
    case .elf: "an ELF file, as the compiler left it: give the Image made of it (arch/*/boot/Image)"
    case .header(.bigEndian): "a big-endian kernel: build it for little endian"
    case .header(.noSize): "does not say its size: take a kernel of Linux 3.17 or later"
    case .architecture(let found, let expected):
      "a kernel for \(found.name), and this host runs \(expected.name): give one for \(expected.name)"
    case .truncated: "ends before the kernel does: copy or build it again"
    }
  }
}

/// A Linux kernel in a file, as its boot protocol wants it: read straight into the guest's memory.
public struct KernelImage: ~Copyable {
  public let header: KernelHeader
  private let file: OwnedFD
  private let size: Int

  /// Opens a file and reads its header.
  /// - Parameter architecture: the host's.
  public init(path: String, architecture: Architecture, kernel: any Kernel) throws(KernelImageError) {
    let opened: OwnedFD
    do { opened = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel) } catch {
      throw .unreadable(error)
    }
    let size: Int
    do { size = try checked(linux_file_size(opened.number)) } catch { throw .unreadable(error) }
    let header = try Self.header(of: opened.number)
    guard header.architecture == architecture else {
      throw .architecture(found: header.architecture, expected: architecture)
    }
    file = opened
    self.size = size
    self.header = header
  }

  private static func header(of file: Int32) throws(KernelImageError) -> KernelHeader {
    try withUnsafeTemporaryAllocation(byteCount: KernelHeader.size, alignment: 8) { bytes throws(KernelImageError) in
      let count = linux_transfer(file, false, bytes.baseAddress, bytes.count, 0)
      if count < 0 { throw .unreadable(Errno(Int32(truncatingIfNeeded: -count))) }
      guard count == bytes.count else { throw .notKernel }
      if bytes.loadUnaligned(as: UInt32.self) == 0x464c_457f { throw .elf }
      do throws(KernelHeader.Problem) { return try KernelHeader(UnsafeRawBufferPointer(bytes)) } catch {
        throw .header(error)
      }
    }
  }

  /// Reads the kernel into memory; what the file does not have stays as it is.
  /// - Parameter memory: the place that the layout gives the kernel, as large as the header says.
  public func load(into memory: UnsafeMutableRawBufferPointer) throws(KernelImageError) {
    let count = min(size, memory.count)
    let result = linux_transfer(file.number, false, memory.baseAddress, count, 0)
    if result < 0 { throw .unreadable(Errno(Int32(truncatingIfNeeded: -result))) }
    guard result == count else { throw .truncated }
  }
}
