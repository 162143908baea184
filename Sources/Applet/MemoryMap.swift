import Machine
import Platform

/// What an access to a guest's memory needs to know: the regions, and where their bytes are in this process.
///
/// The compiler copies it for each access. It would copy `GuestMemory` likewise, which is three times as large.
package struct MemoryMap {
  /// Guest-physical addresses of the main memory slot.
  let slot: Range<UInt64>
  /// The memory of the slot: as many bytes, or more.
  let mapping: SharedMemory
  /// The guest's regions, by ascending address; they do not overlap.
  var regions: [MemoryRegion]
  /// Memory in further slots.
  var added: [AddedMemory]

  /// Checks that the guest itself has this access to every byte of a range.
  @inline(__always)
  package func check(_ range: GuestRange, for access: Access) throws(GuestMemoryError) {
    try regions.withUnsafeBufferPointer { (regions) throws(GuestMemoryError) in
      // Without regions there may be no address.
      guard var next = regions.baseAddress else { throw .outside }
      let end = next + regions.count
      var address = range.start
      // With an index the compiler takes the structures for unaligned, and riscv64 loads them byte by byte.
      while next < end {
        let region = next
        next += 1
        if address >= region.pointee.range.upperBound { continue }
        guard address >= region.pointee.range.lowerBound else { break }
        guard region.pointee.access.isSuperset(of: access) else { throw .access }
        if range.end <= region.pointee.range.upperBound { return }
        address = region.pointee.range.upperBound
      }
      throw .outside
    }
  }

  /// Finds the bytes of a range that the guest may access.
  /// - Returns: the bytes and, for added memory, the object that keeps them mapped, since added memory may be removed
  ///   during a call that uses it.
  /// - Throws: `GuestMemoryError`.
  @inline(__always)
  package func locate(
    _ range: GuestRange, for access: Access
  ) throws(GuestMemoryError) -> (bytes: UnsafeMutableRawBufferPointer, owner: SharedMemory?) {
    // An empty buffer may be at any address.
    if range.count == 0 { return (UnsafeMutableRawBufferPointer(start: nil, count: 0), nil) }
    try check(range, for: access)
    // The check has found memory at its first byte.
    if slot.contains(range.start) {
      guard range.end <= slot.upperBound else { throw .outside }
      return (mapping.bytes(from: Int(range.start - slot.lowerBound), count: Int(range.count)), nil)
    }
    return try locateAdded(range)
  }

  /// Regions of different mappings can be adjacent in the guest, but are not in this process.
  @inline(never)
  private func locateAdded(
    _ range: GuestRange
  ) throws(GuestMemoryError) -> (bytes: UnsafeMutableRawBufferPointer, owner: SharedMemory?) {
    guard let piece = added.first(where: { $0.range.contains(range.start) }), range.end <= piece.range.upperBound else {
      throw .outside
    }
    let offset = Int(range.start - piece.range.lowerBound)
    return (piece.memory.bytes(from: offset, count: Int(range.count)), piece.memory)
  }

  /// Host memory for a guest address. The range must be in one slot: the layout's or an added one.
  @inline(__always)
  func bytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    if slot.contains(address) { return mapping.bytes(from: Int(address - slot.lowerBound), count: count) }
    return addedBytes(at: address, count: count)
  }

  @inline(never)
  private func addedBytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    guard let piece = added.first(where: { $0.range.contains(address) }) else {
      // `check` has found the address in a region, and every region is in the main slot or an added one.
      preconditionFailure("no memory for a checked address")
    }
    return piece.memory.bytes(from: Int(address - piece.range.lowerBound), count: count)
  }
}

/// Memory in a further slot of a guest.
package struct AddedMemory {
  package let range: Range<UInt64>
  package let memory: SharedMemory
  /// Whether it is shared with the context that this one was cloned from.
  package let isBorrowed: Bool

  package init(range: Range<UInt64>, memory: SharedMemory, isBorrowed: Bool = false) {
    self.range = range
    self.memory = memory
    self.isBorrowed = isBorrowed
  }
}
