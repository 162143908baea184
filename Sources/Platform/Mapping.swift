import CLinux

/// A run of this process's address space with one owner, unmapped when the owner ends: mmap(2), munmap(2).
public struct Mapping: ~Copyable {
  /// First byte; aligned to the host's page size.
  package let start: UnsafeMutableRawPointer
  /// Size in bytes, greater than zero.
  public let count: Int
  private let kernel: any Kernel

  /// Maps zeroed memory that only this process sees. No page of it exists before it is touched.
  /// - Parameters:
  ///   - count: bytes; rounded up to pages by the kernel.
  ///   - hugePages: whether the kernel may back it with transparent huge pages. One costs about 300,000 instructions to
  ///     zero, so small memory is better without (MADV_NOHUGEPAGE).
  /// - Throws: the kernel's error, ENOMEM where there is no room.
  public init(anonymous count: Int, hugePages: Bool = true, kernel: any Kernel) throws(Errno) {
    try self.init(
      count: count, protection: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      descriptor: -1, kernel: kernel)
    // Advice: a kernel built without huge pages refuses it, and has none to avoid.
    if !hugePages { _ = linux_madvise(start, count, MADV_NOHUGEPAGE) }
  }

  /// Maps a file or device for reading and writing, shared with whoever else maps it.
  /// - Throws: the kernel's error.
  public init(shared descriptor: borrowing OwnedFD, count: Int) throws(Errno) {
    try self.init(
      count: count, protection: PROT_READ | PROT_WRITE, flags: MAP_SHARED, descriptor: descriptor.number,
      kernel: descriptor.kernel)
  }

  private init(count: Int, protection: Int32, flags: Int32, descriptor: Int32, kernel: any Kernel) throws(Errno) {
    let address = try checked(kernel.map(length: count, protection: protection, flags: flags, descriptor: descriptor))
    guard let start = UnsafeMutableRawPointer(bitPattern: address) else { throw .noMemory }
    self.start = start
    self.count = count
    self.kernel = kernel
  }

  deinit { _ = kernel.unmap(start, length: count) }

  /// The mapped bytes. The pointer is good while this value lives: the caller keeps it no longer.
  package var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }
}
