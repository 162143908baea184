import CLinux
import Platform

/// A terminal that hands over every key and shows every byte as they are, until this value ends.
public struct RawTerminal: ~Copyable {
  private let descriptor: Int32
  private var before: termios

  /// - Returns: nil where the descriptor is no terminal.
  public init?(_ descriptor: Int32) {
    before = termios()
    guard linux_terminal_raw(descriptor, &before) >= 0 else { return nil }
    self.descriptor = descriptor
  }

  deinit { withUnsafePointer(to: before) { _ = linux_terminal_restore(descriptor, $0) } }
}

/// A signal's arrival, told on the I/O thread: the handler itself may do next to nothing.
public final class SignalSource: IOSource, @unchecked Sendable {
  private let signal: Int32
  private let event: OwnedFD
  private let onSignal: @Sendable () -> Void

  /// - Throws: the kernel's error.
  public init(_ signal: Int32, kernel: any Kernel, onSignal: @escaping @Sendable () -> Void) throws(Errno) {
    self.signal = signal
    self.onSignal = onSignal
    event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_event())), kernel: kernel)
    _ = try checked(linux_watch_signal(signal, event.number))
  }

  deinit { _ = linux_watch_signal(signal, -1) }

  public func prepare() -> IOInterest { IOInterest(descriptor: event.number) }

  public func ready(_ events: IOEvents) {
    _ = linux_event_take(event.number)
    onSignal()
  }
}
