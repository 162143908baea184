import CLinux
import Launch
import Platform

/// `swiftlet bridge`: connects standard input and output to the daemon, so that a remote client can use it through ssh(1).
func bridge(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let client = try arguments.connect()
  var outgoing: ArraySlice<UInt8> = []
  var hasEnded = false
  while true {
    // Neither direction may block the other: the daemon does not read if its replies are not read.
    let events = outgoing.isEmpty ? POLLIN : POLLIN | POLLOUT
    var wanted = [
      pollfd(fd: client.number, events: Int16(events), revents: 0),
      pollfd(fd: hasEnded || !outgoing.isEmpty ? -1 : STDIN_FILENO, events: Int16(POLLIN), revents: 0),
    ]
    _ = linux_ppoll(&wanted, wanted.count, -1)
    if Int32(wanted[0].revents) & (POLLIN | POLLHUP | POLLERR) != 0 {
      guard let bytes = readSome(client.number) else { return ExitCode.success.rawValue }
      try say(bytes: bytes)
    }
    if wanted[1].revents != 0 {
      if let bytes = readSome(STDIN_FILENO) {
        outgoing = bytes[...]
      } else {
        hasEnded = true
        linux_shutdown_write(client.number)
      }
    }
    if !outgoing.isEmpty {
      let result = outgoing.withUnsafeBytes { linux_send(client.number, $0.baseAddress, $0.count) }
      if result > 0 {
        outgoing = outgoing.dropFirst(result)
      } else if result != -Int(EAGAIN), result != -Int(EINTR) {
        throw .failed(.host, "the daemon has closed the connection: see its log")
      }
    }
  }
}

/// The bytes that can be read now; nil at the end.
private func readSome(_ descriptor: Int32) -> [UInt8]? {
  while true {
    var result = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, count in
      result = linux_read(descriptor, buffer.baseAddress, buffer.count)
      count = max(result, 0)
    }
    if result == -Int(EINTR) { continue }
    return result > 0 || result == -Int(EAGAIN) ? bytes : nil
  }
}
