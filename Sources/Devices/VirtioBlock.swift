import CLinux
import Platform

/// Why a file cannot be a guest's disk.
public enum DiskError: Error, Equatable, Sendable {
  case unreadable(Errno)
  /// Neither a regular file nor a block device.
  case noDisk
  /// Another process uses it, and one of the two writes.
  case inUse
  /// Less than one sector.
  case empty

  /// What is wrong and what to do, in one line that goes behind the file's name.
  public var description: String {
    switch self {
    case .unreadable(.accessDenied), .unreadable(.notPermitted), .unreadable(Errno(EROFS)):
      "cannot be opened for writing: change its permissions, or give it with ,ro behind it"
    case .unreadable(let errno): "cannot be opened: \(errno.description)"
    case .noDisk: "neither a regular file nor a block device: give a disk image"
    case .inUse: "in use by another machine: give each its own copy, or give it read-only to all (,ro)"
    case .empty: "smaller than a sector of 512 bytes: give a disk image"
    }
  }
}

/// A disk (virtio 1.2, 5.2 "Block Device") in a file or on a block device.
///
/// A notification only signals an event (by the kernel where it can: KVM_IOEVENTFD), and the I/O thread does the work, outside
/// the device's lock: a slow disk stops no processor. It does keep the other devices' I/O waiting, and a time limit or a
/// signal, until the request is done.
public final class VirtioBlock: VirtioDevice, IOSource, @unchecked Sendable {
  private let file: OwnedFD
  private let isReadOnly: Bool
  /// Size in sectors of 512 bytes.
  private let capacity: UInt64
  /// What the guest reads as the disk's serial number: 20 bytes at most.
  private let serial: [UInt8]
  /// The request that the I/O thread works on.
  private var request = DescriptorChain()
  /// Signalled when the queue holds requests.
  public let event: OwnedFD

  /// Features (virtio 1.2, 5.2.3).
  private enum Feature {
    static let segments: UInt64 = 1 << 2
    static let readOnly: UInt64 = 1 << 5
    static let flush: UInt64 = 1 << 9
  }

  /// Requests and answers (virtio 1.2, 5.2.6).
  private enum Request {
    static let read: UInt32 = 0
    static let write: UInt32 = 1
    static let flush: UInt32 = 4
    static let identify: UInt32 = 8
  }
  private enum Answer: UInt8 { case done, failed, unsupported }

  private static let queueSize: UInt16 = 128

  /// - Parameters:
  ///   - path: a regular file or block device, locked while it is in use.
  ///   - serial: text that tells the guest's disks apart.
  /// - Throws: `DiskError`.
  public init(
    path: String, isReadOnly: Bool, serial: String, memory: DeviceMemory, interrupt: any InterruptLine,
    kernel: any Kernel, complain: @escaping @Sendable (String) -> Void
  ) throws(DiskError) {
    let size: Int
    do throws(Errno) {
      file = try OwnedFD(opening: path, flags: isReadOnly ? O_RDONLY : O_RDWR, kernel: kernel)
      event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_event())), kernel: kernel)
      size = linux_disk_size(file.number)
    } catch { throw .unreadable(error) }
    if let errno = Errno(result: size) { throw errno == .invalid ? .noDisk : .unreadable(errno) }
    guard size >= 512 else { throw .empty }
    let number = file.number
    if let errno = Errno(result: uninterrupted { linux_lock_file(number, isReadOnly ? 0 : 1) }) {
      throw errno == Errno(EAGAIN) ? .inUse : .unreadable(errno)
    }
    self.isReadOnly = isReadOnly
    self.serial = Array(serial.utf8.prefix(20))
    capacity = UInt64(size / 512)
    super.init(
      .block, features: Feature.segments | Feature.flush | (isReadOnly ? Feature.readOnly : 0),
      queueSizes: [Self.queueSize], memory: memory, interrupt: interrupt, complain: complain)
  }

  public override func configuration(at offset: Int) -> UInt8 {
    switch offset {
    case 0..<8: UInt8(truncatingIfNeeded: capacity >> UInt64(offset * 8))
    // seg_max: header and status take a descriptor each.
    case 12: UInt8(Self.queueSize - 2)
    default: 0
    }
  }

  public override func notified(queue: Int) { _ = linux_event_signal(event.number) }

  // MARK: I/O thread

  public func prepare() -> IOInterest { IOInterest(descriptor: event.number) }

  public func ready(_ events: IOEvents) {
    // The kernel may have counted several notifications: one look at the queue serves them all.
    _ = linux_event_take(event.number)
    serveOutside(queue: 0, &request, perform)
  }

  private func perform(_ chain: inout DescriptorChain) throws(QueueError) -> Int {
    var header: (type: UInt32, reserved: UInt32, sector: UInt64) = (0, 0, 0)
    let isWhole = withUnsafeMutableBytes(of: &header) { chain.readable.read(into: $0) == 16 }
    guard isWhole, var status = chain.writable.splitLast(1) else { throw .request }
    let room = chain.writable.count
    var answer: UInt8
    switch header.type {
    case Request.read: answer = transfer(header.sector, &chain.writable, isWrite: false).rawValue
    case Request.write where !isReadOnly: answer = transfer(header.sector, &chain.readable, isWrite: true).rawValue
    case Request.write: answer = Answer.failed.rawValue
    case Request.flush: answer = (linux_datasync(file.number) < 0 ? Answer.failed : .done).rawValue
    case Request.identify:
      serial.withUnsafeBytes { _ = chain.writable.write($0) }
      if serial.count < 20 { withUnsafeBytes(of: UInt8(0)) { _ = chain.writable.write($0) } }
      answer = Answer.done.rawValue
    default: answer = Answer.unsupported.rawValue
    }
    withUnsafeMutableBytes(of: &answer) { _ = status.write(UnsafeRawBufferPointer($0)) }
    return room - chain.writable.count + 1
  }

  /// Moves whole sectors between the file and a request's buffers.
  private func transfer(_ sector: UInt64, _ buffers: inout BufferList, isWrite: Bool) -> Answer {
    let sectors = UInt64(buffers.count / 512)
    guard buffers.count % 512 == 0, sector <= capacity, sectors <= capacity - sector else { return .failed }
    // Not more than the file's size, which the kernel gave as a signed number.
    var offset = Int(sector * 512)
    while let bytes = buffers.next() {
      let done = linux_transfer(file.number, isWrite, bytes.baseAddress, bytes.count, offset)
      guard done == bytes.count else { return .failed }
      offset += bytes.count
    }
    return .done
  }
}
