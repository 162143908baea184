import Testing

@testable import KVM

/// The kernel's counters of exits (KVM_GET_STATS_FD).
struct ExitCountTests {
  /// The contents of the descriptor, as kvm_stats_read (virt/kvm/binary_stats.c) makes them.
  private func contents(
    _ counters: [(name: String, flags: UInt32, value: UInt64)], nameSize: UInt32 = 48, size: UInt16 = 1
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    func put(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.littleEndian) { bytes += Array($0) } }
    func put(_ name: String) {
      bytes += Array(name.utf8) + [UInt8](repeating: 0, count: Int(nameSize) - name.utf8.count)
    }
    let descriptors = 24 + nameSize
    for word in [
      0, nameSize, UInt32(counters.count), 24, descriptors, descriptors + UInt32(counters.count) * (16 + nameSize),
    ] {
      put(word)
    }
    put("kvm-1/vcpu-0")
    for (index, counter) in counters.enumerated() {
      put(counter.flags)
      put(Int16(0))
      put(size)
      put(UInt32(index * 8))
      put(UInt32(0))
      put(counter.name)
    }
    for counter in counters { put(counter.value) }
    return bytes
  }

  private func counts(_ bytes: [UInt8]) -> ExitCounts { bytes.withUnsafeBytes { ExitCounts($0) } }

  @Test func kindsHaveTheKernelsNames() {
    let counts = counts(
      contents([
        ("halt_successful_poll", 0, 1), ("hvc_exit_stat", 0, 20), ("mmio_exit_user", 0, 3), ("signal_exits", 0, 4),
        ("instr_illegal_exits", 0, 5), ("exits", 0, 40), ("blocking_exits", 1, 6),
      ]))
    #expect(counts.all == 40)
    #expect(counts.kinds.map(\.name) == ["hvc", "mmio_user", "signal", "instr_illegal"])
    #expect(counts.kinds.map(\.count) == [20, 3, 4, 5])
  }

  @Test func contentsThatAreCutOffAreReadAsFarAsTheyGo() {
    let whole = contents([("wfi_exit_stat", 0, 1), ("exits", 0, 2)])
    for length in 0..<whole.count { #expect(counts(Array(whole[..<length])).all == nil) }
    #expect(counts(whole).all == 2)
  }

  @Test func offsetsAreChecked() {
    let whole = contents([("exits", 0, 2)])
    // Every byte of the header and the descriptor has its largest value.
    for index in 0..<(24 + 48 + 16) {
      var bytes = whole
      bytes[index] = 0xff
      #expect([nil, 2].contains(counts(bytes).all) || index >= 24 + 48, "\(index)")
    }
    #expect(counts(contents([("exits", 0, 2)], size: 2)).all == nil)
  }
}
