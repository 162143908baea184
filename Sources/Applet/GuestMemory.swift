import Machine
import Platform

/// A region of a context's memory: pages with one kind of access and one use.
public struct MemoryRegion: Sendable {
  /// The use of a region; the numbers are the ABI's (enum applet_region_use).
  public enum Use: UInt64, Sendable { case image, heap, stack, added, deviceTree }

  /// Guest addresses, whole pages.
  public let range: Range<UInt64>
  /// The guest's access; none if empty.
  public let access: Access
  /// Its use.
  public let use: Use

  package init(range: Range<UInt64>, access: Access, use: Use) {
    self.range = range
    self.access = access
    self.use = use
  }
}

/// Why an access to a range of guest memory was rejected.
public enum GuestMemoryError: Error, Equatable, CustomStringConvertible {
  /// Some byte of it is in no region of the guest.
  case outside
  /// The guest itself does not have this access to some byte of it.
  case access

  /// The error, in one line.
  public var description: String {
    switch self {
    case .outside: "outside of the guest's memory"
    case .access: "in memory to which the guest does not have this access"
    }
  }
}

/// The memory of a context, mapped into this process and accessed only through checked ranges.
public struct GuestMemory: ~Copyable {
  /// Regions and slots, for accesses.
  package private(set) var map: MemoryMap
  /// Guest-physical addresses of the main memory slot.
  public var slot: Range<UInt64> { map.slot }
  /// The layout of a secure context's memory; nil for other memory.
  ///
  /// It is computed: Swift 6.2 without optimization reads a large stored property of `ExecCtx.memory` after the access has ended.
  public var secureLayout: SecureLayout? { givenLayout }
  private let givenLayout: SecureLayout?
  /// The same, for memory that is known to be a secure context's.
  package var layout: SecureLayout {
    guard let secureLayout = givenLayout else { preconditionFailure("the memory is not a secure context's") }
    return secureLayout
  }
  /// The guest's regions, by ascending address; they do not overlap.
  public package(set) var regions: [MemoryRegion] {
    get { map.regions }
    _modify { yield &map.regions }
  }
  /// The memory of the slot: the guest's part, followed by the monitor's.
  package var mapping: SharedMemory { map.mapping }
  /// Memory in further slots.
  package var added: [AddedMemory] {
    get { map.added }
    _modify { yield &map.added }
  }

  /// Maps zeroed memory for a layout. Heap and stack are regions; the image's pages become regions when one is loaded.
  /// - Throws: the kernel's error, ENOMEM if there is not enough memory.
  public init(layout: SecureLayout, kernel: any Kernel) throws(Errno) {
    let size = layout.slot.upperBound - layout.slot.lowerBound
    let mapping = try SharedMemory(count: Int(size), hugePages: size >= Self.hugePagesFrom, kernel: kernel)
    let tree = MemoryRegion(range: layout.deviceTree, access: .read, use: .deviceTree)
    let stack = MemoryRegion(range: layout.stack, access: [.read, .write], use: .stack)
    let heap = MemoryRegion(range: layout.heap, access: [.read, .write], use: .heap)
    let regions = (layout.kind == .compact ? [tree, stack, heap] : [heap, stack, tree]).filter { !$0.range.isEmpty }
    map = MemoryMap(slot: layout.slot, mapping: mapping, regions: regions, added: [])
    givenLayout = layout
  }

  /// The memory of a non-secure context, without regions.
  /// - Parameters:
  ///   - slot: its guest-physical addresses; multiples of the host's page size.
  ///   - mapping: as many bytes, or more.
  /// - Throws: `GuestMemoryError.outside` if it has fewer.
  public init(slot: Range<UInt64>, mapping: SharedMemory) throws(GuestMemoryError) {
    guard UInt64(mapping.bytes.count) >= slot.upperBound - slot.lowerBound else { throw .outside }
    map = MemoryMap(slot: slot, mapping: mapping, regions: [], added: [])
    givenLayout = nil
  }

  /// Whether another secure context's memory has the same layout, regions and added memory.
  package func isLike(_ other: borrowing GuestMemory) -> Bool {
    guard secureLayout == other.secureLayout, regions.count == other.regions.count, added.count == other.added.count
    else {
      return false
    }
    for index in regions.indices {
      let (mine, theirs) = (regions[index], other.regions[index])
      guard mine.range == theirs.range, mine.access == theirs.access, mine.use == theirs.use else { return false }
    }
    return added.indices.allSatisfy { added[$0].range == other.added[$0].range }
  }

  /// The size from which on transparent huge pages are worth the time to zero them, in bytes.
  private static var hugePagesFrom: UInt64 { 64 << 20 }

  /// Copies the image's segments to their addresses and makes them regions; the rest of a segment after its file content is zero.
  ///
  /// The layout must have been made for this image.
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

  /// Host memory for a guest address. The range must be in one slot: the layout's or an added one.
  @inline(__always)
  package func bytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    map.bytes(at: address, count: count)
  }

  /// Checks that the guest itself has this access to every byte of a range.
  @inline(__always)
  public func check(_ range: GuestRange, for access: Access) throws(GuestMemoryError) {
    try map.check(range, for: access)
  }

  /// Calls `body` with the bytes of a range to which the guest has this access. They may change at any time while a vCPU of the
  /// guest runs.
  /// - Throws: `GuestMemoryError`, without calling `body`.
  @inline(__always)
  package func withBytes<Result>(
    _ range: GuestRange, for access: Access, _ body: (UnsafeMutableRawBufferPointer) -> Result
  ) throws(GuestMemoryError) -> Result {
    let place = try map.locate(range, for: access)
    return withExtendedLifetime(place.owner) { body(place.bytes) }
  }
}
