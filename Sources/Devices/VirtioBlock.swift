import CLinux
import Platform

/// Why a file cannot be a guest's disk.
public enum DiskError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file cannot be opened, for reading, or for reading and writing.
  case unreadable(Errno)
  /// Neither a regular file nor a block device.
  case noDisk
  /// Another process uses it, and one of the two writes to it.
  case inUse
  /// Smaller than a sector.
  case empty

  /// The error and its remedy, in one line without the file's name.
  public var description: String {
    switch self {
    case .unreadable(.accessDenied), .unreadable(.notPermitted), .unreadable(Errno(EROFS)):
      "cannot be opened for writing: change its permissions, or append ,ro"
    case .unreadable(let errno): "cannot be opened: \(errno.description)"
    case .noDisk: "neither a regular file nor a block device: give a disk image"
    case .inUse: "in use by another VM: use a copy, or use it read-only in all (,ro)"
    case .empty: "smaller than a sector of 512 bytes: give a disk image"
    }
  }
}

/// A disk (virtio 1.2, 5.2 "Block Device") in a file or on a block device.
///
/// A notification only signals an event (in the kernel where possible: KVM_IOEVENTFD), and the I/O thread does the work, so that a
/// slow disk blocks no CPU.
///
/// Sendable because the queue's `serving` lock, or `moving` in a reset, protects its request.
public final class VirtioBlock: VirtioDevice, IOSource, @unchecked Sendable {
  /// The queue of requests.
  public let queues: VirtioQueues
  private let file: OwnedFD
  private let isReadOnly: Bool
  /// Size, in sectors of 512 bytes.
  private let capacity: UInt64
  /// The disk's serial number: at most 20 bytes.
  private let serial: [UInt8]
  /// Signalled when the queue has requests.
  public let event: OwnedFD

  /// Features (virtio 1.2, 5.2.3).
  private enum Feature {
    static let segments: UInt64 = 1 << 2
    static let readOnly: UInt64 = 1 << 5
    static let flush: UInt64 = 1 << 9
  }

  /// Requests and statuses (virtio 1.2, 5.2.6).
  private enum Code {
    static let read: UInt32 = 0
    static let write: UInt32 = 1
    static let flush: UInt32 = 4
    static let identify: UInt32 = 8
  }
  private enum Answer: UInt8 { case done, failed, unsupported }

  private static let queueSize: UInt16 = 128

  /// - Parameters:
  ///   - path: a regular file or block device, locked while it is in use.
  ///   - serial: text that distinguishes the guest's disks.
  /// - Throws: `DiskError`.
  public init(
    path: String, isReadOnly: Bool, serial: String, memory: DeviceMemory, interrupt: any InterruptLine,
    kernel: any Kernel, complain: @escaping @Sendable (String) -> Void
  ) throws(DiskError) {
    let size: Int
    do throws(Errno) {
      // Without O_NONBLOCK, opening a FIFO would wait for a writer. The flag has no effect on files and block devices.
      file = try OwnedFD(
        opening: path, flags: (isReadOnly ? O_RDONLY : O_RDWR) | O_NOCTTY | O_NONBLOCK, kernel: kernel)
      event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_eventfd())), kernel: kernel)
      size = linux_disk_size(file.number)
    } catch { throw .unreadable(error) }
    if let errno = Errno(result: size) { throw errno == .invalid ? .noDisk : .unreadable(errno) }
    guard size >= 512 else { throw .empty }
    if size % 512 > 0 {
      complain("\(path): the guest does not see its last \(size % 512) bytes, which are less than a sector")
    }
    let number = file.number
    if let errno = Errno(result: uninterrupted { linux_flock(number, isReadOnly ? 0 : 1) }) {
      throw errno == Errno(EAGAIN) ? .inUse : .unreadable(errno)
    }
    self.isReadOnly = isReadOnly
    self.serial = Array(serial.utf8.prefix(20))
    capacity = UInt64(size / 512)
    queues = VirtioQueues(
      .block, features: Feature.segments | Feature.flush | (isReadOnly ? Feature.readOnly : 0),
      sizes: [Self.queueSize], memory: memory, interrupt: interrupt, complain: complain)
  }

  /// The configuration: capacity and limits (virtio 1.2, 5.2.4).
  public func configuration(at offset: Int) -> UInt8 {
    switch offset {
    case 0..<8: UInt8(truncatingIfNeeded: capacity >> UInt64(offset * 8))
    // seg_max: header and status need a descriptor each.
    case 12: UInt8(Self.queueSize - 2)
    default: 0
    }
  }

  /// Signals the event, so that the I/O thread serves the queue.
  public func queueNotified(_ queue: Int) { _ = linux_eventfd_write(event.number) }

  // MARK: I/O thread

  /// Waits for the event.
  public func prepare() -> IOInterest { IOInterest(descriptor: event.number) }

  /// Serves queued requests up to a budget, since other sources and the run's deadline depend on this thread; the rest follows in the
  /// next iteration. No data is transferred under the device's lock, so that no CPU waits for the disk.
  public func ready(_ events: IOEvents) {
    // The kernel may have counted several notifications: one look at the queue serves them all.
    _ = linux_eventfd_read(event.number)
    var budget = Self.turn
    let isLeft = queues.serve(0) { (chain: inout DescriptorChain) throws(QueueError) in
      guard budget > 0 else { return .paused }
      var current: Request
      if let request { current = request } else { current = try begin(&chain) }
      budget -= move(&current, &chain, atMost: budget)
      guard var answer = current.answer?.rawValue else {
        request = current
        return .paused
      }
      request = nil
      withUnsafeMutableBytes(of: &answer) { _ = current.status.write(UnsafeRawBufferPointer($0)) }
      return .done(written: current.writableSize - chain.writable.count + 1)
    }
    if isLeft { _ = linux_eventfd_write(event.number) }
  }

  /// A request in progress.
  private struct Request {
    enum Task { case move(isWrite: Bool, offset: Int), flush, none }
    var task: Task
    /// The buffer for the status byte.
    var status: BufferList
    /// Size of the driver's writable buffers, in bytes.
    let writableSize: Int
    /// nil until it is known.
    var answer: Answer?
  }

  /// The incomplete request, with the queue's chain, while the thread serves other sources.
  private var request: Request?
  /// Number of bytes to transfer in one iteration of the I/O thread; a flush of unknown duration counts as all of them.
  private static let turn = 1 << 20
  /// Minimum cost of a request.
  private static let minCost = 4096

  /// Abandons the request in progress.
  public func queueReset(_ queue: Int) { request = nil }

  /// Decodes the request in a chain.
  private func begin(_ chain: inout DescriptorChain) throws(QueueError) -> Request {
    var header: (type: UInt32, reserved: UInt32, sector: UInt64) = (0, 0, 0)
    let isWhole = withUnsafeMutableBytes(of: &header) { chain.readable.read(into: $0) == 16 }
    guard isWhole, let status = chain.writable.splitLast(1) else { throw .request }
    var request = Request(task: .none, status: status, writableSize: chain.writable.count)
    switch header.type {
    case Code.write where isReadOnly: request.answer = .failed
    case Code.read, Code.write:
      let isWrite = header.type == Code.write
      let count = isWrite ? chain.readable.count : chain.writable.count
      let sectors = UInt64(count / 512)
      // Whole sectors within the file's size, which the kernel has returned as a signed number.
      if count % 512 == 0, header.sector <= capacity, sectors <= capacity - header.sector {
        request.task = .move(isWrite: isWrite, offset: Int(header.sector * 512))
      } else {
        request.answer = .failed
      }
    case Code.flush: request.task = .flush
    case Code.identify:
      serial.withUnsafeBytes { _ = chain.writable.write($0) }
      if serial.count < 20 { withUnsafeBytes(of: UInt8(0)) { _ = chain.writable.write($0) } }
      request.answer = .done
    default: request.answer = .unsupported
    }
    return request
  }

  /// Executes a request, or a part of it.
  /// - Returns: its cost, to be deducted from the budget.
  private func move(_ request: inout Request, _ chain: inout DescriptorChain, atMost budget: Int) -> Int {
    switch request.task {
    case .flush:
      request.answer = linux_fdatasync(file.number) < 0 ? .failed : .done
      return budget
    case .move(let isWrite, let start):
      var done = 0
      while done < budget {
        let next = isWrite ? chain.readable.next(atMost: budget - done) : chain.writable.next(atMost: budget - done)
        guard let bytes = next else {
          request.answer = .done
          break
        }
        guard linux_transfer(file.number, isWrite, bytes.baseAddress, bytes.count, start + done) == bytes.count else {
          request.answer = .failed
          break
        }
        done += bytes.count
      }
      request.task = .move(isWrite: isWrite, offset: start + done)
      return max(done, Self.minCost)
    case .none: return Self.minCost
    }
  }
}
