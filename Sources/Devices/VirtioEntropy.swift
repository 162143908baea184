import CLinux

/// A source of random numbers (virtio 1.2, 5.4 "Entropy Device"): the host's own.
public final class VirtioEntropy: VirtioDevice, @unchecked Sendable {
  /// Most bytes for one request: a guest that asks for gigabytes waits for nobody but itself.
  private static let limit = 64 << 10

  public init(
    memory: DeviceMemory, interrupt: any InterruptLine, complain: @escaping @Sendable (String) -> Void
  ) {
    super.init(.entropy, features: 0, queueSizes: [16], memory: memory, interrupt: interrupt, complain: complain)
  }

  public override func notified(queue: Int) {
    serve(queue: queue) { () throws(QueueError) in
      var done = 0
      while done < Self.limit, let bytes = chain.writable.next(atMost: Self.limit - done) {
        // The kernel fills up to 256 bytes at once, and more unless a signal comes.
        let result = linux_getrandom(bytes.baseAddress, bytes.count)
        if result > 0 { done += result }
        if result < bytes.count { break }
      }
      return done
    }
  }
}
