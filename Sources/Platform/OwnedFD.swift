import CLinux

/// A file descriptor with one owner, closed when the owner ends.
public struct OwnedFD: ~Copyable {
  /// The descriptor's number; valid while this value exists.
  public let number: Int32
  package let kernel: any Kernel

  /// Takes ownership of a descriptor.
  public init(adopting number: Int32, kernel: any Kernel) {
    self.number = number
    self.kernel = kernel
  }

  /// Opens a file: open(2) with O_CLOEXEC added, repeated on EINTR.
  /// - Throws: the kernel's error; ENOENT for a path with a zero byte, which no file has.
  public init(opening path: String, flags: Int32 = O_RDONLY, kernel: any Kernel) throws(Errno) {
    func open(_ path: UnsafePointer<CChar>) -> Int { Self.open(path, flags, kernel) }
    var result = path.withPlainCString(open)
    if result == nil, !path.utf8.contains(0) { result = path.withOSString(open) }
    guard let result else { throw .noEntry }
    self.init(adopting: Int32(truncatingIfNeeded: try checked(result)), kernel: kernel)
  }

  /// The same for a path in the source, which needs no check.
  package init(opening path: StaticString, flags: Int32, kernel: any Kernel) throws(Errno) {
    // A literal of more than one character has a pointer, and ends with a zero byte.
    let text = UnsafeRawPointer(path.utf8Start).assumingMemoryBound(to: CChar.self)
    self.init(adopting: Int32(truncatingIfNeeded: try checked(Self.open(text, flags, kernel))), kernel: kernel)
  }

  private static func open(_ path: UnsafePointer<CChar>, _ flags: Int32, _ kernel: any Kernel) -> Int {
    uninterrupted { kernel.open(path, flags: flags | O_CLOEXEC) }
  }

  deinit { _ = kernel.close(number) }

  /// ioctl(2) with an integer argument, repeated on EINTR, with which KVM_CREATE_VM may fail.
  /// - Throws: the kernel's error.
  @inline(__always)
  package func control(_ request: UInt, _ argument: UInt = 0) throws(Errno) -> Int {
    try checked(uninterrupted { kernel.ioctl(number, request, argument) })
  }

  /// ioctl(2) with a pointer to a value, which the kernel may change; repeated on EINTR.
  /// - Throws: the kernel's error.
  package func control<Value>(_ request: UInt, _ value: inout Value) throws(Errno) -> Int {
    let kernel = kernel
    let number = number
    // The pointer is valid during the call; the kernel does not keep it.
    let result = withUnsafeMutablePointer(to: &value) { value in
      uninterrupted { kernel.ioctl(number, request, UInt(bitPattern: value)) }
    }
    return try checked(result)
  }
}

/// Writes all bytes: repeats write(2) until they are written, also where another process has set O_NONBLOCK.
/// - Throws: the kernel's error, after which some of the bytes may have been written; ENOSPC if write(2) returns 0.
package func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) throws(Errno) {
  var rest = bytes
  while !rest.isEmpty {
    let result = uninterrupted { linux_write(descriptor, rest.baseAddress, rest.count) }
    if result == -Int(EAGAIN) {
      linux_wait_writable(descriptor)
      continue
    }
    let count = try checked(result)
    if count == 0 { throw Errno(ENOSPC) }
    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
  }
}

/// The same with the bytes of an array.
package func writeAll(_ bytes: [UInt8], to descriptor: Int32) throws(Errno) {
  let failure = bytes.withUnsafeBytes { bytes -> Errno? in
    do throws(Errno) { try writeAll(bytes, to: descriptor) } catch { return error }
    return nil
  }
  if let failure { throw failure }
}
