import CLinux
import Platform

/// `/dev/kvm`: what the host's kernel can do, and where virtual machines come from.
public struct System: ~Copyable {
  let descriptor: OwnedFD

  /// Through which its calls go.
  public var kernel: any Kernel { descriptor.kernel }

  /// Opens the device and checks that it speaks the one version of KVM's interface (KVM_GET_API_VERSION, api.rst 4.1).
  /// - Throws: `KVMError.unavailable`, `.version`, `.failed`.
  public init(path: String = "/dev/kvm", kernel: any Kernel) throws(KVMError) {
    let opened: OwnedFD
    do { opened = try OwnedFD(opening: path, flags: O_RDWR, kernel: kernel) } catch { throw .unavailable(error) }
    let version = try opened.call(.getAPIVersion, LINUX_KVM_GET_API_VERSION)
    guard version == Int(LINUX_KVM_API_VERSION.rawValue) else { throw .version(version) }
    descriptor = opened
  }

  /// What the kernel answers for a capability: 0 where it does not have it (KVM_CHECK_EXTENSION, api.rst 4.4).
  public func check(_ capability: Capability) -> Int {
    (try? descriptor.control(LINUX_KVM_CHECK_EXTENSION, UInt(capability.rawValue))) ?? 0
  }

  /// Bytes of a vCPU's run page (KVM_GET_VCPU_MMAP_SIZE, api.rst 4.5).
  public func runPageSize() throws(KVMError) -> Int {
    try descriptor.call(.getVCPUMapSize, LINUX_KVM_GET_VCPU_MMAP_SIZE)
  }

  /// Makes an empty machine (KVM_CREATE_VM, api.rst 4.2).
  /// - Parameter addressBits: arm64: bits of its guest-physical addresses (KVM_VM_TYPE_ARM_IPA_SIZE), at least 32; 0 for the
  ///   kernel's default, 40. Where the host has fewer it gets as many as that has; where its kernel takes no number, the default.
  /// - Throws: `KVMError.failed`; with ENOMEM where the host has no memory left for it.
  public func makeVirtualMachine(addressBits: Int = 0) throws(KVMError) -> VirtualMachine {
    let number: Int
    do { number = try descriptor.call(.createVM, LINUX_KVM_CREATE_VM, UInt(addressBits)) } catch {
      guard error == .failed(.createVM, .invalid) else { throw error }
      // Asked only now: the usual host takes the first number.
      let most = check(.addressBits), next = (32..<40).contains(most) ? most : 0
      guard addressBits != next else { throw error }
      return try makeVirtualMachine(addressBits: next)
    }
    let owned = OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: descriptor.kernel)
    return VirtualMachine(owned, runPageSize: try runPageSize())
  }
}

/// Capabilities that Swiftlet asks for, with KVM's numbers for them (KVM_CAP_…).
public struct Capability: Equatable, Sendable {
  public let rawValue: UInt32

  /// KVM_CAP_USER_MEMORY: guest memory is the process's own.
  public static let userMemory = Capability(rawValue: LINUX_KVM_CAP_USER_MEMORY.rawValue)
  /// KVM_CAP_ONE_REG: registers by id.
  public static let oneRegister = Capability(rawValue: LINUX_KVM_CAP_ONE_REG.rawValue)
  /// KVM_CAP_IMMEDIATE_EXIT: a vCPU can be stopped without a race.
  public static let immediateExit = Capability(rawValue: LINUX_KVM_CAP_IMMEDIATE_EXIT.rawValue)
  /// KVM_CAP_MAX_VCPUS: how many vCPUs a machine can have.
  public static let maximumVCPUs = Capability(rawValue: LINUX_KVM_CAP_MAX_VCPUS.rawValue)
  /// KVM_CAP_NR_MEMSLOTS: how many memory slots a machine can have.
  public static let memorySlots = Capability(rawValue: LINUX_KVM_CAP_NR_MEMSLOTS.rawValue)
  /// KVM_CAP_ARM_VM_IPA_SIZE: bits of a guest-physical address; 0 means 40.
  public static let addressBits = Capability(rawValue: LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue)
  /// KVM_CAP_ARM_PSCI_0_2.
  public static let psci = Capability(rawValue: LINUX_KVM_CAP_ARM_PSCI_0_2.rawValue)
}
