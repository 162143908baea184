import CLinux
import Machine
import Platform

/// A virtual machine of the kernel's: an address space with memory slots, and vCPUs.
public struct VirtualMachine: ~Copyable {
  let descriptor: OwnedFD
  private let runPageSize: Int

  init(_ descriptor: consuming OwnedFD, runPageSize: Int) {
    self.descriptor = descriptor
    self.runPageSize = runPageSize
  }

  /// Puts memory of this process behind guest-physical addresses (KVM_SET_USER_MEMORY_REGION, api.rst 4.35).
  /// - Parameters:
  ///   - slot: number of the memory slot; one in use is replaced.
  ///   - address: first guest-physical address; a multiple of the host's page size.
  ///   - memory: bytes of the process; address and size are multiples of the host's page size. They must stay mapped until
  ///     the slot is removed or the machine has ended: the caller owns both.
  ///   - isReadOnly: a store by the guest leaves it as MMIO (KVM_MEM_READONLY).
  /// - Throws: `KVMError.failed`; with EINVAL for what is not aligned, EEXIST where slots would overlap.
  package func setMemory(
    slot: UInt32, address: UInt64, memory: UnsafeMutableRawBufferPointer, isReadOnly: Bool = false
  ) throws(KVMError) {
    var region = kvm_userspace_memory_region(
      slot: slot, flags: isReadOnly ? LINUX_KVM_MEM_READONLY.rawValue : 0, guest_phys_addr: address,
      memory_size: UInt64(memory.count), userspace_addr: UInt64(UInt(bitPattern: memory.baseAddress)))
    try descriptor.call(.setUserMemoryRegion, LINUX_KVM_SET_USER_MEMORY_REGION, &region)
  }

  /// Takes the memory slot away again (KVM_SET_USER_MEMORY_REGION with size 0).
  package func removeMemory(slot: UInt32) throws(KVMError) {
    var region = kvm_userspace_memory_region(
      slot: slot, flags: 0, guest_phys_addr: 0, memory_size: 0, userspace_addr: 0)
    try descriptor.call(.setUserMemoryRegion, LINUX_KVM_SET_USER_MEMORY_REGION, &region)
  }

  /// arm64: lets the guest's HVC with a function id in the range leave the guest (KVM_ARM_VM_SMCCC_FILTER,
  /// devices/vm.rst 7). To be set before any vCPU has run; the kernel has it from Linux 6.4 on.
  /// - Returns: whether the kernel has the filter.
  /// - Throws: `KVMError.failed` where it has, and refuses this range.
  public func forwardHypercalls(_ functions: ClosedRange<UInt32>) throws(KVMError) -> Bool {
    var filter = linux_smccc_filter()
    filter.base = functions.lowerBound
    filter.count = functions.upperBound - functions.lowerBound + 1
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
    // Without attributes of VMs at all, as before Linux 6.4, arm64's KVM answers EINVAL.
    case .invalid?, Errno(ENXIO)?, Errno(ENOTTY)?, Errno(ENODEV)?: return false
    case let errno?: throw .failed(.setDeviceAttribute, errno)
    }
  }

  /// Makes a vCPU, ready to be given registers (KVM_CREATE_VCPU, api.rst 4.7; on arm64 KVM_ARM_VCPU_INIT, 4.82).
  /// - Parameters:
  ///   - number: from 0; the hart id on RISC-V.
  ///   - architecture: the host's.
  /// - Throws: `KVMError.failed`.
  public func makeVCPU(number: Int, architecture: Architecture) throws(KVMError) -> VCPU {
    let made = try descriptor.call(.createVCPU, LINUX_KVM_CREATE_VCPU, UInt(number))
    let owned = OwnedFD(adopting: Int32(truncatingIfNeeded: made), kernel: descriptor.kernel)
    if architecture == .arm64 {
      var target = linux_vcpu_init()
      try descriptor.call(.preferredTarget, LINUX_KVM_ARM_PREFERRED_TARGET, &target)
      target.features.0 |= 1 << LINUX_KVM_ARM_VCPU_PSCI_0_2.rawValue
      if number > 0 { target.features.0 |= 1 << LINUX_KVM_ARM_VCPU_POWER_OFF.rawValue }
      try owned.call(.initializeVCPU, LINUX_KVM_ARM_VCPU_INIT, &target)
    }
    return try VCPU(owned, runPageSize: runPageSize)
  }
}
