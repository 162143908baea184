import Platform

/// A console (virtio 1.2, 5.3 "Console Device") with one port: Linux calls it hvc0.
public final class VirtioConsole: VirtioDevice, ConsoleTarget, @unchecked Sendable {
  private let output: GuestOutput
  private var columns: UInt16 = 80
  private var rows: UInt16 = 24
  /// Whether the guest has written anything since its driver started. Linux's driver offers buffers for input a moment before
  /// it knows its console, and drops what comes in between: input waits for the first output, a prompt.
  private var hasOutput = false
  /// Held by the processor that sends: the others' accesses, and what is typed, need not wait for a slow reader.
  private let transmitting = Lock()
  private var sending = DescriptorChain()
  /// Called when there is room for input again.
  public var onRoom: (@Sendable () -> Void)?

  private enum Queue {
    static let receive = 0
    static let transmit = 1
  }

  public init(
    output: GuestOutput, memory: DeviceMemory, interrupt: any InterruptLine,
    complain: @escaping @Sendable (String) -> Void
  ) {
    self.output = output
    let size: UInt64 = 1 << 0  // VIRTIO_CONSOLE_F_SIZE
    super.init(
      .console, features: size, queueSizes: [64, 64], memory: memory, interrupt: interrupt, complain: complain)
  }

  /// Sets the size of the user's terminal, in characters.
  public func setSize(columns: UInt16, rows: UInt16) {
    withLock {
      if (columns, rows) == (self.columns, self.rows) { return }
      self.columns = columns
      self.rows = rows
      configurationChanged()
    }
  }

  public override func configuration(at offset: Int) -> UInt8 {
    guard offset < 4 else { return 0 }
    let size = UInt32(columns) | UInt32(rows) << 16
    return UInt8(truncatingIfNeeded: size >> UInt32(offset * 8))
  }

  public override func notified(queue: Int) {
    if queue != Queue.transmit { onRoom?() }
  }

  public override func notifiedOutside(queue: Int) {
    guard queue == Queue.transmit else { return }
    let isReady = transmitting.withLock {
      serveOutside(queue: queue, &sending) { (chain: inout DescriptorChain) throws(QueueError) in
        // A chain may hold all of the memory as often as it has descriptors: a run that is over does not wait for it.
        while let bytes = chain.readable.next(atMost: 4096), output.write(UnsafeRawBufferPointer(bytes)) {}
        return 0
      }
    }
    let isFirst = withLock {
      guard isReady, !hasOutput else { return false }
      hasOutput = true
      return true
    }
    if isFirst { onRoom?() }
  }

  public override func stopped() { hasOutput = false }

  public var room: Int { withLock { hasOutput && hasBuffer(queue: Queue.receive) ? 256 : 0 } }

  /// - Note: what does not fit the driver's buffer is lost; Linux's take a page.
  public func receive(_ bytes: UnsafeRawBufferPointer) { withLock { _ = send(queue: Queue.receive, bytes) } }
}

extension UART: ConsoleTarget {}
