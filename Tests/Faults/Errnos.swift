import CFaults
import CLinux
import TestSupport

/// What the manual pages and Documentation/virt/kvm/api.rst say that a call may fail with.
enum Errnos {
  /// Of KVM's part: open(2), mmap(2), and ioctl(2) with what api.rst adds for the request.
  static func of(_ call: FaultPlan.Call) -> [Int32] {
    switch call {
    case .open: [EACCES, EBUSY, EINTR, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM, ETXTBSY]
    case .map: [EACCES, EAGAIN, EBADF, EINVAL, ENFILE, ENODEV, ENOMEM, EOVERFLOW, EPERM]
    case .ioctl(let request): everyRequest + additional(request)
    }
  }

  /// api.rst, 4: "errors that apply to every ioctl", and EIO of a machine whose process has changed.
  private static let everyRequest = [EBADF, EFAULT, EINVAL, ENOTTY, ENOMEM, EPERM, EINTR, EAGAIN, EIO, ENXIO]

  private static func additional(_ request: UInt) -> [Int32] {
    switch request {
    case LINUX_KVM_CREATE_VM: [EMFILE, ENFILE, EOPNOTSUPP]
    case LINUX_KVM_CREATE_VCPU: [EEXIST, EBUSY, EMFILE, ENFILE]
    case LINUX_KVM_SET_USER_MEMORY_REGION: [EEXIST, E2BIG]
    case LINUX_KVM_ARM_VCPU_INIT: [ENOENT, EBUSY]
    case LINUX_KVM_ARM_PREFERRED_TARGET: [ENODEV]
    case LINUX_KVM_GET_ONE_REG, LINUX_KVM_SET_ONE_REG: [ENOENT, EBUSY]
    case LINUX_KVM_SET_DEVICE_ATTR: [EBUSY, EEXIST, ENODEV]
    case LINUX_KVM_RUN: [ENOEXEC, ENOSYS, EOPNOTSUPP, EHWPOISON, ENODEV, EBUSY]
    default: []
    }
  }

  /// Of the rest of the kernel.
  static func of(_ call: host_call) -> [Int32] {
    switch call {
    case HOST_OPEN: [EACCES, EINTR, EIO, EISDIR, ELOOP, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM, ENXIO, EPERM]
    case HOST_READ: [EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EIO, EISDIR]
    case HOST_WRITE: [EAGAIN, EBADF, EDQUOT, EFAULT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPERM, EPIPE]
    case HOST_POLL: [EFAULT, EINTR, EINVAL, ENOMEM]
    case HOST_EVENTFD: [EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM]
    case HOST_SIGACTION: [EFAULT, EINVAL]
    case HOST_THREAD: [EAGAIN, EINVAL, EPERM]
    case HOST_GETRANDOM: [EAGAIN, EFAULT, EINTR, EINVAL, ENOSYS]
    case HOST_MADVISE: [EAGAIN, EBADF, EINVAL, EIO, ENOMEM, EPERM]
    case HOST_TIMER_CREATE: [EAGAIN, EINVAL, ENOMEM, EOPNOTSUPP, EPERM]
    case HOST_TIMER_SET: [EFAULT, EINVAL]
    default: []
    }
  }
}
