/// The ISA extensions of a RISC-V vCPU, and their names in a device tree (riscv,isa).
public struct RISCVExtensions: Equatable, Sendable {
  /// KVM's bitmaps: bit n of word m is extension m * 64 + n (KVM_REG_RISCV_ISA_MULTI_EN).
  public var enabled: [UInt64]

  /// Id of the register with a bitmap.
  public static func register(_ word: Int) -> UInt64 { 0x8030_0000_0701_0000 | UInt64(word) }
  /// Number of bitmaps.
  public static let words = 2

  /// Extensions from KVM's bitmaps.
  public init(enabled: [UInt64]) { self.enabled = enabled }

  /// The names by KVM's numbers (enum KVM_RISCV_ISA_EXT_ID, which only grows); newer extensions are left out.
  private static let names: StaticString = """
    a c d f h i m svpbmt sstc svinval zihintpause zicbom zicboz zbb ssaia v svnapot zba zbs zicntr zicsr zifencei zihpm \
    smstateen zicond zbc zbkb zbkc zbkx zknd zkne zknh zkr zksed zksh zkt zvbb zvbc zvkb zvkg zvkned zvknha zvknhb \
    zvksed zvksh zvkt zfh zfhmin zihintntl zvfh zvfhmin zfa ztso zacas sscofpmf zimop zca zcb zcd zcf zcmop zawrs smnpm \
    ssnpm svade svadu svvptc zabha ziccrse zaamo zalrsc zicbop zfbfmin zvfbfmin zvfbfwma zclsd zilsd zalasr
    """

  /// The ISA string: single-letter extensions in canonical order, then the others.
  public var isa: String {
    var letters: [UInt8] = []
    var others = ""
    for (number, name) in Self.names.description.split(separator: " ").enumerated() {
      guard number / 64 < enabled.count, enabled[number / 64] >> UInt64(number % 64) & 1 != 0 else { continue }
      if name.utf8.count == 1 { letters.append(contentsOf: name.utf8) } else { others += "_" + name }
    }
    let order: StaticString = "imafdqcbvh"
    let sorted = order.description.utf8.filter { letters.contains($0) }
    return "rv64" + String(decoding: sorted, as: UTF8.self) + others
  }
}
