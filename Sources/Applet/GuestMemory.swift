import Machine
import Platform

/// A part of a context's memory with one kind of access, as the applet sees it.
public struct MemoryRegion: Sendable {
  /// What the region is for; the numbers are the ABI's (enum applet_region_use).
  public enum Use: UInt64, Sendable { case image, heap, stack, added, deviceTree }

  /// Addresses, whole pages.
  public let range: Range<UInt64>
  /// What the applet may do there; nothing where it is empty.
  public let access: Access
  public let use: Use

  package init(range: Range<UInt64>, access: Access, use: Use) {
    self.range = range
    self.access = access
    self.use = use
  }
}

/// The memory of a context: mapped into this process, and reached only through checked ranges.
public struct GuestMemory: ~Copyable {
  /// Why a range was refused.
  public enum Refusal: Error, Equatable {
    /// Some byte of it lies in no region of the guest's.
    case outside
    /// Some byte of it lies in a region that the guest itself may not access in this way.
    case access
  }

  /// Guest-physical addresses of the main piece of memory: one memory slot.
  public let slot: Range<UInt64>
  private let secureLayout: SecureLayout?
  /// Where things lie in the memory of a secure context; not to be asked of others.
  public var layout: SecureLayout {
    guard let secureLayout else { preconditionFailure("a layout with shim and frame is a secure context's") }
    return secureLayout
  }
  /// The guest's regions by ascending address; they do not overlap.
  public package(set) var regions: [MemoryRegion]
  /// What lies behind the slot: the guest's part, then the monitor's.
  package let mapping: SharedMemory
  /// Memory that was added elsewhere. (A value here, before what may throw, is one that Swift 6.2 releases wrongly.)
  package var added: [AddedMemory]

  /// Maps zeroed memory for a layout: heap and stack are the applet's, the image's pages nobody's until one is loaded.
  /// - Throws: the kernel's error, ENOMEM where there is no room.
  public init(layout: SecureLayout, kernel: any Kernel) throws(Errno) {
    let size = layout.slot.upperBound - layout.slot.lowerBound
    mapping = try SharedMemory(count: Int(size), hugePages: size >= Self.hugePagesFrom, kernel: kernel)
    slot = layout.slot
    secureLayout = layout
    regions = [
      MemoryRegion(range: layout.deviceTree, access: .read, use: .deviceTree),
      MemoryRegion(range: layout.stack, access: [.read, .write], use: .stack),
      MemoryRegion(range: layout.heap, access: [.read, .write], use: .heap),
    ].filter { !$0.range.isEmpty }
    added = []
  }

  /// Memory of a non-secure context, in which no part is a region yet.
  /// - Parameters:
  ///   - slot: its guest-physical addresses; multiples of the host's page size.
  ///   - mapping: as many bytes, or more. Devices may share them.
  public init(slot: Range<UInt64>, mapping: SharedMemory) {
    precondition(UInt64(mapping.bytes.count) >= slot.upperBound - slot.lowerBound)
    self.slot = slot
    self.mapping = mapping
    secureLayout = nil
    regions = []
    added = []
  }

  /// Bytes from which on transparent huge pages pay for the time that zeroing them costs.
  private static var hugePagesFrom: UInt64 { 64 << 20 }

  /// Copies the image's segments into place and makes them regions; memory beyond a segment's file stays zero.
  ///
  /// The image must be the one that the layout was made for.
  package mutating func load(_ image: borrowing AppletImage) {
    var loaded: [MemoryRegion] = []
    loaded.reserveCapacity(image.segments.count + regions.count)
    for segment in image.segments {
      let target = bytes(at: segment.address, count: segment.content.count)
      target.copyMemory(from: UnsafeRawBufferPointer(rebasing: image.file.bytes[segment.content]))
      loaded.append(MemoryRegion(range: segment.pages, access: segment.access, use: .image))
    }
    regions = loaded + regions
  }

  /// Host memory of monitor and applet alike, by guest address. For addresses that lie in one piece of memory: the layout's
  /// slot, or an added one.
  @inline(__always)
  package func bytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    if slot.contains(address) {
      return UnsafeMutableRawBufferPointer(
        rebasing: mapping.bytes[Int(address - slot.lowerBound)...].prefix(count))
    }
    return addedBytes(at: address, count: count)
  }

  @inline(never)
  private func addedBytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    guard let piece = added.first(where: { $0.range.contains(address) }) else {
      // `check` has found the address in a region, and every region lies in the slot or in an added piece.
      preconditionFailure("no memory at a checked address")
    }
    return UnsafeMutableRawBufferPointer(
      rebasing: piece.memory.bytes[Int(address - piece.range.lowerBound)...].prefix(count))
  }

  /// Checks that the guest itself may access every byte of a range.
  @inline(__always)
  public func check(_ range: GuestRange, for access: Access) throws(Refusal) {
    var address = range.start
    for index in regions.indices {
      let region = regions[index]
      if address >= region.range.upperBound { continue }
      guard address >= region.range.lowerBound else { break }
      guard region.access.isSuperset(of: access) else { throw .access }
      if range.end <= region.range.upperBound { return }
      address = region.range.upperBound
    }
    throw .outside
  }

  /// Calls `body` with the bytes of a range that the guest may access. Nothing else of guest memory is in reach there; the
  /// bytes may change at any time while a vCPU of the guest runs.
  /// - Throws: `Refusal`; `body` is then not called.
  @inline(__always)
  package func withBytes<Result>(
    _ range: GuestRange, for access: Access, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) throws(Refusal) -> Result {
    // A buffer of no bytes may lie anywhere.
    if range.count == 0 { return body(UnsafeMutableRawBufferPointer(start: nil, count: 0)) }
    try check(range, for: access)
    // Regions of different pieces of memory can touch in the guest, but not here.
    guard !isSplit(range) else { throw .outside }
    return body(bytes(at: range.start, count: Int(range.count)))
  }

  /// Whether a checked range runs from one piece of memory into another.
  @inline(__always)
  private func isSplit(_ range: GuestRange) -> Bool {
    !added.isEmpty
      && !(slot.contains(range.start) && range.end <= slot.upperBound)
      && !added.contains { $0.range.contains(range.start) && range.end <= $0.range.upperBound }
  }
}

/// Memory that contexts share, or that one is given beyond what it was loaded with; zeroed when made.
public final class SharedMemory: @unchecked Sendable {
  private let mapping: Mapping
  /// Bytes of the mapping before the first of the memory, and bytes of memory.
  private let offset: Int
  private let count: Int

  /// - Parameters:
  ///   - count: bytes; a multiple of the host's page size, greater than zero.
  ///   - alignment: a power of two that the first byte's address in this process is a multiple of, so that the kernel can map
  ///     blocks of that size.
  ///   - hugePages: whether the kernel may back it with transparent huge pages.
  /// - Throws: the kernel's error, ENOMEM where there is no room.
  public init(count: Int, alignment: Int = 4096, hugePages: Bool = true, kernel: any Kernel) throws(Errno) {
    let (size, overflow) = count.addingReportingOverflow(alignment > 4096 ? alignment : 0)
    guard !overflow else { throw .noMemory }
    mapping = try Mapping(anonymous: size, hugePages: hugePages, kernel: kernel)
    offset = -Int(bitPattern: mapping.start) & (alignment - 1)
    self.count = count
  }

  /// The bytes. Guests may change them at any time. The pointer is good while this object lives.
  @inline(__always)
  public var bytes: UnsafeMutableRawBufferPointer {
    // The mapping has room for the offset, which is less than the alignment, beside the memory.
    UnsafeMutableRawBufferPointer(start: mapping.start + offset, count: count)
  }

  /// Makes the contents equal to another memory's of the same size.
  package func copyContents(of other: SharedMemory) { mapping.copyContents(of: other.mapping) }
}

/// A piece of memory added to a guest's.
package struct AddedMemory {
  package let range: Range<UInt64>
  package let memory: SharedMemory
  /// Whether it is the memory of the context that this one is a copy of, too.
  package let isBorrowed: Bool

  package init(range: Range<UInt64>, memory: SharedMemory, isBorrowed: Bool = false) {
    self.range = range
    self.memory = memory
    self.isBorrowed = isBorrowed
  }
}
