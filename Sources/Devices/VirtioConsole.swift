/// A console (virtio 1.2, 5.3 "Console Device") with one port, hvc0 in Linux.
///
/// Sendable because of the queues' lock.
public final class VirtioConsole: VirtioDevice, ConsoleTarget, @unchecked Sendable {
  /// The receive and the transmit queue.
  public let queues: VirtioQueues
  private let output: GuestOutput
  // Under the queues' lock.
  private var columns: UInt16 = 80
  private var rows: UInt16 = 24
  /// Whether the guest has written anything since its driver started. Linux's driver offers input buffers shortly before its console
  /// is ready, and drops input in between: input is delayed until the first output, such as a prompt.
  private var hasOutput = false
  /// Called when it accepts input again.
  public var onSpace: (@Sendable () -> Void)?

  private enum Queue {
    static let receive = 0
    static let transmit = 1
  }

  /// - Parameters:
  ///   - memory: the guest's memory.
  ///   - output: where the guest's output is written.
  public init(
    output: GuestOutput, memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.output = output
    let size: UInt64 = 1 << 0  // VIRTIO_CONSOLE_F_SIZE
    queues = VirtioQueues(
      .console, features: size, sizes: [64, 64], memory: memory, interrupt: interrupt, complain: complain)
  }

  /// Sets the size of the user's terminal, in characters.
  public func setSize(columns: UInt16, rows: UInt16) {
    queues.withLock {
      if (columns, rows) == (self.columns, self.rows) { return }
      self.columns = columns
      self.rows = rows
      queues.configurationChanged()
    }
  }

  /// The configuration: the size of the terminal (virtio 1.2, 5.3.4).
  public func configuration(at offset: Int) -> UInt8 {
    guard offset < 4 else { return 0 }
    let size = UInt32(columns) | UInt32(rows) << 16
    return UInt8(truncatingIfNeeded: size >> UInt32(offset * 8))
  }

  /// Writes output, or reports that input is accepted.
  public func queueNotified(_ queue: Int) {
    guard queue == Queue.transmit else { return onSpace?() ?? () }
    // It may wait for a slow reader, and it only reads guest memory.
    queues.serve(queue, resetWaits: false) { (chain: inout DescriptorChain) throws(QueueError) in
      // A chain may contain the whole memory in each descriptor: it is abandoned when the run has ended.
      while let bytes = chain.readable.next(atMost: 4096), output.write(UnsafeRawBufferPointer(bytes)) {}
      return .done(written: 0)
    }
    let isFirst = queues.withLock {
      guard queues.isRunning, !hasOutput else { return false }
      hasOutput = true
      return true
    }
    if isFirst { onSpace?() }
  }

  /// Delays input until the next output.
  public func reset() { hasOutput = false }

  /// Number of bytes that it accepts now: none before the guest's first output.
  public var space: Int { queues.withLock { hasOutput && queues.hasBuffer(Queue.receive) ? 256 : 0 } }

  /// - Note: input that does not fit the driver's buffer is lost; Linux's buffers have the size of a page.
  public func receive(_ bytes: UnsafeRawBufferPointer) { queues.withLock { _ = queues.send(Queue.receive, bytes) } }
}

extension UART: ConsoleTarget {}
