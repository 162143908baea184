import CLinux

/// A thread of this process: pthread_create(3).
public final class Thread {
  private var handle: UInt = 0
  /// Whether the thread need not be detached: it was joined, or was not created.
  private var isJoined = false

  /// The argument of the new thread, which owns it.
  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }

  /// Starts a thread.
  /// - Parameters:
  ///   - stackSize: size of its stack, in bytes; at least 16 KiB.
  ///   - body: runs on the thread; the thread ends when it returns.
  /// - Throws: EAGAIN if no more threads can be created, EINVAL if the stack is too small.
  public init(stackSize: Int = 256 << 10, _ body: sending @escaping () -> Void) throws(Errno) {
    let owned = Unmanaged.passRetained(Body(body))
    let result = linux_thread_create(
      &handle, stackSize,
      { argument in
        // `init` retained it for this thread only.
        if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, owned.toOpaque())
    if result != 0 {
      owned.release()
      // This object is deinitialized now, without a thread to detach.
      isJoined = true
      throw Errno(result)
    }
  }

  /// Waits for the thread's end. A thread that is not joined is detached when this object is deinitialized.
  public func join() {
    guard !isJoined else { return }
    isJoined = true
    linux_thread_join(handle)
  }

  deinit { if !isJoined { linux_thread_detach(handle) } }
}
