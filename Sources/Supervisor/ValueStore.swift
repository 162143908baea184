import CLinux
import JSON
import Monitor

/// Small values by key, in a file with two slots, one of which always has complete contents.
///
///     0 … 8     sequence number: that of the newer slot follows that of the older one; 0 follows the highest
///     8 … 16    size of the contents, in bytes
///     16 … 24   checksum of sequence number and contents
///     24 …      the contents: a JSON object
///
/// A change is written to the older slot, so that a write that is interrupted, or fails because the disk is full, does
/// not affect the newer one. A slot whose contents a store cannot have written counts as empty: the process that wrote
/// it may be compromised.
final class ValueStore {
  private let descriptor: Int32
  private var members: [JSONMember] = []
  private var sequence: UInt64 = 0
  /// The index of the newer slot; the next change is written to the other one.
  private var place = 0

  /// Size of a slot, in bytes.
  static let placeSize = 64 << 10
  private static let headerSize = 24
  /// Maximum length of a key, in bytes.
  static let maxKey = 128

  /// - Parameter descriptor: the file, open for reading and writing while this object exists.
  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    let first = Self.read(descriptor, 0), second = Self.read(descriptor, 1)
    // The sequence number may overflow: a file that a store has not written may have any.
    if let second, first.map({ $0.number &+ 1 == second.number }) ?? true { place = 1 }
    guard let newer = place == 0 ? first : second else { return }
    sequence = newer.number
    members = newer.members
  }

  var keys: [String] { members.map { $0.name } }

  func get(_ key: String) -> JSONValue? { JSONValue.object(members)[key] }

  /// Sets a value, or removes it if it is nil.
  /// - Throws: `RPCError` if it cannot be stored; nothing has changed then.
  func set(_ key: String, _ value: String?) throws(RPCError) {
    guard Self.isKey(key) else { throw RPCError("KV: the length of a key is 1 to 128 bytes") }
    var changed = members.filter { !$0.name.utf8.elementsEqual(key.utf8) }
    if let value { changed.append(JSONMember(key, .string(value))) }
    guard let contents = JSONValue.object(changed).encoded, contents.count <= Self.placeSize - Self.headerSize else {
      throw RPCError("KV: keys and values exceed 64 KiB")
    }
    let number = sequence &+ 1
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Self.headerSize + contents.count)
    for value in [number, UInt64(contents.count), Self.checksum(number, contents[...])] {
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift * 8))) }
    }
    bytes += contents
    let start = Int64((1 - place) * Self.placeSize)
    let result = bytes.withUnsafeBytes { linux_pwrite(descriptor, $0.baseAddress, $0.count, start) }
    guard result == bytes.count else { throw RPCError("KV: cannot write the values: the disk is full") }
    // Fails on file systems that are not on a disk.
    _ = linux_fdatasync(descriptor)
    sequence = number
    place = 1 - place
    members = changed
  }

  /// The contents of a slot; nil if they are not valid.
  private static func read(_ descriptor: Int32, _ place: Int) -> (number: UInt64, members: [JSONMember])? {
    let bytes = [UInt8](unsafeUninitializedCapacity: placeSize) { buffer, count in
      count = max(linux_pread(descriptor, buffer.baseAddress, buffer.count, place * placeSize), 0)
    }
    guard bytes.count >= headerSize else { return nil }
    func number(_ at: Int) -> UInt64 { bytes[at..<at + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    let count = number(8)
    guard count <= UInt64(bytes.count - headerSize) else { return nil }
    let contents = bytes[headerSize..<headerSize + Int(count)]
    guard checksum(number(0), contents) == number(16),
      case .object(let members)? = contents.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: 1) }),
      members.allSatisfy({ if case .string = $0.value { isKey($0.name) } else { false } })
    else { return nil }
    return (number(0), members)
  }

  private static func isKey(_ text: String) -> Bool { (1...maxKey).contains(text.utf8.count) }

  /// FNV-1a, 64 bits, which detects incomplete writes.
  static func checksum(_ sequence: UInt64, _ bytes: ArraySlice<UInt8>) -> UInt64 {
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325 ^ sequence
    for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return sum
  }
}
