import CLinux
import Platform

/// A console as the one who types sees it.
public protocol ConsoleTarget: AnyObject {
  /// Bytes that the guest takes now.
  var room: Int { get }
  /// Takes input, at most `room` bytes.
  func receive(_ bytes: UnsafeRawBufferPointer)
}

/// What is typed, on its way to the guest: read when the guest takes it. On a terminal, Ctrl-A is the key for the monitor
/// itself: x ends the run, another Ctrl-A goes to the guest.
public final class ConsoleInput: IOSource, @unchecked Sendable {
  private var descriptor: Int32
  private let isTerminal: Bool
  private let target: any ConsoleTarget
  private let onQuit: @Sendable () -> Void
  /// Read, and not yet taken by the guest.
  private var pending: [UInt8] = []
  private var hasEscape = false

  private static let escape: UInt8 = 0x01  // Ctrl-A
  private static let quit: UInt8 = 0x78  // x

  /// - Parameters:
  ///   - descriptor: stays open for as long as this object lives.
  ///   - isTerminal: whether the key for the monitor counts.
  ///   - onQuit: called, on the I/O thread, when the user wants the run to end.
  public init(
    descriptor: Int32, isTerminal: Bool, target: any ConsoleTarget, onQuit: @escaping @Sendable () -> Void
  ) {
    self.descriptor = descriptor
    self.isTerminal = isTerminal
    self.target = target
    self.onQuit = onQuit
  }

  public func prepare() -> IOInterest {
    deliver()
    // On a terminal the monitor's key has to be seen at any time, even where the guest listens to nothing.
    let mayRead = pending.isEmpty ? isTerminal || target.room > 0 : isTerminal && pending.count < 4096
    return mayRead ? IOInterest(descriptor: descriptor) : .nothing
  }

  public func ready(_ events: IOEvents) {
    withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { buffer in
      let result = linux_read(descriptor, buffer.baseAddress, buffer.count)
      if result > 0 {
        for byte in buffer[..<result] { take(byte) }
        deliver()
      } else if result != -Int(EINTR), result != -Int(EAGAIN) {
        // The end of the input is no end of the run: the guest goes on without.
        descriptor = -1
      }
    }
  }

  private func take(_ byte: UInt8) {
    guard isTerminal else { return pending.append(byte) }
    if hasEscape {
      hasEscape = false
      if byte == Self.quit { return onQuit() }
      if byte != Self.escape { pending.append(Self.escape) }
      pending.append(byte)
    } else if byte == Self.escape {
      hasEscape = true
    } else {
      pending.append(byte)
    }
  }

  private func deliver() {
    while !pending.isEmpty {
      let count = min(target.room, pending.count)
      guard count > 0 else { return }
      pending.withUnsafeBytes { target.receive(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      pending.removeFirst(count)
    }
  }
}
