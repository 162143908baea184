import CLinux
import Control
import JSON
import Launch
import Platform

/// The process of a run of an applet.
final class AppletProcess {
  let identity: ProcessIdentity
  private let directory: AppletDirectory
  /// Whether it is a child of this process, which it may not be after a take-over. The ID of a child is not reused
  /// before it is reaped.
  let isChild: Bool
  /// Whether an earlier daemon started it, and may have stopped it.
  let isTakenOver: Bool
  /// Its pidfd (pidfd_open(2)), to wait for it and to signal it; nil if no descriptor was available.
  private(set) var descriptor: OwnedDescriptor?
  /// The requested stop; nil for none.
  var stop: Stop?
  /// Its CPU time outside the guest, in milliseconds, when it was last asked for (`usage`).
  var monitorTime: Int64 = 0

  /// A stop in progress.
  struct Stop {
    /// The CLOCK_MONOTONIC time in nanoseconds at which the process is killed; nil when it has been.
    var killAt: Int64?
    /// What the last request wants after the end of the process.
    var next: Next
  }

  /// What follows: what a client has requested, or nothing, because the daemon itself ends the process.
  enum Next { case end, restart, unrequested }

  init(_ identity: ProcessIdentity, in directory: AppletDirectory, isChild: Bool, isTakenOver: Bool = false) {
    self.isTakenOver = isTakenOver
    self.identity = identity
    self.directory = directory
    self.isChild = isChild
  }

  var pid: Int32 { identity.pid }

  /// Whether its end must be polled for: it is not a child, and has no pidfd.
  var needsPolling: Bool { !isChild && descriptor == nil }

  /// Opens its pidfd; if no descriptor is available, the next use tries again.
  /// - Parameter max: the highest number that the descriptor may have; otherwise it is closed again.
  /// - Returns: false if the process has ended.
  @discardableResult func open(upTo max: Int32 = .max) -> Bool {
    guard descriptor == nil else { return true }
    let result = linux_pidfd_open(pid)
    if result == -Int(ESRCH) { return false }
    guard result >= 0 else { return true }
    let opened = OwnedDescriptor(Int32(truncatingIfNeeded: result))
    // Checked after it is open: a process that is not a child may have ended, and its ID may have been reused.
    if !isChild, (try? identity.isRunning(in: directory)) == false { return false }
    if opened.number <= max { descriptor = opened }
    return true
  }

  /// Sends it a signal.
  /// - Returns: false if this needs a descriptor and none is available.
  @discardableResult func signal(_ signal: Int32) -> Bool {
    open()
    if let descriptor {
      _ = linux_pidfd_send_signal(descriptor.number, signal)
    } else if isChild {
      _ = linux_kill(pid, signal)
    }
    return !needsPolling
  }

  /// Kills it; if no descriptor is available, tries again at `next`.
  func kill(orAgainAt next: Int64) {
    stop = Stop(killAt: signal(SIGKILL) ? nil : next, next: stop?.next ?? .unrequested)
  }

  /// Records that it must stop, and is to be killed at `end`, or earlier if an earlier time was set.
  func beginStop(killAt end: Int64, then next: Next) {
    stop = Stop(
      killAt: min(stop?.killAt ?? .max, end), next: next == .unrequested ? stop?.next ?? .unrequested : next)
  }
}

/// The report of a worker about its start: one message, through a pipe.
final class StartReport {
  /// The pipe; nil once the report has been received, or cannot arrive any more.
  private(set) var descriptor: OwnedDescriptor?
  /// Why the start failed; nil if no failure is known.
  private(set) var failure: ControlError?
  /// Whether a client starts an applet again that had ended for good: if that fails, it is not tried again.
  var isLastAttempt = false
  private var buffer = MessageBuffer()

  init(_ descriptor: OwnedDescriptor) { self.descriptor = descriptor }

  /// Reads available data.
  /// - Parameter image: the name of the applet's image.
  /// - Returns: whether the applet runs.
  func read(image: String) -> Bool {
    guard let number = descriptor?.number else { return false }
    let result = buffer.fill { linux_read(number, $0.baseAddress, $0.count) }
    if result == -Int(EAGAIN) || result == -Int(EINTR) { return false }
    switch buffer.next() {
    case .message(let message):
      descriptor = nil
      buffer = MessageBuffer()
      let value = message.withUnsafeBytes { JSONValue(parsing: $0, depthLimit: MessageBuffer.depthLimit) }
      failure = Self.failure(value, image: image)
      return failure == nil
    // Without a report, the end of the process explains the failure.
    case .incomplete: if result <= 0 { descriptor = nil }
    case .tooLong: descriptor = nil
    }
    return false
  }

  /// Replaces a report that the applet runs by a failure.
  func fail(_ failure: ControlError) { self.failure = failure }

  /// The error in a worker's report; nil if the applet runs.
  static func failure(_ report: JSONValue?, image: String) -> ControlError? {
    guard let error = report?["error"], let end = RunEnd(record: error) else { return nil }
    return report?["image"] == .bool(true) ? .badImage(image, reason: end.reason) : .hostFailure(end.reason)
  }
}
