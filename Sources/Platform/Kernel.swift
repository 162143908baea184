import CLinux

/// The calls by which this process makes, runs and unmakes virtual machines: the one seam between Swiftlet and Linux.
///
/// `LinuxKernel` is the kernel itself. Tests put a scripted machine or a plan of failures in its place. Every call answers
/// what the kernel answers: a result, or the negative of an errno value.
public protocol Kernel: AnyObject {
  /// open(2).
  func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int
  /// close(2).
  func close(_ descriptor: Int32) -> Int
  /// ioctl(2).
  func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int
  /// mmap(2) at an address of the kernel's choice; answers the address.
  func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int
  /// munmap(2).
  func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int
  /// Whether `ioctl` is no more than Linux's own: the run path makes it by itself then.
  var isLinux: Bool { get }
}

extension Kernel {
  public var isLinux: Bool { false }
}

/// Linux, as it is.
public final class LinuxKernel: Kernel {
  public init() {}

  public func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int { linux_open(path, flags, 0) }
  public func close(_ descriptor: Int32) -> Int { linux_close(descriptor) }
  public func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int {
    linux_ioctl(descriptor, request, argument)
  }
  public func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int {
    linux_mmap(length, protection, flags, descriptor, 0)
  }
  public func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int { linux_munmap(address, length) }
  public var isLinux: Bool { true }
}
