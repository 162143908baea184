import Platform

/// An error of KVM.
public enum KVMError: Error, Equatable, CustomStringConvertible {
  /// `/dev/kvm` cannot be opened.
  case unavailable(Errno)
  /// KVM_GET_API_VERSION returned a version other than 12.
  case version(Int)
  /// A call failed.
  case failed(Call, Errno)

  /// The kernel's calls that may fail, with the names in Documentation/virt/kvm/api.rst.
  public enum Call: Equatable, Sendable {
    /// KVM_GET_API_VERSION, KVM_CREATE_VM, KVM_CHECK_EXTENSION, KVM_GET_VCPU_MMAP_SIZE, KVM_CREATE_VCPU, mmap(2).
    case getAPIVersion, createVM, checkExtension, getVCPUMapSize, createVCPU, mapRunPage, mapMemory
    /// KVM_SET_USER_MEMORY_REGION, KVM_SET_DEVICE_ATTR, KVM_ARM_PREFERRED_TARGET, KVM_ARM_VCPU_INIT, KVM_GET_ONE_REG,
    /// KVM_SET_ONE_REG.
    case setUserMemoryRegion, setDeviceAttribute, preferredTarget, initializeVCPU, getOneRegister, setOneRegister
    /// KVM_GET_STATS_FD.
    case getStatistics
    /// KVM_CREATE_DEVICE, KVM_GET_DEVICE_ATTR, KVM_IOEVENTFD, KVM_SET_VCPU_EVENTS, rt_sigaction(2) for the kick signal, KVM_RUN.
    case createDevice, getDeviceAttribute, setIOEvent, setVCPUEvents, installKick, run

    /// The name, as in KVM's documentation.
    public var name: StaticString {
      switch self {
      case .getAPIVersion: "KVM_GET_API_VERSION"
      case .createVM: "KVM_CREATE_VM"
      case .checkExtension: "KVM_CHECK_EXTENSION"
      case .getVCPUMapSize: "KVM_GET_VCPU_MMAP_SIZE"
      case .createVCPU: "KVM_CREATE_VCPU"
      case .mapRunPage: "mmap of the vCPU's run page"
      case .mapMemory: "mmap of guest memory"
      case .setUserMemoryRegion: "KVM_SET_USER_MEMORY_REGION"
      case .setDeviceAttribute: "KVM_SET_DEVICE_ATTR"
      case .preferredTarget: "KVM_ARM_PREFERRED_TARGET"
      case .initializeVCPU: "KVM_ARM_VCPU_INIT"
      case .getOneRegister: "KVM_GET_ONE_REG"
      case .setOneRegister: "KVM_SET_ONE_REG"
      case .getStatistics: "KVM_GET_STATS_FD"
      case .createDevice: "KVM_CREATE_DEVICE"
      case .getDeviceAttribute: "KVM_GET_DEVICE_ATTR"
      case .setIOEvent: "KVM_IOEVENTFD"
      case .setVCPUEvents: "KVM_SET_VCPU_EVENTS"
      case .installKick: "sigaction"
      case .run: "KVM_RUN"
      }
    }
  }

  /// Whether KVM_RUN failed for an access of the guest outside of memory that KVM does not emulate. On arm64: ENOSYS, before Linux
  /// 5.5 (`io_mem_abort`). On riscv64: EOPNOTSUPP for a jump and for instructions other than integer loads and stores, EIO for a
  /// misaligned one of those (`gstage_page_fault`, `kvm_riscv_vcpu_mmio_load`).
  public var isAccess: Bool {
    switch self {
    case .failed(.run, .notSupported), .failed(.run, .inputOutput), .failed(.run, .notImplemented): true
    default: false
    }
  }

  /// The error and its remedy, in one line.
  public var description: String {
    switch self {
    case .unavailable(.noEntry):
      "/dev/kvm does not exist: load the kvm module, or use a host with KVM (see swiftlet check)"
    case .unavailable(.accessDenied), .unavailable(.notPermitted):
      "permission denied for /dev/kvm: add this user to the group that owns it (usermod -aG kvm USER)"
    case .unavailable(let errno):
      "/dev/kvm cannot be opened: \(errno.description); see swiftlet check"
    case .version(let version):
      "/dev/kvm has API version \(version), but version 12 is required: use Linux 2.6.22 or later"
    case .failed(.createVM, .noMemory):
      "the host has not enough memory for another VM: free some"
    case .failed(.mapMemory, .noMemory), .failed(.setUserMemoryRegion, .noMemory):
      "the host has not enough memory for the guest: reduce it with --memory"
    case .failed(let call, let errno):
      "\(call.name) failed: \(errno.description)"
    }
  }
}

extension OwnedFD {
  /// ioctl(2) with an integer argument; an error includes the name of the call.
  @inline(__always)
  func call(_ call: KVMError.Call, _ request: UInt, _ argument: UInt = 0) throws(KVMError) -> Int {
    do { return try control(request, argument) } catch { throw .failed(call, error) }
  }

  /// ioctl(2) with a pointer to a value, which the kernel may change; an error includes the name of the call.
  @discardableResult
  func call<Value>(_ call: KVMError.Call, _ request: UInt, _ value: inout Value) throws(KVMError) -> Int {
    do { return try control(request, &value) } catch { throw .failed(call, error) }
  }
}
