import CLinux
import Platform
import Synchronization

/// A terminal that a guest uses in raw mode. Only one thread at a time may use this object.
public final class RawTerminal: Sendable {
  private let descriptor: Int32
  private let before: termios
  private let isRaw = Atomic<Bool>(false)

  /// Saves the terminal's modes, without changing them.
  /// - Returns: nil if the descriptor is not a terminal.
  public init?(_ descriptor: Int32) {
    var before = termios()
    guard linux_terminal_modes(descriptor, &before) >= 0 else { return nil }
    self.descriptor = descriptor
    self.before = before
  }

  deinit { restore() }

  /// Sets raw mode.
  public func makeRaw() {
    isRaw.store(true, ordering: .relaxed)
    withUnsafePointer(to: before) { _ = linux_terminal_raw(descriptor, $0) }
  }

  /// Restores the saved modes.
  public func restore() {
    guard isRaw.exchange(false, ordering: .relaxed) else { return }
    withUnsafePointer(to: before) { _ = linux_terminal_restore(descriptor, $0) }
  }

  /// To be called after the process was stopped and continued: another process may have changed the modes meanwhile.
  public func continued() {
    if isRaw.load(ordering: .relaxed) { makeRaw() }
  }

  /// Stops the process, like Ctrl-Z elsewhere, until it is continued; the terminal has its saved modes meanwhile.
  public func suspend() {
    restore()
    _ = linux_suspend()
    makeRaw()
  }
}

/// Reports a signal on the I/O thread, since a handler may do very little.
public final class SignalSource: IOSource {
  private let signal: Int32
  private let event: OwnedFD
  private let onSignal: @Sendable () -> Void

  /// - Throws: the kernel's error.
  public init(_ signal: Int32, kernel: any Kernel, onSignal: @escaping @Sendable () -> Void) throws(Errno) {
    self.signal = signal
    self.onSignal = onSignal
    event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_eventfd())), kernel: kernel)
    _ = try checked(linux_watch_signal(signal, event.number))
  }

  deinit { _ = linux_watch_signal(signal, -1) }

  /// Waits for the signal.
  public func prepare() -> IOInterest { IOInterest(descriptor: event.number) }

  /// Calls the function for the signal.
  public func ready(_ events: IOEvents) {
    _ = linux_eventfd_read(event.number)
    onSignal()
  }
}
