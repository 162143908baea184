import Machine

/// Guest memory by copies, for who embeds the monitor.
extension GuestMemory {
  /// Copies bytes out of the memory.
  /// - Parameters:
  ///   - range: within regions that lie in one piece of memory.
  ///   - access: what the guest itself must be allowed there; nothing to read whatever is the guest's.
  /// - Throws: `Refusal`.
  public func read(_ range: GuestRange, for access: Access = []) throws(Refusal) -> [UInt8] {
    try withBytes(range, for: access) { Array($0) }
  }

  /// Copies bytes into the memory, whatever the guest itself may do there. Of a context's memory: use `ExecCtx.writeMemory`,
  /// which its shadows and its instruction fetches see, too.
  /// - Throws: `Refusal` where some byte of the range is no region's; nothing is written then.
  public func write(_ bytes: [UInt8], at address: UInt64) throws(Refusal) {
    guard let range = GuestRange(start: address, count: UInt64(bytes.count)) else { throw .outside }
    try withBytes(range, for: []) { $0.copyBytes(from: bytes) }
  }

  /// Makes a part of a secure layout's image the guest's, and fills it: what an image's segments are, for who has no image.
  /// - Parameters:
  ///   - bytes: the contents; the last page's rest is zero.
  ///   - address: the first byte's, of a page that no region has yet.
  /// - Throws: `Refusal`: `.outside` where the pages are not all the image's, or some are a region's; `.access` for memory that
  ///   could be written and executed.
  public mutating func addImage(_ bytes: [UInt8], at address: UInt64, access: Access) throws(Refusal) {
    guard !access.isSuperset(of: [.write, .execute]) else { throw .access }
    let page = PageTable.pageSize
    guard let range = GuestRange(start: address, count: UInt64(bytes.count)), range.count > 0,
      layout.image.lowerBound <= range.start, range.end <= layout.image.upperBound
    else { throw .outside }
    let pages = range.start / page * page..<(range.end + page - 1) / page * page
    guard !regions.contains(where: { $0.range.overlaps(pages) }) else { throw .outside }
    let place = regions.firstIndex { $0.range.lowerBound > pages.lowerBound } ?? regions.count
    regions.insert(MemoryRegion(range: pages, access: access, use: .image), at: place)
    try write(bytes, at: address)
  }
}
