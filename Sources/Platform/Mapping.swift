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

  /// Copies the bytes of another mapping of the same size, page by page; pages that do not exist there become zero here, and
  /// cost nothing where they do not exist here either.
  package func copyContents(of other: borrowing Mapping) {
    let page = linux_page_size()
    let pages = min(count, other.count) / page
    // /proc/self/pagemap tells which pages exist without touching them (Documentation/admin-guide/mm/pagemap.rst). Without
    // it, in a sandbox, every page counts as one that does.
    let pagemap = linux_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0)
    defer { if pagemap >= 0 { _ = linux_close(Int32(truncatingIfNeeded: pagemap)) } }
    let batch = 512
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: batch * 2) { entries in
      var first = 0
      while first < pages {
        let length = min(batch, pages - first)
        let there = UnsafeMutableBufferPointer(rebasing: entries[..<length])
        let here = UnsafeMutableBufferPointer(rebasing: entries[batch..<batch + length])
        Self.readPagemap(pagemap, at: other.start + first * page, page: page, into: there)
        Self.readPagemap(pagemap, at: start + first * page, page: page, into: here)
        for index in 0..<length {
          let offset = (first + index) * page
          if there[index] >> 62 != 0 {  // present or swapped
            (start + offset).copyMemory(from: other.start + offset, byteCount: page)
          } else if here[index] >> 62 != 0 {
            memset(start + offset, 0, page)
          }
        }
        first += length
      }
    }
  }

  private static func readPagemap(
    _ pagemap: Int, at address: UnsafeMutableRawPointer, page: Int, into entries: UnsafeMutableBufferPointer<UInt64>
  ) {
    let size = entries.count * 8
    let offset = Int(bitPattern: address) / page * 8
    let wasRead =
      pagemap >= 0 && linux_pread(Int32(truncatingIfNeeded: pagemap), entries.baseAddress, size, offset) == size
    if !wasRead { entries.update(repeating: .max) }
  }
}
