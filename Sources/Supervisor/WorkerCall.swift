import CLinux
import Control
import JSON
import Platform

/// A call of the daemon's to a worker, over a connection of its own.
final class WorkerCall {
  let descriptor: OwnedFD
  /// CLOCK_MONOTONIC nanoseconds after which the worker is not waited for.
  let deadline: Int64
  private var output: ArraySlice<UInt8>
  private var input = MessageBuffer()
  private let completion: (Reply?) -> Void
  private(set) var isDone = false

  /// Nanoseconds that a worker has to answer: it does so between two instructions of its guest.
  private static let patience: Int64 = 5_000_000_000

  /// - Parameter completion: is called once, with nil where no reply came.
  init(_ call: Call, to folder: AppletFolder, _ completion: @escaping (Reply?) -> Void) throws(Errno) {
    let number = try checked(linux_connect(folder.file("requests"), false))
    descriptor = OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: LinuxKernel())
    deadline = Clock.monotonic + Self.patience
    output = call.message[...]
    self.completion = completion
    proceed()
  }

  /// What to poll(2) for.
  var wanted: Int32 { output.isEmpty ? POLLIN : POLLOUT }

  /// Sends and receives what can be.
  func proceed() {
    while !output.isEmpty {
      let result = output.withUnsafeBytes { linux_send_with(descriptor.number, $0.baseAddress, $0.count, -1) }
      if result == -Int(EAGAIN) || result == -Int(EINTR) { return }
      guard result > 0 else { return finish(nil) }
      output = output.dropFirst(result)
    }
    while !isDone {
      var count: Int32 = 0
      let result = input.fill { linux_receive(descriptor.number, $0.baseAddress, $0.count, nil, &count) }
      if result == -Int(EAGAIN) || result == -Int(EINTR) { return }
      guard result > 0 else { return finish(nil) }
      switch input.next() {
      case .message(let message): finish(Reply(message: message))
      case .tooLong: finish(nil)
      case .incomplete: break
      }
    }
  }

  /// Ends the call.
  func finish(_ reply: Reply?) {
    guard !isDone else { return }
    isDone = true
    completion(reply)
  }
}
