import CLinux
import Machine
import Platform

/// A vCPU, which runs guest code until an exit.
///
/// One thread at a time may use it; only `requestExit` may be called from other threads.
public struct VCPU: ~Copyable {
  private let runPage: Mapping
  private let descriptor: OwnedFD
  private let run: UnsafeMutablePointer<kvm_run>
  /// The descriptor for the run path on Linux; -1 with another kernel.
  private let linuxDescriptor: Int32
  /// The other kernel.
  private let standIn: StandIn?

  /// An object, so that the run path loads only a pointer.
  private final class StandIn {
    let kernel: any Kernel
    let descriptor: Int32

    init(_ kernel: any Kernel, _ descriptor: Int32) {
      self.kernel = kernel
      self.descriptor = descriptor
    }
  }

  init(_ descriptor: consuming OwnedFD, runPageSize: Int) throws(KVMError) {
    // If the kernel reported a smaller page than the structure, access to its fields would be out of bounds.
    guard runPageSize >= MemoryLayout<kvm_run>.size else { throw .failed(.getVCPUMapSize, .invalid) }
    let page: Mapping
    do { page = try Mapping(shared: descriptor, count: runPageSize) } catch { throw .failed(.mapRunPage, error) }
    // The page exists as long as this value, and KVM has a struct kvm_run at its start.
    run = page.start.bindMemory(to: kvm_run.self, capacity: 1)
    runPage = page
    let isLinux = descriptor.kernel.isLinux
    linuxDescriptor = isLinux ? descriptor.number : -1
    standIn = isLinux ? nil : StandIn(descriptor.kernel, descriptor.number)
    self.descriptor = descriptor
  }

  /// Sets a register (KVM_SET_ONE_REG, api.rst 4.68). Costs about 1,500 instructions: not for the run path.
  /// - Parameters:
  ///   - id: of a 64-bit register, from `ARM64` or `RISCV64`.
  /// - Throws: `KVMError.failed`; ENOENT if the host's vCPUs do not have the register, or it has another size.
  public func setRegister(_ id: UInt64, _ value: UInt64) throws(KVMError) {
    try transfer(.setOneRegister, LINUX_KVM_SET_ONE_REG, id, value)
  }

  /// Reads a register (KVM_GET_ONE_REG, api.rst 4.69). Costs about 1,500 instructions: not for the run path.
  public func register(_ id: UInt64) throws(KVMError) -> UInt64 {
    try transfer(.getOneRegister, LINUX_KVM_GET_ONE_REG, id, 0)
  }

  /// Reads a register of any size.
  /// - Parameters:
  ///   - id: includes the register's size.
  ///   - target: receives the bytes, in its low addresses; at least as large as the register.
  package func readRegister(_ id: UInt64, into target: UnsafeMutableRawBufferPointer) throws(KVMError) {
    let size = 1 << Int(id >> 52 & 15)
    precondition(size <= target.count)
    var register = kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: target.baseAddress)))
    try descriptor.call(.getOneRegister, LINUX_KVM_GET_ONE_REG, &register)
  }

  /// Sets a register of any size.
  /// - Parameter id: includes the register's size; `source` has at least as many bytes.
  package func writeRegister(_ id: UInt64, from source: UnsafeMutableRawBufferPointer) throws(KVMError) {
    precondition(1 << Int(id >> 52 & 15) <= source.count)
    var register = kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: source.baseAddress)))
    try descriptor.call(.setOneRegister, LINUX_KVM_SET_ONE_REG, &register)
  }

  @discardableResult
  private func transfer(_ call: KVMError.Call, _ request: UInt, _ id: UInt64, _ value: UInt64) throws(KVMError)
    -> UInt64
  {
    // KVM moves as many bytes as the id says.
    guard id >> 52 & 15 <= 3 else { throw .failed(call, .noEntry) }
    var value = value
    let kernel = descriptor.kernel
    let number = descriptor.number
    let result = withUnsafeMutablePointer(to: &value) { value in
      var register = kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: value)))
      return withUnsafeMutablePointer(to: &register) { register in
        uninterrupted { kernel.ioctl(number, request, UInt(bitPattern: register)) }
      }
    }
    if let errno = Errno(result: result) { throw .failed(call, errno) }
    return value
  }

  /// Runs the guest on the calling thread until an exit (KVM_RUN, api.rst 4.10). Kicks of the thread stop this vCPU.
  ///
  /// The kernel first completes the MMIO access or hypercall of the previous exit, with the value of `answer`.
  /// - Returns: the exit; `.interrupted` after a kick or a signal, with no effect on the guest.
  /// - Throws: `KVMError.failed`: EFAULT for guest memory that is not accessible, ENOSYS and EOPNOTSUPP for instructions that
  ///   KVM does not emulate.
  @inline(__always)
  public func enter() throws(KVMError) -> Exit { try runGuest() ? Exit(run) : .interrupted }

  /// The same, for a caller that expects calls with one number.
  /// - Parameters:
  ///   - hypercall: arm64: the function identifier of `Exit.hypercall`.
  ///   - sbi: riscv64: the extension ID of `Exit.sbi`.
  @inline(__always)
  public func enter(awaiting hypercall: UInt64, sbi: UInt64) throws(KVMError) -> Awaited {
    guard try runGuest() else { return .other(.interrupted) }
    let reason = run.pointee.exit_reason
    if _fastPath(reason == LINUX_KVM_EXIT_RISCV_SBI.rawValue) {
      if run.pointee.riscv_sbi.extension_id == sbi { return .sbi }
    } else if reason == LINUX_KVM_EXIT_HYPERCALL.rawValue, run.pointee.hypercall.nr == hypercall {
      return .hypercall
    }
    return .other(Exit(run))
  }

  /// The result of an entry for which a call is expected.
  public enum Awaited {
    /// The expected hypercall.
    case hypercall
    /// The expected SBI call.
    case sbi
    /// Any other exit.
    case other(Exit)
  }

  /// - Returns: whether there was an exit; not after a kick or a signal.
  @inline(__always)
  private func runGuest() throws(KVMError) -> Bool {
    linux_kick_target(run)
    var result = linux_ioctl(linuxDescriptor, LINUX_KVM_RUN, 0)
    if result >= 0 { return true }
    // Linux returns an error for the descriptor -1: checking only then costs the run path nothing.
    if let standIn {
      result = standIn.kernel.ioctl(standIn.descriptor, LINUX_KVM_RUN, 0)
      if result >= 0 { return true }
    }
    if result == -Int(EINTR) || result == -Int(EAGAIN) { return false }
    throw .failed(.run, Errno(Int32(truncatingIfNeeded: -result)))
  }

  /// Sets the result of the load of the last exit (`Exit.mmio`): the guest gets as many low bytes of the value as it loads.
  public func completeLoad(_ value: UInt64) {
    withUnsafeMutableBytes(of: &run.pointee.mmio.data) { $0.storeBytes(of: value, as: UInt64.self) }
  }

  /// arm64: the next entry begins with an external data abort for the access of the last exit (`ext_dabt_pending` of
  /// KVM_SET_VCPU_EVENTS, api.rst 4.32; since Linux 5.5, as `Exit.accessWithoutSyndrome` is).
  /// - Throws: `KVMError.failed`.
  public func injectAbort() throws(KVMError) {
    var events = linux_vcpu_events()
    events.ext_dabt_pending = 1
    try descriptor.call(.setVCPUEvents, LINUX_KVM_SET_VCPU_EVENTS, &events)
  }

  /// The kernel's counters of its exits since it was made (KVM_GET_STATS_FD, api.rst 4.133; since Linux 5.14). Not for the run path.
  /// - Throws: `KVMError.failed`.
  package func exitCounts() throws(KVMError) -> ExitCounts { try ExitCounts(of: descriptor) }

  /// riscv64: the vCPU's external interrupt; valid while the vCPU exists.
  public var externalInterrupt: ExternalInterrupt {
    ExternalInterrupt(descriptor: descriptor.number, kernel: descriptor.kernel)
  }

  /// riscv64: argument 0 to 5 of the SBI call of the last exit (`Exit.sbi`).
  @inline(__always)
  public func sbiArgument(_ number: Int) -> UInt64 {
    withUnsafeBytes(of: &run.pointee.riscv_sbi.args) { $0.load(fromByteOffset: number * 8, as: UInt64.self) }
  }

  /// riscv64: sets the call's result; without it the guest gets SBI_ERR_NOT_SUPPORTED.
  @inline(__always)
  public func completeSBI(error: Int64, value: UInt64) {
    run.pointee.riscv_sbi.ret.0 = UInt(bitPattern: Int(error))
    run.pointee.riscv_sbi.ret.1 = UInt(value)
  }

  /// From now on a kick of the calling thread ends the current or next entry of this vCPU, as in `enter`.
  public func aim() { linux_kick_target(run) }

  /// Kicks of the thread no longer affect this vCPU: to be called before the vCPU ends or moves to another thread.
  public func leave() { linux_kick_target(nil) }

  /// The vCPU that kicks of a thread reach, for a thread that runs another one for a while.
  public struct KickTarget {
    fileprivate let run: UnsafeMutablePointer<kvm_run>?

    /// That of the calling thread, which may be none.
    public static var current: KickTarget { KickTarget(run: linux_kick_target_now()) }
    /// No vCPU.
    public static var none: KickTarget { KickTarget(run: nil) }
  }

  /// Kicks of the thread reach another vCPU, or none, instead of this one. The other one's next entry returns at once: a kick may
  /// have come for it meanwhile. It must still be there.
  public func leave(to target: KickTarget) {
    linux_kick_target(target.run)
    if let run = target.run { linux_set_immediate_exit(run, 1) }
  }

  /// Makes the current or next `enter` return at once, with `.interrupted`; from any thread. If the guest is running, a signal to
  /// its thread must follow.
  public func requestExit() { linux_set_immediate_exit(run, 1) }

  /// Undoes `requestExit` or a kick.
  public func clearExitRequest() { linux_set_immediate_exit(run, 0) }
}
