import Platform

/// RISC-V's platform-level interrupt controller (RISC-V PLIC specification 1.0.0), for hosts without an in-kernel controller: one
/// supervisor-mode context for each hart; sources 1 to 31.
///
/// Sendable because a lock protects all mutable state.
public final class PLIC: MMIODevice, @unchecked Sendable {
  private struct Hart {
    var enabled: UInt32 = 0
    var threshold: UInt32 = 0
    var isSignalled = false
  }

  private let lock = Lock()
  private var harts: [Hart]
  private var priorities = [UInt32](repeating: 0, count: Int(sources) + 1)
  // Bit n is source n.
  private var levels: UInt32 = 0
  private var pending: UInt32 = 0
  private var claimed: UInt32 = 0
  /// Sets or clears a hart's external interrupt.
  private let signal: @Sendable (_ hart: Int, _ isSet: Bool) -> Void

  /// The highest source.
  public static let sources: UInt32 = 31
  /// Size of its address range, in bytes.
  public static let windowSize: UInt64 = 0x400_0000

  /// - Parameters:
  ///   - harts: number of harts.
  ///   - signal: called when a hart's external interrupt changes, under the lock.
  public init(harts: Int, signal: @escaping @Sendable (_ hart: Int, _ isSet: Bool) -> Void) {
    self.harts = [Hart](repeating: Hart(), count: harts)
    self.signal = signal
  }

  /// The interrupt line of a source, 1 to 31.
  public func line(_ source: UInt32) -> any InterruptLine { Line(self, source) }

  private final class Line: InterruptLine {
    private let plic: PLIC
    private let bit: UInt32

    init(_ plic: PLIC, _ source: UInt32) {
      precondition((1...PLIC.sources).contains(source))
      self.plic = plic
      bit = 1 << source
    }

    func pulse() { plic.change { $0.pending |= bit } }
    func setLevel(_ isHigh: Bool) {
      plic.change { plic in
        if isHigh {
          plic.levels |= bit
          plic.pending |= bit
        } else {
          plic.levels &= ~bit
          plic.pending &= ~bit
        }
      }
    }
  }

  private func change(_ body: (PLIC) -> Void) {
    lock.withLock {
      body(self)
      update()
    }
  }

  // MARK: Registers

  /// Offsets (PLIC specification, "Memory Map").
  private enum Register {
    static let pending: UInt64 = 0x1000
    static let enable: UInt64 = 0x2000
    static let enableStep: UInt64 = 0x80
    static let context: UInt64 = 0x20_0000
    static let contextStep: UInt64 = 0x1000
  }

  private enum Place {
    case priority(Int)
    case pending
    case enable(hart: Int)
    case threshold(hart: Int)
    case claim(hart: Int)
  }

  /// The register at an offset; nil for none.
  private func place(_ offset: UInt64) -> Place? {
    if offset >= Register.context {
      let hart = (offset - Register.context) / Register.contextStep
      guard hart < UInt64(harts.count) else { return nil }
      switch offset % Register.contextStep {
      case 0: return .threshold(hart: Int(hart))
      case 4: return .claim(hart: Int(hart))
      default: return nil
      }
    }
    if offset >= Register.enable {
      let hart = (offset - Register.enable) / Register.enableStep
      // One word has 32 sources.
      guard hart < UInt64(harts.count), offset % Register.enableStep == 0 else { return nil }
      return .enable(hart: Int(hart))
    }
    if offset == Register.pending { return .pending }
    guard offset / 4 <= UInt64(Self.sources), offset % 4 == 0, offset > 0 else { return nil }
    return .priority(Int(offset / 4))
  }

  /// Handles a load from a register.
  public func load(_ offset: UInt64, length: Int) -> UInt64 {
    lock.withLock {
      guard let place = place(offset) else { return 0 }
      switch place {
      case .priority(let source): return UInt64(priorities[source])
      case .pending: return UInt64(pending)
      case .enable(let hart): return UInt64(harts[hart].enabled)
      case .threshold(let hart): return UInt64(harts[hart].threshold)
      case .claim(let hart): return UInt64(claim(hart))
      }
    }
  }

  /// Handles a store to a register.
  public func store(_ offset: UInt64, length: Int, value: UInt64) {
    let value = UInt32(truncatingIfNeeded: value)
    lock.withLock {
      guard let place = place(offset) else { return }
      switch place {
      case .priority(let source): priorities[source] = min(value, 7)
      case .pending: return
      // Source 0 does not exist.
      case .enable(let hart): harts[hart].enabled = value & ~1
      case .threshold(let hart): harts[hart].threshold = min(value, 7)
      case .claim(let hart):
        guard value <= Self.sources, harts[hart].enabled & 1 << value != 0 else { return }
        claimed &= ~(1 << value)
        pending |= levels & 1 << value
      }
      update()
    }
  }

  // MARK: Arbitration

  /// The source that a hart must serve first: the one with the highest priority, then with the lowest number; 0 for none.
  private func best(_ hart: Int, above threshold: UInt32) -> UInt32 {
    var candidates = pending & ~claimed & harts[hart].enabled
    var best: UInt32 = 0
    var highest = threshold
    while candidates != 0 {
      let source = UInt32(candidates.trailingZeroBitCount)
      candidates &= candidates - 1
      if priorities[Int(source)] > highest {
        highest = priorities[Int(source)]
        best = source
      }
    }
    return best
  }

  private func claim(_ hart: Int) -> UInt32 {
    // The threshold does not apply here ("Interrupt Claim Process").
    let source = best(hart, above: 0)
    if source != 0 {
      pending &= ~(1 << source)
      claimed |= 1 << source
    }
    update()
    return source
  }

  private func update() {
    for hart in harts.indices {
      let isSet = best(hart, above: harts[hart].threshold) != 0
      if isSet != harts[hart].isSignalled {
        harts[hart].isSignalled = isSet
        signal(hart, isSet)
      }
    }
  }
}
