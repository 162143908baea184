import CLinux
import Platform
import Synchronization

/// Where the guest's consoles write to: one descriptor, with an eye on Linux's last words.
public final class GuestOutput: @unchecked Sendable {
  private let lock = Lock()
  private let console: Console
  private var watcher = PanicWatcher()
  private let giveUp: Console.GiveUp
  /// Called at most once, when nothing can be written any more: the rest is dropped.
  private let onFailure: @Sendable (Errno) -> Void
  private var hasFailed = false
  private var hasBegun = false

  /// - Parameters:
  ///   - descriptor: stays open for as long as this object lives.
  ///   - giveUp: asked on the thread that writes whether to stop waiting for a reader.
  public init(
    descriptor: Int32, giveUp: @escaping @Sendable () -> Bool, onFailure: @escaping @Sendable (Errno) -> Void
  ) {
    console = Console(descriptor: descriptor)
    self.giveUp = giveUp
    self.onFailure = onFailure
  }

  /// What the guest's kernel said when it gave up, without the words "Kernel panic - not syncing: "; nil where it did not.
  public var panic: String? { lock.withLock { watcher.message } }

  /// Whether the guest has not written anything.
  public var isSilent: Bool { lock.withLock { !hasBegun } }

  /// Writes a byte; it may wait for the end of its line.
  func put(_ byte: UInt8) {
    send { () throws(Errno) in
      hasBegun = true
      watcher.look(at: byte)
      try console.put(byte, giveUp: giveUp)
    }
  }

  /// Writes bytes, at once.
  /// - Returns: false where more of them are of no use: the run is over.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if giveUp() { return false }
    send { () throws(Errno) in
      hasBegun = true
      for byte in bytes { watcher.look(at: byte) }
      try console.put(bytes, giveUp: giveUp)
      try console.flush(giveUp: giveUp)
    }
    return true
  }

  /// Writes what waits.
  public func flush() { send { () throws(Errno) in try console.flush(giveUp: giveUp) } }

  /// Writes what waits if that can be done without waiting for a reader, and forgets it otherwise.
  public func flushAtOnce() {
    lock.withLock { if !hasFailed { console.flushAtOnce() } }
  }

  private func send(_ body: () throws(Errno) -> Void) {
    lock.withLock {
      guard !hasFailed else { return }
      do throws(Errno) { try body() } catch {
        hasFailed = true
        if error != .interrupted { onFailure(error) }
      }
    }
  }
}

/// Finds Linux's last words (kernel/panic.c) in a stream of bytes. They are the one sign of a panic that every kernel gives:
/// what follows is a reset like any other.
struct PanicWatcher {
  private static let words: StaticString = "Kernel panic - not syncing: "
  /// Bytes of the words that were seen last.
  private var matched = 0
  private var bytes: [UInt8] = []
  private var isComplete = false

  /// The rest of the line.
  var message: String? { isReading || isComplete ? String(decoding: bytes, as: UTF8.self) : nil }

  private var isReading: Bool { matched == Self.words.utf8CodeUnitCount }

  mutating func look(at byte: UInt8) {
    if isReading {
      // A line of the guest's: what is not text stays out of the user's terminal.
      if byte == 0x0a || byte == 0x0d || bytes.count == 200 {
        isComplete = true
        matched = 0
      } else if byte >= 0x20, byte < 0x7f {
        bytes.append(byte)
      }
      return
    }
    if isComplete { return }
    // The first letter is nowhere else in the words: a mismatch starts anew, and no part of them repeats.
    if byte == Self.words.utf8Start[matched] {
      matched += 1
    } else {
      matched = byte == Self.words.utf8Start[0] ? 1 : 0
    }
  }
}
