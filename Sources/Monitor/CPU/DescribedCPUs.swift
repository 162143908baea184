import DeviceTree
import KVM
import Machine

extension VCPU {
  /// Describes the CPUs of a machine, which are all equal, for the device tree.
  borrowing func describe(count: Int, _ architecture: Architecture) throws(KVMError) -> MachineDescription.CPUs {
    var described = MachineDescription.CPUs(count: count)
    guard architecture == .riscv64 else { return described }
    var enabled: [UInt64] = []
    for word in 0..<RISCVExtensions.words {
      let id = RISCVExtensions.register(word)
      // The second word was added to KVM later than the register.
      enabled.append(word == 0 ? try register(id) : (try? register(id)) ?? 0)
    }
    described.isa = RISCVExtensions(enabled: enabled).isa
    described.timebase = UInt32(truncatingIfNeeded: try register(RISCV64.timebase))
    if let size = try? register(RISCV64.cacheBlockSize) { described.cacheBlock = UInt32(truncatingIfNeeded: size) }
    if let size = try? register(RISCV64.zeroBlockSize) { described.zeroBlock = UInt32(truncatingIfNeeded: size) }
    return described
  }
}
