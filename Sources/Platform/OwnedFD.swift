import CLinux

/// A file descriptor with one owner, closed when the owner ends.
public struct OwnedFD: ~Copyable {
  /// The descriptor's number; valid as long as this value lives.
  public let number: Int32
  package let kernel: any Kernel

  /// Takes over a descriptor that nobody else will close.
  public init(adopting number: Int32, kernel: any Kernel) {
    self.number = number
    self.kernel = kernel
  }

  /// Opens a file: open(2) with O_CLOEXEC added; again where a signal interrupts it.
  /// - Throws: the kernel's error.
  public init(opening path: String, flags: Int32 = O_RDONLY, kernel: any Kernel) throws(Errno) {
    let result = path.withCString { path in uninterrupted { kernel.open(path, flags: flags | O_CLOEXEC) } }
    self.init(adopting: Int32(truncatingIfNeeded: try checked(result)), kernel: kernel)
  }

  deinit { _ = kernel.close(number) }

  /// ioctl(2) with a number as its argument; again where a signal interrupts it, as it may KVM_CREATE_VM.
  /// - Throws: the kernel's error.
  @inline(__always)
  package func control(_ request: UInt, _ argument: UInt = 0) throws(Errno) -> Int {
    try checked(uninterrupted { kernel.ioctl(number, request, argument) })
  }

  /// ioctl(2) with a pointer to a value, which the kernel may change; again where a signal interrupts it.
  /// - Throws: the kernel's error.
  package func control<Value>(_ request: UInt, _ value: inout Value) throws(Errno) -> Int {
    let kernel = kernel
    let number = number
    // The pointer lives for the call alone; the kernel does not keep it.
    let result = withUnsafeMutablePointer(to: &value) { value in
      uninterrupted { kernel.ioctl(number, request, UInt(bitPattern: value)) }
    }
    return try checked(result)
  }
}
