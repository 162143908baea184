import CLinux

/// A mapping in this process's address space with one owner, unmapped when the owner ends: mmap(2), munmap(2).
public struct Mapping: ~Copyable {
  /// First byte; aligned to the host's page size.
  package let start: UnsafeMutableRawPointer
  /// Size in bytes, greater than zero.
  public let count: Int
  private let kernel: any Kernel

  /// Maps private zeroed memory. Its pages are allocated when they are first touched.
  /// - Parameters:
  ///   - count: bytes; rounded up to pages by the kernel.
  ///   - hugePages: whether the kernel may back it with transparent huge pages. One costs about 300,000 instructions to
  ///     zero, so small memory is better without (MADV_NOHUGEPAGE).
  /// - Throws: the kernel's error, ENOMEM if there is not enough memory or address space.
  public init(anonymous count: Int, hugePages: Bool = true, kernel: any Kernel) throws(Errno) {
    try self.init(
      count: count, protection: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
      descriptor: -1, kernel: kernel)
    // Only advice: a kernel without huge pages returns an error, and needs none.
    if !hugePages { _ = linux_madvise(start, count, MADV_NOHUGEPAGE) }
  }

  /// Maps a file or device for reading and writing, shared with other processes that map it.
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

  /// The mapped bytes. The pointer is valid while this value exists; the caller must not keep it longer.
  package var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: start, count: count) }

  /// Copies the bytes of another mapping of the same size, page by page. Pages that are not present there become zero here; if
  /// they are not present here either, they are not touched.
  package func copyContents(of other: borrowing Mapping) {
    let page = linux_page_size()
    let pages = min(count, other.count) / page
    let pagemap = linux_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0)
    defer { if pagemap >= 0 { _ = linux_close(Int32(truncatingIfNeeded: pagemap)) } }
    let there = Self.present(pagemap, other.start, pages: pages, page: page)
    let here = Self.present(pagemap, start, pages: pages, page: page)
    for range in there {
      let offset = range.lowerBound * page
      (start + offset).copyMemory(from: other.start + offset, byteCount: range.count * page)
    }
    var copied = there[...]
    for range in here {
      // The parts of it between those that were copied.
      var first = range.lowerBound
      while first < range.upperBound {
        while let next = copied.first, next.upperBound <= first { copied.removeFirst() }
        let next = copied.first ?? pages..<pages
        let end = min(next.lowerBound, range.upperBound)
        if first < end { memset(start + first * page, 0, (end - first) * page) }
        first = max(first, end, next.upperBound)
      }
    }
  }

  /// The pages that are present or swapped, in order (Documentation/admin-guide/mm/pagemap.rst); they are not touched. All pages,
  /// where a sandbox prevents that.
  private static func present(_ pagemap: Int, _ start: UnsafeMutableRawPointer, pages: Int, page: Int) -> [Range<Int>] {
    guard pagemap >= 0 else { return [0..<pages] }
    let file = Int32(truncatingIfNeeded: pagemap)
    var found: [Range<Int>] = []
    let begin = UInt64(UInt(bitPattern: start))
    let end = begin + UInt64(pages * page)
    let most = 32
    let isKnown = withUnsafeTemporaryAllocation(of: linux_page_region.self, capacity: most) { regions -> Bool in
      var at = begin
      while at < end {
        let count = linux_pagemap_scan(file, at, end, regions.baseAddress, most, &at)
        guard count >= 0 else { return false }
        for region in regions[..<count] {
          found.append(Int(region.start - begin) / page..<Int(region.end - begin) / page)
        }
      }
      return true
    }
    return isKnown ? found : presentByEntry(file, start, pages: pages, page: page)
  }

  /// The same before Linux 6.7, which reads an entry of each page.
  private static func presentByEntry(_ pagemap: Int32, _ start: UnsafeMutableRawPointer, pages: Int, page: Int)
    -> [Range<Int>]
  {
    var found: [Range<Int>] = []
    let batch = 512
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: batch) { entries in
      for first in stride(from: 0, to: pages, by: batch) {
        let here = UnsafeMutableBufferPointer(rebasing: entries[..<min(batch, pages - first)])
        readPagemap(pagemap, at: start + first * page, page: page, into: here)
        for index in here.indices where here[index] >> 62 != 0 {  // present or swapped
          let number = first + index
          if let last = found.last, last.upperBound == number {
            found[found.count - 1] = last.lowerBound..<number + 1
          } else {
            found.append(number..<number + 1)
          }
        }
      }
    }
    return found
  }

  private static func readPagemap(
    _ pagemap: Int32, at address: UnsafeMutableRawPointer, page: Int, into entries: UnsafeMutableBufferPointer<UInt64>
  ) {
    let size = entries.count * 8
    let offset = Int(bitPattern: address) / page * 8
    if linux_pread(pagemap, entries.baseAddress, size, offset) != size { entries.update(repeating: .max) }
  }
}
