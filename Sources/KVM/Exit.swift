import CLinux

/// Why KVM_RUN returned: KVM_EXIT_… with its data from the run page (api.rst 5, "The kvm_run structure").
public enum Exit: Equatable, Sendable {
  /// arm64: an HVC or SMC that the filter forwards (KVM_EXIT_HYPERCALL), with its function identifier. PC is past it.
  case hypercall(function: UInt64)
  /// riscv64: an ECALL from VS mode that the kernel does not handle itself (KVM_EXIT_RISCV_SBI).
  case sbi(extension: UInt64, function: UInt64)
  /// A load or store outside of memory (KVM_EXIT_MMIO). `length` is in bytes, at most 8; `value` is the value of a store.
  case mmio(address: UInt64, length: Int, isWrite: Bool, value: UInt64)
  /// arm64: a load or store outside of memory by an instruction that the CPU does not describe, such as LDP
  /// (KVM_EXIT_ARM_NISV). It is not executed: without `VCPU.injectAbort` the guest repeats it.
  case accessWithoutSyndrome(address: UInt64, isWrite: Bool)
  /// A kick, a signal, or `requestExit`.
  case interrupted
  /// The guest requested a shutdown or reset (KVM_EXIT_SYSTEM_EVENT): KVM_SYSTEM_EVENT_SHUTDOWN 1, _RESET 2, _CRASH 3.
  case systemEvent(type: UInt32)
  /// The hardware refused to enter the guest (KVM_EXIT_FAIL_ENTRY).
  case failEntry(reason: UInt64)
  /// An error within KVM (KVM_EXIT_INTERNAL_ERROR).
  case internalError(suberror: UInt32)
  /// Any other exit, by its number.
  case unknown(reason: UInt32)

  @inline(__always)
  init(_ run: UnsafeMutablePointer<kvm_run>) {
    let reason = run.pointee.exit_reason
    switch reason {
    case LINUX_KVM_EXIT_HYPERCALL.rawValue:
      self = .hypercall(function: run.pointee.hypercall.nr)
    case LINUX_KVM_EXIT_RISCV_SBI.rawValue:
      self = .sbi(
        extension: UInt64(run.pointee.riscv_sbi.extension_id), function: UInt64(run.pointee.riscv_sbi.function_id))
    default:
      self.init(rare: run, reason: reason)
    }
  }

  @inline(never)
  private init(rare run: UnsafeMutablePointer<kvm_run>, reason: UInt32) {
    switch reason {
    case LINUX_KVM_EXIT_MMIO.rawValue:
      let mmio = run.pointee.mmio
      let length = Int(min(mmio.len, 8))
      // Guest and host are both little-endian.
      let data = withUnsafeBytes(of: mmio.data) { $0.loadUnaligned(as: UInt64.self) }
      let value = length == 8 ? data : data & (1 << UInt64(length * 8) - 1)
      self = .mmio(address: mmio.phys_addr, length: length, isWrite: mmio.is_write != 0, value: value)
    case LINUX_KVM_EXIT_ARM_NISV.rawValue:
      let access = run.pointee.arm_nisv
      // ISS.WnR (DDI 0487, D24.2.40).
      self = .accessWithoutSyndrome(address: access.fault_ipa, isWrite: access.esr_iss & 1 << 6 != 0)
    case LINUX_KVM_EXIT_INTR.rawValue:
      self = .interrupted
    case LINUX_KVM_EXIT_SYSTEM_EVENT.rawValue:
      self = .systemEvent(type: run.pointee.system_event.type)
    case LINUX_KVM_EXIT_FAIL_ENTRY.rawValue:
      self = .failEntry(reason: run.pointee.fail_entry.hardware_entry_failure_reason)
    case LINUX_KVM_EXIT_INTERNAL_ERROR.rawValue:
      self = .internalError(suberror: run.pointee.internal.suberror)
    default:
      self = .unknown(reason: reason)
    }
  }
}
