import CLinux
import Control
import JSON
import Platform

/// A call from the daemon to a worker, over a connection of its own.
final class WorkerCall {
  let descriptor: OwnedFD
  /// The CLOCK_MONOTONIC time in nanoseconds at which the call fails.
  let deadline: Int64
  private var output: ArraySlice<UInt8>
  private var input = MessageBuffer()
  private let completion: (Reply?) -> Void
  private(set) var isDone = false

  /// Nanoseconds until a worker must have answered, which it does between two instructions of its guest.
  static let timeout: Int64 = 5_000_000_000

  /// - Parameter completion: called once, with nil if there was no reply.
  init(
    _ call: Call, to directory: AppletDirectory, timeout: Int64 = timeout, _ completion: @escaping (Reply?) -> Void
  ) throws(Errno) {
    let number = try checked(linux_connect(directory.file("requests"), false))
    descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: LinuxKernel())
    deadline = Clock.monotonic + timeout
    output = call.message[...]
    self.completion = completion
    proceed()
  }

  /// The events for poll(2).
  var wanted: Int32 { output.isEmpty ? POLLIN : POLLOUT }

  /// Sends and receives without blocking.
  func proceed() {
    while !output.isEmpty {
      let result = output.withUnsafeBytes { linux_sendmsg(descriptor.number, $0.baseAddress, $0.count, -1) }
      if result == -Int(EAGAIN) || result == -Int(EINTR) { return }
      guard result > 0 else { return finish(nil) }
      output = output.dropFirst(result)
    }
    while !isDone {
      var count: Int32 = 0
      let result = input.fill { linux_recvmsg(descriptor.number, $0.baseAddress, $0.count, nil, &count) }
      if result == -Int(EAGAIN) || result == -Int(EINTR) { return }
      guard result > 0 else { return finish(nil) }
      switch input.next() {
      case .message(let message): finish(Reply(message: message))
      case .tooLong: finish(nil)
      case .incomplete: break
      }
    }
  }

  /// Completes the call.
  func finish(_ reply: Reply?) {
    guard !isDone else { return }
    isDone = true
    completion(reply)
  }
}
