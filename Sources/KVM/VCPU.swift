import CLinux
import Machine
import Platform

/// A virtual processor: runs the guest until something leaves it.
///
/// One thread at a time runs it; only `requestExit` may be called from others.
public struct VCPU: ~Copyable {
  private let runPage: Mapping
  private let descriptor: OwnedFD
  private let run: UnsafeMutablePointer<kvm_run>
  /// What the run path hands to Linux; -1 where another kernel stands in its place.
  private let linuxDescriptor: Int32
  /// That other kernel.
  private let standIn: StandIn?

  /// An object, so that the run path, which loads all that it might need, loads a pointer at most.
  private final class StandIn {
    let kernel: any Kernel
    let descriptor: Int32

    init(_ kernel: any Kernel, _ descriptor: Int32) {
      self.kernel = kernel
      self.descriptor = descriptor
    }
  }

  init(_ descriptor: consuming OwnedFD, runPageSize: Int) throws(KVMError) {
    // A kernel that claims a smaller page than the structure has would make every field of it unsafe to read.
    guard runPageSize >= MemoryLayout<kvm_run>.size else { throw .failed(.getVCPUMapSize, .invalid) }
    let page: Mapping
    do { page = try Mapping(shared: descriptor, count: runPageSize) } catch { throw .failed(.mapRunPage, error) }
    // The page lives as long as this value, and KVM lays a struct kvm_run at its start.
    run = page.start.bindMemory(to: kvm_run.self, capacity: 1)
    runPage = page
    let isLinux = descriptor.kernel.isLinux
    linuxDescriptor = isLinux ? descriptor.number : -1
    standIn = isLinux ? nil : StandIn(descriptor.kernel, descriptor.number)
    self.descriptor = descriptor
  }

  /// Sets one register (KVM_SET_ONE_REG, api.rst 4.68). About 1,500 instructions: not for the run path.
  /// - Parameters:
  ///   - id: of a 64-bit register, from `ARM64` or `RISCV64`.
  /// - Throws: `KVMError.failed`; ENOENT where the host's vCPUs lack it.
  public func setRegister(_ id: UInt64, _ value: UInt64) throws(KVMError) {
    try transfer(.setOneRegister, LINUX_KVM_SET_ONE_REG, id, value)
  }

  /// Reads one register (KVM_GET_ONE_REG, api.rst 4.69). About 1,500 instructions: not for the run path.
  public func register(_ id: UInt64) throws(KVMError) -> UInt64 {
    try transfer(.getOneRegister, LINUX_KVM_GET_ONE_REG, id, 0)
  }

  /// Reads a register of any size.
  /// - Parameters:
  ///   - id: says how many bytes the register has.
  ///   - target: takes the bytes, in its low addresses; must have room for them.
  package func readRegister(_ id: UInt64, into target: UnsafeMutableRawBufferPointer) throws(KVMError) {
    let size = 1 << Int(id >> 52 & 15)
    precondition(size <= target.count)
    var register = kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: target.baseAddress)))
    try descriptor.call(.getOneRegister, LINUX_KVM_GET_ONE_REG, &register)
  }

  /// Sets a register of any size from as many bytes, or more.
  /// - Parameter id: says how many bytes the register has.
  package func writeRegister(_ id: UInt64, from source: UnsafeMutableRawBufferPointer) throws(KVMError) {
    precondition(1 << Int(id >> 52 & 15) <= source.count)
    var register = kvm_one_reg(id: id, addr: UInt64(UInt(bitPattern: source.baseAddress)))
    try descriptor.call(.setOneRegister, LINUX_KVM_SET_ONE_REG, &register)
  }

  @discardableResult
  private func transfer(_ call: KVMError.Call, _ request: UInt, _ id: UInt64, _ value: UInt64) throws(KVMError)
    -> UInt64
  {
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

  /// Runs the guest until it leaves (KVM_RUN, api.rst 4.10), on the calling thread, whose kicks reach this vCPU meanwhile.
  ///
  /// An MMIO or hypercall that the last exit handed over is completed first, by the kernel, with what `answer` put there.
  /// - Returns: why it left; `.interrupted` after a kick or a signal, in which case nothing was lost.
  /// - Throws: `KVMError.failed` where the kernel cannot run it: EFAULT for memory that cannot be had, ENOSYS and
  ///   EOPNOTSUPP for instructions that KVM does not emulate.
  @inline(__always)
  public func enter() throws(KVMError) -> Exit { try runGuest() ? Exit(run) : .interrupted }

  /// The same for who waits for a call by one certain number.
  /// - Parameters:
  ///   - hypercall: arm64: the function of `Exit.hypercall`.
  ///   - sbi: riscv64: the extension of `Exit.sbi`.
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

  /// What ended an entry by which a call was awaited.
  public enum Awaited {
    case hypercall
    case sbi
    case other(Exit)
  }

  /// - Returns: whether there was an exit; not after a kick or a signal.
  @inline(__always)
  private func runGuest() throws(KVMError) -> Bool {
    linux_kick_target(run)
    var result = linux_ioctl(linuxDescriptor, LINUX_KVM_RUN, 0)
    if result >= 0 { return true }
    // Linux has refused the -1: to find that out here costs the run path nothing.
    if let standIn {
      result = standIn.kernel.ioctl(standIn.descriptor, LINUX_KVM_RUN, 0)
      if result >= 0 { return true }
    }
    if result == -Int(EINTR) || result == -Int(EAGAIN) { return false }
    throw .failed(.run, Errno(Int32(truncatingIfNeeded: -result)))
  }

  /// Answers the load that the last exit was about (`Exit.mmio`): the guest gets as many low bytes of the value as it loads.
  public func completeLoad(_ value: UInt64) {
    withUnsafeMutableBytes(of: &run.pointee.mmio.data) { $0.storeBytes(of: value, as: UInt64.self) }
  }

  /// riscv64: its external interrupt; good while the vCPU lives.
  public var externalInterrupt: ExternalInterrupt {
    ExternalInterrupt(descriptor: descriptor.number, kernel: descriptor.kernel)
  }

  /// riscv64: an argument, 0 to 5, of the SBI call that the last exit was about (`Exit.sbi`).
  @inline(__always)
  public func sbiArgument(_ number: Int) -> UInt64 {
    withUnsafeBytes(of: &run.pointee.riscv_sbi.args) { $0.load(fromByteOffset: number * 8, as: UInt64.self) }
  }

  /// riscv64: answers it; without this the guest gets SBI_ERR_NOT_SUPPORTED.
  @inline(__always)
  public func completeSBI(error: Int64, value: UInt64) {
    run.pointee.riscv_sbi.ret.0 = UInt(bitPattern: Int(error))
    run.pointee.riscv_sbi.ret.1 = UInt(value)
  }

  /// Lets kicks of the calling thread end the present or next entry of this vCPU from now on, as `enter` does.
  public func aim() { linux_kick_target(run) }

  /// Ends the thread's claim on kicks, made by `enter`: to be called before the vCPU ends or moves to another thread.
  public func leave() { linux_kick_target(nil) }

  /// Makes the present or next `enter` come back at once, with `.interrupted`; from any thread. Where the guest is running,
  /// a signal to its thread must follow.
  public func requestExit() { linux_set_immediate_exit(run, 1) }

  /// Takes back what `requestExit` or a kick asked for.
  public func clearExitRequest() { linux_set_immediate_exit(run, 0) }
}
