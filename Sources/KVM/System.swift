import CLinux
import Platform

/// `/dev/kvm`: the capabilities of the host's kernel, and the creation of VMs.
public struct System: ~Copyable {
  let descriptor: OwnedFD

  /// Makes the system calls.
  public var kernel: any Kernel { descriptor.kernel }

  /// Opens the device and checks the version of its API (KVM_GET_API_VERSION, api.rst 4.1).
  /// - Throws: `KVMError.unavailable`, `.version`, `.failed`.
  public init(kernel: any Kernel) throws(KVMError) {
    let opened: OwnedFD
    do { opened = try OwnedFD(opening: "/dev/kvm" as StaticString, flags: O_RDWR, kernel: kernel) } catch {
      throw .unavailable(error)
    }
    let version = try opened.call(.getAPIVersion, LINUX_KVM_GET_API_VERSION)
    guard version == Int(LINUX_KVM_API_VERSION.rawValue) else { throw .version(version) }
    descriptor = opened
  }

  /// The value of a capability, 0 if the kernel does not have it (KVM_CHECK_EXTENSION, api.rst 4.4).
  public func check(_ capability: Capability) -> Int {
    (try? descriptor.control(LINUX_KVM_CHECK_EXTENSION, UInt(capability.rawValue))) ?? 0
  }

  /// Size of a vCPU's run page, in bytes (KVM_GET_VCPU_MMAP_SIZE, api.rst 4.5).
  public func runPageSize() throws(KVMError) -> Int {
    try descriptor.call(.getVCPUMapSize, LINUX_KVM_GET_VCPU_MMAP_SIZE)
  }

  /// Creates a VM without memory and vCPUs (KVM_CREATE_VM, api.rst 4.2).
  /// - Parameter addressBits: arm64: bits of its guest-physical addresses (KVM_VM_TYPE_ARM_IPA_SIZE), at least 32; 0 for the
  ///   kernel's default, 40. If the host supports fewer, that number is used; if its kernel accepts no number, the default.
  /// - Throws: `KVMError.failed`; with ENOMEM if the host has no memory for it.
  public func makeVirtualMachine(addressBits: Int = 0) throws(KVMError) -> VirtualMachine {
    let number: Int
    do { number = try descriptor.call(.createVM, LINUX_KVM_CREATE_VM, UInt(bitPattern: addressBits)) } catch {
      guard error == .failed(.createVM, .invalid) else { throw error }
      // Checked only here: on most hosts the first attempt succeeds.
      let limit = check(.addressBits), next = (32..<40).contains(limit) ? limit : 0
      guard addressBits != next else { throw error }
      return try makeVirtualMachine(addressBits: next)
    }
    let owned = OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: descriptor.kernel)
    return VirtualMachine(owned, runPageSize: try runPageSize())
  }
}

/// Capabilities that Swiftlet uses, with KVM's numbers (KVM_CAP_…).
public struct Capability: Equatable, Sendable {
  /// KVM's number of the capability.
  public let rawValue: UInt32

  /// KVM_CAP_USER_MEMORY: guest memory is memory of the process.
  public static let userMemory = Capability(rawValue: LINUX_KVM_CAP_USER_MEMORY.rawValue)
  /// KVM_CAP_ONE_REG: access to registers by id.
  public static let oneRegister = Capability(rawValue: LINUX_KVM_CAP_ONE_REG.rawValue)
  /// KVM_CAP_IMMEDIATE_EXIT: `kvm_run.immediate_exit`, which stops a vCPU without a race.
  public static let immediateExit = Capability(rawValue: LINUX_KVM_CAP_IMMEDIATE_EXIT.rawValue)
  /// KVM_CAP_MAX_VCPUS: maximum number of vCPUs of a VM.
  public static let maximumVCPUs = Capability(rawValue: LINUX_KVM_CAP_MAX_VCPUS.rawValue)
  /// KVM_CAP_NR_MEMSLOTS: maximum number of memory slots of a VM.
  public static let memorySlots = Capability(rawValue: LINUX_KVM_CAP_NR_MEMSLOTS.rawValue)
  /// KVM_CAP_ARM_VM_IPA_SIZE: bits of a guest-physical address; 0 means 40.
  public static let addressBits = Capability(rawValue: LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue)
  /// KVM_CAP_ARM_PSCI_0_2: PSCI 0.2 or later in the kernel.
  public static let psci = Capability(rawValue: LINUX_KVM_CAP_ARM_PSCI_0_2.rawValue)
}
