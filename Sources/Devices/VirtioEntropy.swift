import CLinux

/// A source of random numbers (virtio 1.2, 5.4 "Entropy Device"), from the host's kernel.
public final class VirtioEntropy: VirtioDevice {
  /// The queue of requests.
  public let queues: VirtioQueues

  /// Maximum size of one request, in bytes: a guest that requests gigabytes blocks only itself.
  private static let limit = 64 << 10

  /// An entropy device for a guest's memory.
  public init(
    memory: DeviceMemory, interrupt: any InterruptLine, complain: @escaping @Sendable (String) -> Void
  ) {
    queues = VirtioQueues(
      .entropy, features: 0, sizes: [16], memory: memory, interrupt: interrupt, complain: complain)
  }

  /// Fills the buffers with random bytes.
  public func queueNotified(_ queue: Int) {
    queues.serve(queue) { (chain: inout DescriptorChain) throws(QueueError) in
      var done = 0
      while done < Self.limit, let bytes = chain.writable.next(atMost: Self.limit - done) {
        // The kernel returns up to 256 bytes completely, and more unless a signal arrives.
        let result = linux_getrandom(bytes.baseAddress, bytes.count)
        if result > 0 { done += result }
        if result < bytes.count { break }
      }
      return .done(written: done)
    }
  }
}
