import CLinux
import Platform

/// `swiftlet bridge`: carries a connection to the daemon over standard input and output, so that a client elsewhere reaches it
/// through ssh(1).
func bridge(_ words: ParsedWords) throws(Failure) -> Int32 {
  if let word = words.operands.first { throw .usage(.bridge, "unexpected word '\(word)'") }
  let client = try Client(socket: words.options.last?.value)
  var outgoing: ArraySlice<UInt8> = []
  var hasEnded = false
  while true {
    // Neither direction may wait for the other: the daemon stops reading where its replies are not read.
    let events = outgoing.isEmpty ? POLLIN : POLLIN | POLLOUT
    var wanted = [
      pollfd(fd: client.number, events: Int16(events), revents: 0),
      pollfd(fd: hasEnded || !outgoing.isEmpty ? -1 : STDIN_FILENO, events: Int16(POLLIN), revents: 0),
    ]
    _ = linux_poll_for(&wanted, wanted.count, -1)
    if Int32(wanted[0].revents) & (POLLIN | POLLHUP | POLLERR) != 0 {
      let bytes = readSome(client.number)
      if bytes.isEmpty { return Status.success.rawValue }
      say(bytes: bytes)
    }
    if wanted[1].revents != 0 {
      outgoing = readSome(STDIN_FILENO)[...]
      if outgoing.isEmpty {
        hasEnded = true
        linux_end_sending(client.number)
      }
    }
    if !outgoing.isEmpty {
      let result = outgoing.withUnsafeBytes { linux_send(client.number, $0.baseAddress, $0.count) }
      if result > 0 {
        outgoing = outgoing.dropFirst(result)
      } else if result != -Int(EAGAIN), result != -Int(EINTR) {
        throw .failed(.host, "the daemon has left: its log says why")
      }
    }
  }
}

/// What can be read now; nothing at the end.
private func readSome(_ descriptor: Int32) -> [UInt8] {
  while true {
    var result = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, count in
      result = linux_read(descriptor, buffer.baseAddress, buffer.count)
      count = max(result, 0)
    }
    if result != -Int(EINTR) { return bytes }
  }
}
