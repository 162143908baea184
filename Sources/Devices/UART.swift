import Platform

/// A serial port: a 16550A (National Semiconductor PC16550D), with registers one byte apart. Output is sent immediately; input is
/// buffered until the guest's driver is ready.
///
/// Sendable because a lock protects all mutable state.
public final class UART: MMIODevice, @unchecked Sendable {
  private let output: GuestOutput
  private let interrupt: any InterruptLine
  private let lock = Lock()
  /// Called, without the lock, when it accepts input again.
  public var onSpace: (@Sendable () -> Void)?

  /// Size of the port's registers, in bytes.
  public static let windowSize: UInt64 = 8
  /// A ring buffer of received bytes that the guest has not read.
  private var received = [UInt8](repeating: 0, count: 256)
  private var first = 0
  private var waiting = 0

  private var divisor: UInt16 = 1
  private var interruptEnable: UInt8 = 0
  private var lineControl: UInt8 = 0
  private var modemControl: UInt8 = 0
  private var scratch: UInt8 = 0
  private var hasFIFO = false
  /// The "transmitter empty" interrupt, which is cleared by reading its cause.
  private var isTransmitterPending = false
  private var isLineHigh = false

  /// A serial port with this output and interrupt line.
  public init(output: GuestOutput, interrupt: any InterruptLine) {
    self.output = output
    self.interrupt = interrupt
  }

  private enum Register {
    static let data: UInt64 = 0
    static let interruptEnable: UInt64 = 1
    static let identification: UInt64 = 2  // when written: FIFO control
    static let lineControl: UInt64 = 3
    static let modemControl: UInt64 = 4
    static let lineStatus: UInt64 = 5
    static let modemStatus: UInt64 = 6
    static let scratch: UInt64 = 7
  }

  private var reachesDivisor: Bool { lineControl & 0x80 != 0 }
  private var isLoop: Bool { modemControl & 0x10 != 0 }

  // MARK: Input

  /// Number of bytes that it accepts now: none before the guest's driver is ready, which first clears the port.
  public var space: Int { lock.withLock { listens ? received.count - waiting : 0 } }

  private var hasSpace: Bool { listens && waiting < received.count }
  private var listens: Bool { interruptEnable & 1 != 0 && !isLoop }

  /// Receives input, at most `space` bytes; more is lost.
  public func receive(_ bytes: UnsafeRawBufferPointer) {
    lock.withLock {
      for byte in bytes { append(byte) }
      updateLine()
    }
  }

  private func append(_ byte: UInt8) {
    guard waiting < received.count else { return }
    received[(first + waiting) % received.count] = byte
    waiting += 1
  }

  // MARK: Registers

  /// Handles a load from a register.
  public func load(_ offset: UInt64, length: Int) -> UInt64 {
    var hadSpace = true
    let value = lock.withLock {
      hadSpace = !listens || hasSpace
      return register(offset)
    }
    if !hadSpace { onSpace?() }
    return UInt64(value)
  }

  /// Handles a store to a register.
  public func store(_ offset: UInt64, length: Int, value: UInt64) {
    // Without the lock, and before the guest can see that it was sent: a slow reader blocks no other CPU.
    switch lock.withLock({ consequence(of: offset) }) {
    case .byte: output.put(UInt8(truncatingIfNeeded: value))
    case .flush: output.flush()
    case .none: break
    }
    let hasMoreSpace = lock.withLock {
      let before = hasSpace
      setRegister(offset, UInt8(truncatingIfNeeded: value))
      return !before && hasSpace
    }
    if hasMoreSpace { onSpace?() }
  }

  /// The effect of a store on the output.
  private enum Consequence { case none, byte, flush }

  private func consequence(of offset: UInt64) -> Consequence {
    switch offset {
    case Register.data where !reachesDivisor && !isLoop: .byte
    // Linux does this when it has nothing more to send.
    case Register.interruptEnable where !reachesDivisor: .flush
    default: .none
    }
  }

  private func register(_ offset: UInt64) -> UInt8 {
    switch offset {
    case Register.data:
      if reachesDivisor { return UInt8(truncatingIfNeeded: divisor) }
      guard waiting > 0 else { return 0 }
      let byte = received[first]
      first = (first + 1) % received.count
      waiting -= 1
      updateLine()
      return byte
    case Register.interruptEnable:
      return reachesDivisor ? UInt8(truncatingIfNeeded: divisor >> 8) : interruptEnable
    case Register.identification:
      let cause = pendingCause
      if cause == Cause.transmitter {
        isTransmitterPending = false
        updateLine()
      }
      return cause | (hasFIFO ? 0xc0 : 0)
    case Register.lineControl: return lineControl
    case Register.modemControl: return modemControl
    // The transmitter is always empty.
    case Register.lineStatus: return 0x60 | (waiting > 0 ? 1 : 0)
    // In loopback mode the port reads its own modem control lines; otherwise those of a device that is always ready.
    case Register.modemStatus:
      guard isLoop else { return 0xb0 }
      return (modemControl & 2) << 3 | (modemControl & 1) << 5 | (modemControl & 0x0c) << 4
    case Register.scratch: return scratch
    default: return 0
    }
  }

  private func setRegister(_ offset: UInt64, _ value: UInt8) {
    switch offset {
    case Register.data:
      if reachesDivisor {
        divisor = divisor & 0xff00 | UInt16(value)
        return
      }
      if isLoop { append(value) }
      isTransmitterPending = true
    case Register.interruptEnable:
      if reachesDivisor {
        divisor = divisor & 0xff | UInt16(value) << 8
        return
      }
      if value & 2 != 0, interruptEnable & 2 == 0 { isTransmitterPending = true }
      interruptEnable = value & 0x0f
    case Register.identification:
      hasFIFO = value & 1 != 0
      if value & 2 != 0 { waiting = 0 }
    case Register.lineControl: lineControl = value
    case Register.modemControl: modemControl = value & 0x1f
    case Register.scratch: scratch = value
    default: return
    }
    updateLine()
  }

  // MARK: Interrupts

  private enum Cause {
    static let none: UInt8 = 1
    static let transmitter: UInt8 = 2
    static let received: UInt8 = 4
  }

  private var pendingCause: UInt8 {
    if interruptEnable & 1 != 0, waiting > 0 { return Cause.received }
    if interruptEnable & 2 != 0, isTransmitterPending { return Cause.transmitter }
    return Cause.none
  }

  private func updateLine() {
    let isHigh = pendingCause != Cause.none
    if isHigh == isLineHigh { return }
    isLineHigh = isHigh
    interrupt.setLevel(isHigh)
  }
}
