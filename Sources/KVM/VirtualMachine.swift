import CLinux
import Machine
import Platform

/// A VM in the kernel: an address space with memory slots, and vCPUs.
public struct VirtualMachine: ~Copyable {
  let descriptor: OwnedFD
  private let runPageSize: Int

  init(_ descriptor: consuming OwnedFD, runPageSize: Int) {
    self.descriptor = descriptor
    self.runPageSize = runPageSize
  }

  /// Maps memory of this process at guest-physical addresses (KVM_SET_USER_MEMORY_REGION, api.rst 4.35).
  /// - Parameters:
  ///   - slot: number of the memory slot; one that is in use is replaced.
  ///   - address: first guest-physical address; a multiple of the host's page size.
  ///   - memory: memory of the process; address and size are multiples of the host's page size. The caller owns it, and it must
  ///     stay mapped until the slot is removed or the VM has ended.
  ///   - isReadOnly: a store by the guest exits as MMIO (KVM_MEM_READONLY).
  /// - Throws: `KVMError.failed`; with EINVAL for wrong alignment, EEXIST for overlapping slots.
  package func setMemory(
    slot: UInt32, address: UInt64, memory: UnsafeMutableRawBufferPointer, isReadOnly: Bool = false
  ) throws(KVMError) {
    var region = kvm_userspace_memory_region(
      slot: slot, flags: isReadOnly ? LINUX_KVM_MEM_READONLY.rawValue : 0, guest_phys_addr: address,
      memory_size: UInt64(memory.count), userspace_addr: UInt64(UInt(bitPattern: memory.baseAddress)))
    try descriptor.call(.setUserMemoryRegion, LINUX_KVM_SET_USER_MEMORY_REGION, &region)
  }

  /// Removes a memory slot (KVM_SET_USER_MEMORY_REGION with size 0).
  package func removeMemory(slot: UInt32) throws(KVMError) {
    var region = kvm_userspace_memory_region(
      slot: slot, flags: 0, guest_phys_addr: 0, memory_size: 0, userspace_addr: 0)
    try descriptor.call(.setUserMemoryRegion, LINUX_KVM_SET_USER_MEMORY_REGION, &region)
  }

  /// arm64: makes the kernel forward the guest's HVCs with a function identifier in the range (KVM_ARM_VM_SMCCC_FILTER,
  /// devices/vm.rst 7; since Linux 6.4). To be called before any vCPU has run.
  /// - Returns: whether the kernel has the filter.
  /// - Throws: `KVMError.failed` if it has, and rejects this range.
  public func forwardHypercalls(_ functions: ClosedRange<UInt32>) throws(KVMError) -> Bool {
    var filter = linux_smccc_filter()
    filter.base = functions.lowerBound
    filter.count = functions.upperBound - functions.lowerBound &+ 1
    filter.action = UInt8(LINUX_KVM_SMCCC_FILTER_FWD_TO_USER.rawValue)
    let descriptor = descriptor.number
    let kernel = self.descriptor.kernel
    let result = withUnsafeMutablePointer(to: &filter) { filter in
      var attribute = kvm_device_attr(
        flags: 0, group: LINUX_KVM_ARM_VM_SMCCC_CTRL.rawValue, attr: UInt64(LINUX_KVM_ARM_VM_SMCCC_FILTER.rawValue),
        addr: UInt64(UInt(bitPattern: filter)))
      return withUnsafeMutablePointer(to: &attribute) { attribute in
        uninterrupted { kernel.ioctl(descriptor, LINUX_KVM_SET_DEVICE_ATTR, UInt(bitPattern: attribute)) }
      }
    }
    switch Errno(result: result) {
    case nil: return true
    // Without VM attributes, as before Linux 6.4, KVM on arm64 returns EINVAL.
    case .invalid?, Errno(ENXIO)?, Errno(ENOTTY)?, Errno(ENODEV)?: return false
    case let errno?: throw .failed(.setDeviceAttribute, errno)
    }
  }

  /// arm64: lets accesses that KVM does not emulate leave the guest as `Exit.accessWithoutSyndrome`
  /// (KVM_CAP_ARM_NISV_TO_USER, api.rst 7; since Linux 5.5). With an older kernel KVM_RUN fails (`KVMError.isAccess`).
  public func forwardAccessesWithoutSyndrome() {
    var capability = kvm_enable_cap()
    capability.cap = LINUX_KVM_CAP_ARM_NISV_TO_USER.rawValue
    _ = try? descriptor.control(LINUX_KVM_ENABLE_CAP, &capability)
  }

  /// Creates a vCPU without setting registers (KVM_CREATE_VCPU, api.rst 4.7; on arm64 KVM_ARM_VCPU_INIT, 4.82).
  /// - Parameters:
  ///   - number: from 0; the hart ID on RISC-V.
  ///   - architecture: the host's.
  /// - Throws: `KVMError.failed`.
  public func makeVCPU(number: Int, architecture: Architecture) throws(KVMError) -> VCPU {
    let made = try descriptor.call(.createVCPU, LINUX_KVM_CREATE_VCPU, UInt(bitPattern: number))
    let owned = OwnedFD(adopting: Int32(truncatingIfNeeded: made), kernel: descriptor.kernel)
    if architecture.facts.needsVCPUInit {
      var target = linux_vcpu_init()
      try descriptor.call(.preferredTarget, LINUX_KVM_ARM_PREFERRED_TARGET, &target)
      target.features.0 |= 1 << LINUX_KVM_ARM_VCPU_PSCI_0_2.rawValue
      if number > 0 { target.features.0 |= 1 << LINUX_KVM_ARM_VCPU_POWER_OFF.rawValue }
      try owned.call(.initializeVCPU, LINUX_KVM_ARM_VCPU_INIT, &target)
    }
    return try VCPU(owned, runPageSize: runPageSize)
  }
}
