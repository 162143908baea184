/// The layout of a program's memory in system mode. Virtual and guest-physical addresses are equal.
///
///     start        2 MiB boundary at or below the image
///       image      as in the ELF file
///       tree       the device tree
///       heap       the rest
///       stack
///       vectors    one page, the exception vectors until the program sets its own
///       tables     the initial identity mapping
///     end
///
/// All of it can be read, written and executed. A program that needs protection creates its own page tables.
public struct ProgramLayout: Equatable, Sendable {
  /// All memory, as one memory slot.
  public let memory: Range<UInt64>
  /// Pages of the image.
  public let image: Range<UInt64>
  /// Pages of the device tree.
  public let deviceTree: Range<UInt64>
  /// Pages of the stack.
  public let stack: Range<UInt64>

  /// Pages of the heap.
  public var heap: Range<UInt64> { deviceTree.upperBound..<stack.lowerBound }
  /// Address of the exception vectors' page.
  public var vectors: UInt64 { stack.upperBound }
  /// Memory for the initial page tables.
  public var tables: Range<UInt64> { vectors + PageTable.pageSize..<memory.upperBound }
  /// The memory that the program must not change.
  public var monitor: Range<UInt64> { vectors..<memory.upperBound }

  /// - Parameters: those of `SecureLayout`.
  public init(
    image: Range<UInt64>, size: UInt64, deviceTree: UInt64, hostPage: UInt64, addressLimit: UInt64
  ) throws(SecureLayoutError) {
    let page = PageTable.pageSize
    // A secure context's memory other than image, heap and stack is larger than these tables.
    let secure = try SecureLayout(
      image: image, size: size, deviceTree: deviceTree, hostPage: hostPage, addressLimit: addressLimit)
    let monitor = page + PageTable.identityArenaSize(covering: size)
    let start = secure.slot.lowerBound
    let size = size / 65536 * 65536
    let stackSize = secure.stack.upperBound - secure.stack.lowerBound
    let fixed = secure.deviceTree.upperBound - start + monitor
    guard size >= fixed + stackSize else { throw .needsMemory((fixed + 65535) / 65536 * 65536 + 128 << 10) }
    memory = start..<start + size
    self.image = secure.image
    self.deviceTree = secure.deviceTree
    let end = memory.upperBound - monitor
    stack = end - stackSize..<end
  }
}

extension PageTable {
  /// Size of the arena, in bytes, for mapping this many bytes in blocks, and a dozen smaller ranges.
  package static func identityArenaSize(covering length: UInt64) -> UInt64 { (length >> 30 + 32) * pageSize }
}
