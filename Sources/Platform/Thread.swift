import CLinux

/// A thread of this process: pthread_create(3).
public final class Thread: @unchecked Sendable {
  private var handle: UInt = 0
  /// Whether there is nothing to be cleared away: it was joined, or never came to be.
  private var isJoined = false

  /// What the new thread is handed; it owns it.
  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Starts a thread.
  /// - Parameters:
  ///   - stackSize: bytes of its stack; at least 16 KiB.
  ///   - body: what it does; its end is the thread's.
  /// - Throws: EAGAIN where the system has no thread left, EINVAL for too small a stack.
  public init(stackSize: Int = 256 << 10, _ body: @escaping @Sendable () -> Void) throws(Errno) {
    let owned = Unmanaged.passRetained(Body(body))
    let result = linux_thread_create(
      &handle, stackSize,
      { argument in
        // The creator retained it for this thread alone.
        if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, owned.toOpaque())
    if result != 0 {
      owned.release()
      // This object ends now, and there is no thread to let go of.
      isJoined = true
      throw Errno(result)
    }
  }

  /// Waits for the thread's end. Without it the thread goes on alone, and is cleared away when it ends.
  public func join() {
    guard !isJoined else { return }
    isJoined = true
    linux_thread_join(handle)
  }

  deinit { if !isJoined { linux_thread_detach(handle) } }
}
