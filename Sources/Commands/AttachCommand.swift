import CLinux
import Control
import JSON

/// `swiftlet attach`: prints all output, sends input, and exits with the applet's status.
func attach(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  do { return try attach(to: arguments.names[0], arguments) } catch { throw hostFailure(error) }
}

private func attach(to name: String, _ arguments: AppletArguments) throws(Failure) -> Int32 {
  // Wait is called first: with --rm the applet is removed as soon as it has ended.
  let end = try LastingCall("Wait", named(name), arguments.connect)
  let output = try console(of: name, arguments, toItsEnd: true)
  var requests = try arguments.connect()
  var input = InputSource()
  while true {
    var wanted = [
      pollfd(fd: output.number, events: Int16(POLLIN), revents: 0),
      pollfd(fd: input.isWanted ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0),
      pollfd(fd: end.hasMore ? -1 : end.number, events: Int16(POLLIN), revents: 0),
    ]
    // Input that the applet has not accepted is sent again after a while.
    _ = linux_ppoll(&wanted, wanted.count, input.waits ? 50_000_000 : -1)
    if wanted[0].revents != 0 { try output.receive() }
    while let reply = try output.buffered() {
      try printPart(reply, output)
      if !reply.continues { return try readEnd(of: name, end) }
    }
    if wanted[1].revents != 0 { input.receive() }
    if wanted[2].revents != 0 { try end.receive() }
    if requests.isGone, input.waits {
      // The console tells whether another daemon comes.
      guard let another = try? arguments.connect() else { continue }
      requests = another
    }
    try input.send(to: name, requests)
  }
}

/// Standard input that is sent to an applet.
private struct InputSource {
  private var bytes: [UInt8] = []
  private var hasEnded = false
  private var isDone = false

  var isWanted: Bool { !hasEnded && bytes.isEmpty }
  var waits: Bool { !isDone && (hasEnded || !bytes.isEmpty) }

  mutating func receive() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let result = buffer.withUnsafeMutableBytes { linux_read(STDIN_FILENO, $0.baseAddress, $0.count) }
    if result == -Int(EINTR) || result == -Int(EAGAIN) { return }
    if result > 0 { bytes = Array(buffer[..<result]) } else { hasEnded = true }
  }

  mutating func send(to name: String, _ client: Client) throws(Failure) {
    guard !isDone, hasEnded || !bytes.isEmpty else { return }
    var members = [JSONMember("name", .string(name)), JSONMember("data", .string(Base64.encode(bytes)))]
    if hasEnded { members.append(JSONMember("end", .bool(true))) }
    try client.send("Input", .object(members))
    let reply: Reply
    do throws(Failure) { reply = try client.next() } catch {
      // If the daemon is restarted, the call is repeated to the next one.
      guard client.isGone else { throw error }
      return
    }
    switch reply.error {
    // It is being started again: the call is repeated.
    case "org.swiftlet.Control.WrongState" where ["starting", "waiting"].contains(reply.parameters.text("state")):
      return
    // It has ended, as its console will show, and may have been removed.
    case "org.swiftlet.Control.WrongState", "org.swiftlet.Control.NoSuchApplet":
      isDone = true
      bytes = []
      return
    // The daemon has not enough resources at the moment: the call is repeated.
    case "org.swiftlet.Control.HostFailure": return
    // Its input is empty anyway.
    case "org.swiftlet.Control.NotAllowed" where bytes.isEmpty:
      isDone = true
      return
    default: break
    }
    bytes.removeFirst(max(min(Int(try accepted(reply).number("taken")), bytes.count), 0))
    if hasEnded, bytes.isEmpty { isDone = true }
  }
}
