import CLinux

/// SHA-256 (FIPS 180-4), of bytes that come in parts.
public struct SHA256 {
  /// The hash of the whole blocks so far (section 5.3.3).
  private var hash: [UInt32] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  /// The bytes after them.
  private var rest: [UInt8] = []
  /// Number of all bytes.
  private var count: UInt64 = 0

  private static let blockSize = 64

  /// Of no bytes yet.
  public init() {}

  /// Adds bytes.
  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    count &+= UInt64(bytes.count)
    var bytes = bytes
    if !rest.isEmpty {
      let taken = min(Self.blockSize - rest.count, bytes.count)
      rest.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[..<taken]))
      bytes = UnsafeRawBufferPointer(rebasing: bytes[taken...])
      guard rest.count == Self.blockSize else { return }
      let block = rest
      rest = []
      block.withUnsafeBytes { Self.add($0, to: &hash) }
    }
    let whole = bytes.count / Self.blockSize * Self.blockSize
    Self.add(UnsafeRawBufferPointer(rebasing: bytes[..<whole]), to: &hash)
    rest.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[whole...]))
  }

  /// The same with the bytes of an array.
  public mutating func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

  /// The digest of all bytes: 64 hexadecimal digits.
  public consuming func finish() -> String {
    let bits = count &* 8
    // A one bit, zeros up to eight bytes before the end of a block, and the number of bits (section 5.1.1).
    var end: [UInt8] = [0x80]
    end += [UInt8](repeating: 0, count: (2 * Self.blockSize - 9 - rest.count) % Self.blockSize)
    for shift in 0..<8 { end.append(UInt8(truncatingIfNeeded: bits >> UInt64(56 - 8 * shift))) }
    update(end)
    var text: [UInt8] = []
    text.reserveCapacity(64)
    for word in hash {
      for shift in 0..<8 {
        let digit = UInt8(truncatingIfNeeded: word >> UInt32(28 - 4 * shift)) & 0xf
        text.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit)
      }
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// Adds whole blocks (section 6.2.2).
  private static func add(_ blocks: UnsafeRawBufferPointer, to hash: inout [UInt32]) {
    let constants = constants
    var words = [UInt32](repeating: 0, count: 64)
    for start in stride(from: 0, to: blocks.count, by: blockSize) {
      for index in 0..<16 {
        words[index] = UInt32(bigEndian: blocks.loadUnaligned(fromByteOffset: start + 4 * index, as: UInt32.self))
      }
      for index in 16..<64 {
        let (old, new) = (words[index - 15], words[index - 2])
        let first = rotate(old, 7) ^ rotate(old, 18) ^ old >> 3
        let second = rotate(new, 17) ^ rotate(new, 19) ^ new >> 10
        words[index] = words[index - 16] &+ first &+ words[index - 7] &+ second
      }
      var (a, b, c, d, e, f, g, h) = (hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7])
      for index in 0..<64 {
        let chosen = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c)
        let first = h &+ (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) &+ chosen &+ constants[index] &+ words[index]
        let second = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) &+ majority
        (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
      }
      for (index, word) in [a, b, c, d, e, f, g, h].enumerated() { hash[index] &+= word }
    }
  }

  private static func rotate(_ word: UInt32, _ bits: UInt32) -> UInt32 { word >> bits | word << (32 - bits) }

  /// Section 4.2.2.
  private static let constants: [UInt32] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
  ]
}
