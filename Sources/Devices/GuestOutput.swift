import CLinux
import Platform
import Synchronization

/// The output of the guest's consoles: one descriptor, searched for the message of a kernel panic.
public final class GuestOutput: Sendable {
  private struct State {
    let console: Console
    var watcher = PanicWatcher()
    var hasFailed = false
    var hasBegun = false
  }

  private let state: Guarded<State>
  private let mustStop: @Sendable () -> Bool
  /// Called at most once, when a write fails: further output is dropped.
  private let onFailure: @Sendable (Errno) -> Void

  /// - Parameters:
  ///   - descriptor: stays open while this object exists.
  ///   - mustStop: called on the writing thread: whether to stop waiting for a reader.
  public init(
    descriptor: Int32, mustStop: @escaping @Sendable () -> Bool, onFailure: @escaping @Sendable (Errno) -> Void
  ) {
    state = Guarded(State(console: Console(descriptor: descriptor)))
    self.mustStop = mustStop
    self.onFailure = onFailure
  }

  /// The message of the guest's kernel panic, without "Kernel panic - not syncing: "; nil if there was none, or a restart was
  /// requested after it.
  public var panic: String? { state.withLock { $0.watcher.message } }

  /// Whether the guest has written nothing.
  public var isSilent: Bool { state.withLock { !$0.hasBegun } }

  /// Writes a byte, which may be delayed until the end of its line.
  func put(_ byte: UInt8) {
    send { (state) throws(Errno) in
      state.hasBegun = true
      state.watcher.look(at: byte)
      try state.console.put(byte, mustStop: mustStop)
    }
  }

  /// Writes bytes at once.
  /// - Returns: false if the run has ended, and the caller should not write more.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if mustStop() { return false }
    send { (state) throws(Errno) in
      state.hasBegun = true
      for byte in bytes { state.watcher.look(at: byte) }
      try state.console.put(bytes, mustStop: mustStop)
      try state.console.flush(mustStop: mustStop)
    }
    return true
  }

  /// Writes delayed bytes.
  public func flush() { send { (state) throws(Errno) in try state.console.flush(mustStop: mustStop) } }

  /// Writes delayed bytes if that does not block, and drops them otherwise.
  public func flushAtOnce() {
    state.withLock { if !$0.hasFailed { $0.console.flushAtOnce() } }
  }

  private func send(_ body: (inout State) throws(Errno) -> Void) {
    state.withLock { state in
      guard !state.hasFailed else { return }
      do throws(Errno) { try body(&state) } catch {
        state.hasFailed = true
        if error != .interrupted { onFailure(error) }
      }
    }
  }
}

/// Finds the message of a panic (kernel/panic.c) in Linux's output. It is the only sign of a panic that every kernel has: what follows
/// is a reset like any other. A program in the guest may print such a message, too, for example from an old log; a later restart
/// is reported by the kernel (kernel/reboot.c), but not after a panic.
struct PanicWatcher {
  private var panic = Pattern("Kernel panic - not syncing: ")
  private var restart = Pattern("Restarting system")
  private var isReading = false
  /// The rest of the line with the panic's message.
  private var bytes: [UInt8]?

  var message: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

  mutating func look(at byte: UInt8) {
    if panic.end(with: byte) {
      bytes = []
      isReading = true
    } else if restart.end(with: byte) {
      bytes = nil
      isReading = false
    } else if isReading {
      // Only printable characters of the guest's line go to the user's terminal.
      if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") || bytes?.count == 200 {
        isReading = false
      } else if (UInt8(ascii: " ")...UInt8(ascii: "~")).contains(byte) {
        bytes?.append(byte)
      }
    }
  }

  /// A text whose first letter occurs only once in it, so that a mismatch starts from the beginning.
  private struct Pattern {
    private let text: StaticString
    /// Number of bytes that match so far.
    private var matched = 0

    init(_ text: StaticString) { self.text = text }

    /// Examines the next byte.
    /// - Returns: whether it completes the text.
    mutating func end(with byte: UInt8) -> Bool {
      if byte == text.utf8Start[matched] {
        matched += 1
      } else {
        matched = byte == text.utf8Start[0] ? 1 : 0
      }
      guard matched == text.utf8CodeUnitCount else { return false }
      matched = 0
      return true
    }
  }
}
