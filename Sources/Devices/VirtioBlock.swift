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
/// A notification only signals an event (by the kernel where it can: KVM_IOEVENTFD), and the I/O thread does the work: a
/// slow disk stops no processor.
public final class VirtioBlock: VirtioDevice, IOSource, @unchecked Sendable {
  private let file: OwnedFD
  private let isReadOnly: Bool
  /// Size in sectors of 512 bytes.
  private let capacity: UInt64
  /// What the guest reads as the disk's serial number: 20 bytes at most.
  private let serial: [UInt8]
  /// Signalled when the queue holds requests.
  public let event: OwnedFD

  /// Features (virtio 1.2, 5.2.3).
  private enum Feature {
    static let segments: UInt64 = 1 << 2
    static let readOnly: UInt64 = 1 << 5
    static let flush: UInt64 = 1 << 9
  }

  /// Requests and answers (virtio 1.2, 5.2.6).
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

  /// Serves what is on offer, as far as it is not too much for the others who wait for this thread, the run's limit among them:
  /// the rest is for the next turn. No bytes move under the device's lock: no processor waits for the disk.
  public func ready(_ events: IOEvents) {
    // The kernel may have counted several notifications: one look at the queue serves them all.
    _ = linux_event_take(event.number)
    var budget = Self.turn
    var hasAnswered = false
    while true {
      let isUnderWay = withLock {
        // For a request that is there, bytes move from here on: whoever forgets it waits.
        if proceed(&hasAnswered), budget > 0 {
          moving.acquire()
          return true
        }
        if hasAnswered { tell(queue: 0) }
        return false
      }
      guard isUnderWay else { break }
      budget -= move(atMost: budget)
      moving.release()
    }
    if budget <= 0 { _ = linux_event_signal(event.number) }
  }

  /// A request that was taken.
  private struct Request {
    enum Task { case move(isWrite: Bool, offset: Int), flush, none }
    var task: Task
    /// Where the answer goes.
    var status: BufferList
    /// Bytes that could be written to the driver's buffers.
    let room: Int
    /// nil until it is known.
    var answer: Answer?
  }

  /// The one that is under way: changed under the device's lock, and under `moving` alone while bytes move.
  private var request: Request?
  /// Its buffers.
  private var buffers = DescriptorChain()
  /// Held while bytes move.
  private let moving = Lock()
  /// Bytes that are moved in one turn of the I/O thread; a flush, whose time nobody knows, counts as all of them.
  private static let turn = 1 << 20
  /// What a request counts at least.
  private static let least = 4096

  public override func forget(queue: Int) {
    // The driver may use its buffers for something else from here on.
    moving.withLock { request = nil }
  }

  /// Answers the request under way if it is done, and takes the next one.
  /// - Returns: whether one is under way.
  private func proceed(_ hasAnswered: inout Bool) -> Bool {
    if var request {
      guard var answer = request.answer?.rawValue else { return true }
      self.request = nil
      withUnsafeMutableBytes(of: &answer) { _ = request.status.write(UnsafeRawBufferPointer($0)) }
      queues[0].giveBack(buffers.head, written: request.room - buffers.writable.count + 1)
      hasAnswered = true
    }
    guard isRunning, queues[0].isReady else { return false }
    do throws(QueueError) {
      guard try queues[0].take(&buffers, memory) else { return false }
      request = try begin()
      return true
    } catch {
      fail(queue: 0, error)
      return false
    }
  }

  /// What the request in the buffers asks for.
  private func begin() throws(QueueError) -> Request {
    var header: (type: UInt32, reserved: UInt32, sector: UInt64) = (0, 0, 0)
    let isWhole = withUnsafeMutableBytes(of: &header) { buffers.readable.read(into: $0) == 16 }
    guard isWhole, let status = buffers.writable.splitLast(1) else { throw .request }
    var request = Request(task: .none, status: status, room: buffers.writable.count)
    switch header.type {
    case Code.write where isReadOnly: request.answer = .failed
    case Code.read, Code.write:
      let isWrite = header.type == Code.write
      let count = isWrite ? buffers.readable.count : buffers.writable.count
      let sectors = UInt64(count / 512)
      // Whole sectors, and not beyond the file's size, which the kernel gave as a signed number.
      if count % 512 == 0, header.sector <= capacity, sectors <= capacity - header.sector {
        request.task = .move(isWrite: isWrite, offset: Int(header.sector * 512))
      } else {
        request.answer = .failed
      }
    case Code.flush: request.task = .flush
    case Code.identify:
      serial.withUnsafeBytes { _ = buffers.writable.write($0) }
      if serial.count < 20 { withUnsafeBytes(of: UInt8(0)) { _ = buffers.writable.write($0) } }
      request.answer = .done
    default: request.answer = .unsupported
    }
    return request
  }

  /// Does what the request under way asks for, or a part of it.
  /// - Returns: what of the turn's budget it has cost.
  private func move(atMost budget: Int) -> Int {
    switch request?.task {
    case .flush:
      request?.answer = linux_datasync(file.number) < 0 ? .failed : .done
      return budget
    case .move(let isWrite, let start):
      var done = 0
      while done < budget {
        let next = isWrite ? buffers.readable.next(atMost: budget - done) : buffers.writable.next(atMost: budget - done)
        guard let bytes = next else {
          request?.answer = .done
          break
        }
        guard linux_transfer(file.number, isWrite, bytes.baseAddress, bytes.count, start + done) == bytes.count else {
          request?.answer = .failed
          break
        }
        done += bytes.count
      }
      request?.task = .move(isWrite: isWrite, offset: start + done)
      return max(done, Self.least)
    default: return Self.least
    }
  }
}
