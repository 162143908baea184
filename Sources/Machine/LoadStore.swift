/// An integer load or store, decoded: the memory that it accesses, and what becomes of the registers. The monitor carries it out
/// where the address is a device's.
public struct LoadStore: Equatable, Sendable {
  /// How a load fills its register.
  public enum Extension: Equatable, Sendable {
    /// With zeros.
    case zero
    /// With the sign, up to 32 bits, and with zeros from there (LDRSB and LDRSH with a W register).
    case signTo32
    /// With the sign.
    case sign
  }

  /// A base register, by its number in the trap frame, and its new value.
  public struct WriteBack: Equatable, Sendable {
    /// The number of the register.
    public let register: Int
    /// Its value after the access.
    public let value: UInt64
  }

  /// Whether it stores.
  public let isStore: Bool
  /// Address of the first byte.
  public let address: UInt64
  /// Bytes of each register: 1, 2, 4 or 8.
  public let width: Int
  /// Number of the register that is loaded or stored; it may be `Facts.zeroRegister`.
  public let register: Int
  /// The second register of a pair, whose bytes follow those of the first.
  public let second: Int?
  /// The base register's new value, of an instruction with write-back.
  public let writeBack: WriteBack?
  /// The size of the instruction, in bytes.
  public let length: UInt64
  private let fill: Extension

  init(
    isStore: Bool, address: UInt64, width: Int, register: Int, second: Int? = nil, fill: Extension = .zero,
    writeBack: WriteBack? = nil, length: UInt64 = 4
  ) {
    self.isStore = isStore
    self.address = address
    self.width = width
    self.register = register
    self.second = second
    self.fill = fill
    self.writeBack = writeBack
    self.length = length
  }

  /// The bytes that it accesses; nil where they would wrap around the address space.
  public var range: Range<UInt64>? {
    let (end, wraps) = address.addingReportingOverflow(UInt64(second == nil ? width : 2 * width))
    return wraps ? nil : address..<end
  }

  /// The low bytes of a register, as many as it stores.
  public func stored(_ value: UInt64) -> UInt64 { width == 8 ? value : value & (1 << UInt64(8 * width) - 1) }

  /// The new value of a register.
  /// - Parameter value: what was loaded, in its low bytes.
  public func loaded(_ value: UInt64) -> UInt64 {
    let shift = UInt64(64 - 8 * width)
    let signed = UInt64(bitPattern: Int64(bitPattern: value << shift) >> Int64(shift))
    switch fill {
    case .zero: return stored(value)
    case .signTo32: return signed & 0xffff_ffff
    case .sign: return signed
    }
  }
}

extension Architecture {
  /// Decodes an integer load or store.
  ///
  /// Those of arm64: LDR, LDRB, LDRH, LDRSB, LDRSH, LDRSW, STR, STRB and STRH with every kind of address, LDUR, LDTR and the like,
  /// the pairs LDP, LDPSW, STP, LDNP and STNP, and those with acquire and release semantics, LDAR, LDLAR, LDAPR, LDAPUR, STLR, STLLR
  /// and STLUR. Those of riscv64: the base instructions and their compressed forms, of Zcb too; LR.W and LR.D, as loads, of which
  /// the reservation is lost; AMOSWAP whose result is not used, as a store. Those of AArch32, in A32: LDR, LDRB,
  /// LDRH, LDRSB, LDRSH, LDRD, STR, STRB, STRH and STRD, with every kind of address but RRX.
  /// - Parameters:
  ///   - instruction: its 32 bits; on riscv64 a compressed one is the low half.
  ///   - pc: its address.
  ///   - status: the trap frame's status word, which in AArch32 says whether the instruction is in A32 or T32.
  ///   - register: the value of a general register by its number in the trap frame.
  /// - Returns: nil for any other instruction, and where its effect is unpredictable.
  public func loadStore(
    instruction: UInt32, pc: UInt64, status: UInt64, register: (Int) -> UInt64
  ) -> LoadStore? {
    switch self {
    case .arm64: ARM64.loadStore(instruction, pc: pc, register)
    case .riscv64: RISCV64.loadStore(instruction, register)
    case .aarch32: AArch32.loadStore(instruction, pc: pc, status: status, register)
    }
  }
}

/// The fields of an instruction.
struct InstructionFields {
  let word: UInt32

  /// A field of `count` bits from bit `low` on.
  func callAsFunction(_ low: Int, _ count: Int = 1) -> Int { Int(word >> UInt32(low)) & (1 << count - 1) }

  /// The same, as a signed number in 64 bits.
  func signed(_ low: Int, _ count: Int) -> UInt64 {
    UInt64(bitPattern: (Int64(self(low, count)) << Int64(64 - count)) >> Int64(64 - count))
  }
}
