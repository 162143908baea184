import CLinux
import Platform

/// A console, as the destination of typed input.
public protocol ConsoleTarget: AnyObject {
  /// Number of bytes that the guest accepts now.
  var space: Int { get }
  /// Passes input to the guest, at most `space` bytes.
  func receive(_ bytes: UnsafeRawBufferPointer)
}

/// Typed input, which is read when the guest accepts it. On a terminal, Ctrl-A starts an escape sequence: x ends the run, z suspends
/// it, another Ctrl-A is passed to the guest. A terminal is read at any time, so that escape sequences are recognized even if the
/// guest accepts no input; input beyond `capacity` is then lost.
public final class ConsoleInput: IOSource {
  private var descriptor: Int32
  private let isTerminal: Bool
  private let target: any ConsoleTarget
  private let onQuit: @Sendable () -> Void
  private let onSuspend: @Sendable () -> Void
  /// Bytes read and not yet passed to the guest.
  private var pending: [UInt8] = []
  private var hasEscape = false

  private static let escape: UInt8 = 0x01  // Ctrl-A
  private static let quit = UInt8(ascii: "x")
  private static let suspend = UInt8(ascii: "z")
  /// Maximum number of bytes from a terminal that wait for the guest.
  public static let capacity = 1 << 20

  /// - Parameters:
  ///   - descriptor: stays open while this object exists.
  ///   - isTerminal: whether escape sequences are recognized.
  ///   - onQuit: called on the I/O thread when the user ends the run.
  ///   - onSuspend: called, on the I/O thread, when the user wants the process to stop until it is continued (SIGTSTP).
  public init(
    descriptor: Int32, isTerminal: Bool, target: any ConsoleTarget, onQuit: @escaping @Sendable () -> Void,
    onSuspend: @escaping @Sendable () -> Void
  ) {
    self.descriptor = descriptor
    self.isTerminal = isTerminal
    self.target = target
    self.onQuit = onQuit
    self.onSuspend = onSuspend
  }

  /// Passes pending input to the guest, and waits for more if it can be read.
  public func prepare() -> IOInterest {
    deliver()
    return isTerminal || (pending.isEmpty && target.space > 0) ? IOInterest(descriptor: descriptor) : .nothing
  }

  /// Reads input.
  public func ready(_ events: IOEvents) {
    withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { buffer in
      let result = linux_read(descriptor, buffer.baseAddress, buffer.count)
      if result > 0 {
        for byte in buffer[..<result] { take(byte) }
        deliver()
      } else if result != -Int(EINTR), result != -Int(EAGAIN) {
        // The end of the input does not end the run.
        descriptor = -1
      }
    }
  }

  private func take(_ byte: UInt8) {
    guard isTerminal else { return pending.append(byte) }
    if hasEscape {
      hasEscape = false
      if byte == Self.quit { return onQuit() }
      if byte == Self.suspend { return onSuspend() }
      if byte != Self.escape { keep(Self.escape) }
      keep(byte)
    } else if byte == Self.escape {
      hasEscape = true
    } else {
      keep(byte)
    }
  }

  private func keep(_ byte: UInt8) {
    if pending.count < Self.capacity { pending.append(byte) }
  }

  private func deliver() {
    while !pending.isEmpty {
      let count = min(target.space, pending.count)
      guard count > 0 else { return }
      pending.withUnsafeBytes { target.receive(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      pending.removeFirst(count)
    }
  }
}
