/// Where things lie in the memory of a bare-metal program in system mode. Virtual and guest-physical addresses are equal.
///
///     start        2 MiB boundary at or below the image
///       image      as the ELF file asks
///       tree       the device tree
///       heap       the rest
///       stack
///       vectors    one page: where exceptions go until the program sets vectors of its own
///       tables     the identity map that it starts with
///     end
///
/// All of it can be read, written and executed: what the program keeps apart is up to tables of its own.
public struct ProgramLayout: Equatable, Sendable {
  /// All of the memory; one memory slot.
  public let memory: Range<UInt64>
  /// Pages that the image covers.
  public let image: Range<UInt64>
  /// Pages of the device tree.
  public let deviceTree: Range<UInt64>
  public let stack: Range<UInt64>

  public var heap: Range<UInt64> { deviceTree.upperBound..<stack.lowerBound }
  public var vectors: UInt64 { stack.upperBound }
  public var tables: Range<UInt64> { vectors + PageTable.pageSize..<memory.upperBound }
  /// What the program has to leave alone.
  public var monitor: Range<UInt64> { vectors..<memory.upperBound }

  /// - Parameters: as those of `SecureLayout`.
  public init(
    image: Range<UInt64>, size: UInt64, deviceTree: UInt64, hostPage: UInt64, addressLimit: UInt64
  ) throws(SecureLayout.Problem) {
    let page = PageTable.pageSize
    // What a secure context would have beside image, heap and stack takes more room than these tables.
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
  /// Bytes of arena for mapping so many bytes by blocks, and a dozen pieces elsewhere.
  public static func identityArenaSize(covering length: UInt64) -> UInt64 { (length >> 30 + 32) * pageSize }
}
