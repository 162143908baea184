/// The two classes of ELF files, of 32 and 64 bits: the same fields, of other sizes and in other places (System V ABI, "Object Files";
/// elf(5)).
enum ELFClass {
  case narrow, wide

  /// From EI_CLASS; nil for any other number.
  init?(_ number: UInt8) {
    switch number {
    case 1: self = .narrow
    case 2: self = .wide
    default: return nil
    }
  }

  /// Sizes in bytes.
  var fileHeaderSize: Int { pick(52, 64) }
  var programHeaderSize: Int { pick(32, 56) }
  var sectionHeaderSize: Int { pick(40, 64) }
  var symbolSize: Int { pick(16, 24) }
  var dynamicSize: Int { pick(8, 16) }

  /// The value for this class.
  @inline(__always)
  func pick(_ narrow: Int, _ wide: Int) -> Int { self == .narrow ? narrow : wide }

  /// An address, an offset or a size, which has as many bits as the class says.
  /// - Parameters:
  ///   - bytes: with the whole field.
  ///   - structure: offset of the structure with the field.
  @inline(__always)
  func word(_ bytes: UnsafeRawBufferPointer, _ structure: Int, _ narrow: Int, _ wide: Int) -> UInt64 {
    self == .narrow
      ? UInt64(bytes.loadUnaligned(fromByteOffset: structure + narrow, as: UInt32.self))
      : bytes.loadUnaligned(fromByteOffset: structure + wide, as: UInt64.self)
  }
}
