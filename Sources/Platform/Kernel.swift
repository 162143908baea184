import CLinux

/// The system calls that create, run and destroy virtual machines. They are the only interface between Swiftlet's libraries
/// and Linux that tests replace.
///
/// `LinuxKernel` makes the calls. Tests substitute a scripted kernel or a fault plan. Every function returns what the system
/// call returns: a result, or a negative errno value.
public protocol Kernel: AnyObject {
  /// open(2).
  func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int
  /// close(2).
  func close(_ descriptor: Int32) -> Int
  /// ioctl(2).
  func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int
  /// mmap(2) at an address that the kernel chooses; returns the address.
  func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int
  /// munmap(2).
  func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int
  /// Whether `ioctl` only calls Linux's: the run path calls it directly then.
  var isLinux: Bool { get }
}

extension Kernel {
  /// False, for other kernels.
  public var isLinux: Bool { false }
}

/// The Linux kernel.
public final class LinuxKernel: Kernel {
  /// The kernel of this host.
  public init() {}

  /// open(2) without a mode.
  public func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int { linux_open(path, flags, 0) }
  /// close(2).
  public func close(_ descriptor: Int32) -> Int { linux_close(descriptor) }
  /// ioctl(2).
  public func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int {
    linux_ioctl(descriptor, request, argument)
  }
  /// mmap(2) with offset 0; returns the address.
  public func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int {
    linux_mmap(length, protection, flags, descriptor, 0)
  }
  /// munmap(2).
  public func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int { linux_munmap(address, length) }
  /// True.
  public var isLinux: Bool { true }
}
