import CLinux
import Platform

/// Closes descriptors on a thread of its own, which exists only while there are any.
///
/// close(2) may block: for the peer of a TCP socket (SO_LINGER), for the server of a FUSE file system, for a serial
/// line. A descriptor that a client has sent is therefore never closed on the daemon's own thread.
final class Closer: @unchecked Sendable {
  private let lock = Lock()
  // Under the lock: the descriptors to be closed, the one that is being closed, and whether there is a thread.
  private var queue: [Int32] = []
  private var isClosing = false
  private var hasThread = false

  /// The number of descriptors that are still open.
  var pending: Int { lock.withLock { queue.count + (isClosing ? 1 : 0) } }

  /// Stops closing descriptors.
  /// - Returns: those that are still open.
  func stop() -> [Int32] {
    lock.withLock {
      defer { queue = [] }
      return queue
    }
  }

  /// Takes ownership of a descriptor and closes it.
  func close(_ number: Int32) {
    let isIdle = lock.withLock {
      queue.append(number)
      defer { hasThread = true }
      return !hasThread
    }
    if isIdle { start() }
  }

  private func start() {
    do throws(Errno) {
      _ = try Thread(stackSize: 64 << 10) { self.work() }
    } catch {
      // The next call tries again.
      lock.withLock { hasThread = false }
    }
  }

  private func work() {
    while let number = next() { _ = linux_close(number) }
  }

  private func next() -> Int32? {
    lock.withLock {
      isClosing = !queue.isEmpty
      hasThread = isClosing
      return isClosing ? queue.removeFirst() : nil
    }
  }
}

/// A descriptor that a client has sent.
final class ReceivedDescriptor {
  let number: Int32
  /// The number of bytes received on its connection when it arrived.
  let end: Int
  private let closer: Closer

  init(_ number: Int32, end: Int, closer: Closer) {
    self.number = number
    self.end = end
    self.closer = closer
  }

  deinit { closer.close(number) }
}
