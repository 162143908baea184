import CLinux
import JSON
import Monitor

/// Small values by their names, in a file with two places of which one always holds the whole.
///
///     0 … 8     sequence number, the higher is the newer
///     8 … 16    bytes of the contents
///     16 … 24   checksum of sequence number and contents
///     24 …      the contents: a JSON object
///
/// A change is written into the older place: whoever is interrupted amid it, or finds the disk full, leaves the newer one as it
/// was. A place that no store has written, by what it holds, counts as empty: the process that wrote it may have been taken
/// over.
final class ValueStore {
  private let descriptor: Int32
  private var members: [JSONMember] = []
  private var sequence: UInt64 = 0

  /// Bytes of one place.
  static let placeSize = 64 << 10
  private static let headerSize = 24
  /// Most bytes of a key.
  static let longestKey = 128

  /// - Parameter descriptor: of the file, open for reading and writing as long as this object lives.
  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    for place in 0..<2 {
      guard let (number, members) = Self.read(descriptor, place), number > sequence else { continue }
      sequence = number
      self.members = members
    }
  }

  var keys: [String] { members.map { $0.name } }

  func get(_ key: String) -> JSONValue? { JSONValue.object(members)[key] }

  /// Sets a value, or removes it with nil.
  /// - Throws: `RPCError` where it cannot be kept: then nothing has changed.
  func set(_ key: String, _ value: String?) throws(RPCError) {
    guard Self.isKey(key) else { throw RPCError("KV: a key has 1 to 128 bytes") }
    var changed = members.filter { !$0.name.utf8.elementsEqual(key.utf8) }
    if let value { changed.append(JSONMember(key, .string(value))) }
    guard let contents = JSONValue.object(changed).encoded, contents.count <= Self.placeSize - Self.headerSize else {
      throw RPCError("KV: all keys and values together have at most 64 KiB")
    }
    var place: [UInt8] = []
    place.reserveCapacity(Self.headerSize + contents.count)
    for number in [sequence + 1, UInt64(contents.count), Self.checksum(sequence + 1, contents[...])] {
      for shift in 0..<8 { place.append(UInt8(truncatingIfNeeded: number >> UInt64(shift * 8))) }
    }
    place += contents
    let start = Int64((sequence + 1) % 2) * Int64(Self.placeSize)
    let result = place.withUnsafeBytes { linux_pwrite(descriptor, $0.baseAddress, $0.count, start) }
    guard result == place.count else { throw RPCError("KV: the values cannot be written: the disk is full") }
    // It fails where the file system has nothing to write to.
    _ = linux_sync(descriptor)
    sequence += 1
    members = changed
  }

  /// What a place holds; nil for nothing whole.
  private static func read(_ descriptor: Int32, _ place: Int) -> (UInt64, [JSONMember])? {
    let bytes = [UInt8](unsafeUninitializedCapacity: placeSize) { buffer, count in
      count = max(linux_pread(descriptor, buffer.baseAddress, buffer.count, place * placeSize), 0)
    }
    guard bytes.count >= headerSize else { return nil }
    func number(_ at: Int) -> UInt64 { bytes[at..<at + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    let count = number(8)
    guard count <= UInt64(bytes.count - headerSize) else { return nil }
    let contents = bytes[headerSize..<headerSize + Int(count)]
    // There is a number behind each that a store gives.
    guard number(0) < .max, checksum(number(0), contents) == number(16),
      case .object(let members)? = contents.withUnsafeBytes({ JSONValue(parsing: $0, depthLimit: 1) }),
      members.allSatisfy({ if case .string = $0.value { isKey($0.name) } else { false } })
    else { return nil }
    return (number(0), members)
  }

  private static func isKey(_ text: String) -> Bool { (1...longestKey).contains(text.utf8.count) }

  /// FNV-1a, 64 bits: tells a write that was cut short from a whole one.
  static func checksum(_ sequence: UInt64, _ bytes: ArraySlice<UInt8>) -> UInt64 {
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325 ^ sequence
    for byte in bytes { sum = (sum ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return sum
  }
}
