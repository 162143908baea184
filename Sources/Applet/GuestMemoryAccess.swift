import Machine

/// Access to guest memory by copying, for programs that embed the monitor.
extension GuestMemory {
  /// Copies bytes out of the memory.
  /// - Parameters:
  ///   - range: within regions in one memory slot.
  ///   - access: the access that the guest itself must have; none to read any of its memory.
  /// - Throws: `GuestMemoryError`.
  public func read(_ range: GuestRange, for access: Access = []) throws(GuestMemoryError) -> [UInt8] {
    try withBytes(range, for: access) { Array($0) }
  }

  /// Copies bytes into the memory, whatever access the guest itself has. For the memory of a context use `ExecCtx.writeMemory`,
  /// which includes its shadows and invalidates instruction caches.
  /// - Throws: `GuestMemoryError` if some byte of the range is in no region; nothing is written then.
  public func write(_ bytes: [UInt8], at address: UInt64) throws(GuestMemoryError) {
    guard let range = GuestRange(start: address, count: UInt64(bytes.count)) else { throw .outside }
    try withBytes(range, for: []) { $0.copyBytes(from: bytes) }
  }

  /// Fills part of a secure layout's image and makes it a region, like a segment of an image.
  /// - Parameters:
  ///   - bytes: the contents; the last page's rest is zero.
  ///   - address: of the first byte, in a page without a region.
  /// - Throws: `GuestMemoryError`: `.outside` if the memory has no such layout, or the pages are outside the image or
  ///   have a region already; `.access` if the memory would be writable and executable.
  public mutating func addImage(_ bytes: [UInt8], at address: UInt64, access: Access) throws(GuestMemoryError) {
    guard !access.isSuperset(of: [.write, .execute]) else { throw .access }
    let page = PageTable.pageSize
    guard let layout = secureLayout, let range = GuestRange(start: address, count: UInt64(bytes.count)),
      range.count > 0,
      layout.image.lowerBound <= range.start, range.end <= layout.image.upperBound
    else { throw .outside }
    let pages = range.start / page * page..<(range.end + page - 1) / page * page
    guard !regions.contains(where: { $0.range.overlaps(pages) }) else { throw .outside }
    let place = regions.firstIndex { $0.range.lowerBound > pages.lowerBound } ?? regions.count
    regions.insert(MemoryRegion(range: pages, access: access, use: .image), at: place)
    try write(bytes, at: address)
  }
}
