import Platform

/// Why KVM did not do what was asked.
public enum KVMError: Error, Equatable {
  /// `/dev/kvm` cannot be opened.
  case unavailable(Errno)
  /// KVM_GET_API_VERSION answered something other than 12.
  case version(Int)
  /// A call failed.
  case failed(Call, Errno)

  /// The kernel's calls that Swiftlet makes, by their names in Documentation/virt/kvm/api.rst.
  public enum Call: Equatable, Sendable {
    case getAPIVersion, createVM, checkExtension, getVCPUMapSize, createVCPU, mapRunPage, mapMemory
    case setUserMemoryRegion, setDeviceAttribute, preferredTarget, initializeVCPU, getOneRegister, setOneRegister
    case createDevice, getDeviceAttribute, setIOEvent, installKick, run

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
      case .createDevice: "KVM_CREATE_DEVICE"
      case .getDeviceAttribute: "KVM_GET_DEVICE_ATTR"
      case .setIOEvent: "KVM_IOEVENTFD"
      case .installKick: "sigaction"
      case .run: "KVM_RUN"
      }
    }
  }

  /// What happened and what to do about it, in one line.
  public var description: String {
    switch self {
    case .unavailable(.noEntry):
      "/dev/kvm does not exist: load the kvm module, or boot a kernel and a machine that offer KVM (swiftlet check says which)"
    case .unavailable(.accessDenied), .unavailable(.notPermitted):
      "/dev/kvm may not be opened by this user: join the group that owns it (usermod -aG kvm USER), or ask root"
    case .unavailable(let errno):
      "/dev/kvm cannot be opened: \(errno.description); swiftlet check says what this host offers"
    case .version(let version):
      "/dev/kvm speaks version \(version) of its interface, Swiftlet speaks 12: use a kernel newer than 2.6.22"
    case .failed(.createVM, .noMemory):
      "the host has not enough memory for another virtual machine: end something that runs on it"
    case .failed(.mapMemory, .noMemory), .failed(.setUserMemoryRegion, .noMemory):
      "the host has not enough memory for the guest: ask for less with --memory"
    case .failed(let call, let errno):
      "\(call.name) failed: \(errno.description)"
    }
  }
}

extension OwnedFD {
  /// ioctl(2) with a number as its argument; a failure says which call it was.
  @inline(__always)
  func call(_ call: KVMError.Call, _ request: UInt, _ argument: UInt = 0) throws(KVMError) -> Int {
    do { return try control(request, argument) } catch { throw .failed(call, error) }
  }

  /// ioctl(2) with a pointer to a value, which the kernel may change; a failure says which call it was.
  @discardableResult
  func call<Value>(_ call: KVMError.Call, _ request: UInt, _ value: inout Value) throws(KVMError) -> Int {
    do { return try control(request, &value) } catch { throw .failed(call, error) }
  }
}
