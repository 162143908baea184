import CLinux
import Control
import JSON
import Launch
import Platform

/// Arguments of `swiftlet start`.
struct StartArguments: CommandArguments, DescribesGuest, HasServices, ConnectsToDaemon {
  var guest = GuestArguments()
  private(set) var path = ""
  /// The request, without the image.
  private(set) var request = StartRequest()
  var services: [ServiceAddress] {
    get { request.services }
    set { request.services = newValue }
  }
  var socket: String?
  var isJSON = false

  mutating func take(operands: [String]) throws(ArgumentError) {
    guest.request.arguments = Array(operands.dropFirst())
    request.guest = try guest.spec()
    guard let path = operands.first else { throw ArgumentError("the applet's file is missing") }
    self.path = path
  }

  static var options: [Option<StartArguments>] {
    table(
      of: [nameOption], guestOptions(and: [cpusOption(help: "--non-secure: number of CPUs (default 1)")]),
      processLimitOptions(), ownOptions)
  }

  private static var nameOption: Option<StartArguments> {
    Option("name", short: "n", argument: "NAME", help: "its name (default: applet- and a number)") {
      arguments, value throws(ArgumentError) in
      guard AppletName.isValid(value) else {
        throw ArgumentError("--name '\(value)' is not a valid name: give 1 to 64 letters, digits, '-', '_' and '.'")
      }
      arguments.request.name = value
    }
  }

  private static var ownOptions: [Option<StartArguments>] {
    [
      Option("digest", argument: "sha256:HEX", help: "start the image only if this is its SHA-256 digest") {
        arguments, value throws(ArgumentError) in
        guard let digest = ImageDigest(value) else {
          throw ArgumentError(
            "--digest '\(value)' is not a digest: give sha256: and the 64 digits that sha256sum prints")
        }
        arguments.request.digest = digest
      },
      Option("restart", argument: "POLICY", help: "no, on-failure or always; with :N at most N times") {
        arguments, value throws(ArgumentError) in
        arguments.request.restart = try restart(value, delay: arguments.request.restart.delay)
      },
      Option(
        "restart-delay", argument: "DURATION", help: "delay before the first restart, doubled each time"
      ) { arguments, value throws(ArgumentError) in
        let delay = max(try nanoseconds("--restart-delay", value) / 1_000_000, 1)
        guard delay <= RestartPolicy.maxDelay else {
          throw ArgumentError("--restart-delay '\(value)' is too long: the maximum is a minute")
        }
        arguments.request.restart.delay = delay
      },
      serviceOption(),
      Option("input", short: "i", help: "allow input (swiftlet attach)") { arguments, _ in
        arguments.request.hasInput = true
      },
      Option("debug", help: "allow access to its memory and registers while it runs") {
        arguments, _ in
        arguments.request.isDebug = true
      },
      Option("rm", help: "remove it, with its output, when it has ended") { arguments, _ in
        arguments.request.isRemoved = true
      },
      socketOption(), jsonOption(),
    ]
  }
}

/// `swiftlet start`.
func start(_ arguments: StartArguments) throws(Failure) -> Int32 {
  var request = arguments.request
  let path = arguments.path
  // The file is passed as a descriptor, since the daemon may be unable to open it. Its path is only a name.
  let file: OwnedFD
  do { file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: LinuxKernel()) } catch {
    throw .failed(.unreadable, "\(path): \(error.description)")
  }
  request.imageDescriptor = 0
  request.image = absolute(path)
  guard request.image.isCharacters else {
    throw .usage(.start, "'\(request.image)' is not UTF-8, which the daemon requires")
  }
  let client = try arguments.connect()
  try client.send("Start", request.json, file: file.number)
  var reply = try client.next()
  if reply.lacksDescriptor {
    try upload(file.number, path, client)
    request.imageDescriptor = nil
    request.isUploaded = true
    try client.send("Start", request.json)
    reply = try client.next()
  }
  let started = try accepted(reply, of: "Start")
  if arguments.isJSON { try say(json: started) } else { try say(started.text("name") + "\n") }
  return ExitCode.success.rawValue
}

/// Sends an image in pieces, where a descriptor does not arrive: through a socket that ssh(1) forwards.
private func upload(_ file: Int32, _ path: String, _ client: Client) throws(Failure) {
  var offset = 0
  while true {
    var result = 0
    // Small enough for a slow line: a user's call must be complete in 30 seconds.
    let piece = [UInt8](unsafeUninitializedCapacity: 128 << 10) { buffer, count in
      result = linux_pread(file, buffer.baseAddress, buffer.count, offset)
      count = max(result, 0)
    }
    if result == -Int(EINTR) { continue }
    if let errno = Errno(result: result) { throw .failed(.unreadable, "\(path): \(errno.description)") }
    // An empty file is sent as such, so that the daemon says what is wrong with it.
    if piece.isEmpty, offset > 0 { return }
    _ = try client.call("Upload", .object([JSONMember("data", .string(Base64.encode(piece)))]))
    if piece.isEmpty { return }
    offset += piece.count
  }
}

/// An absolute path.
func absolute(_ path: String) -> String {
  if path.utf8.first == UInt8(ascii: "/") { return path }
  let directory = linux_getcwd().map { String(osBytes: $0) } ?? ""
  return directory + "/" + path
}

/// Parses a restart policy: no, on-failure or always; the last two with an optional colon and number.
private func restart(_ text: String, delay: Int64) throws(ArgumentError) -> RestartPolicy {
  var policy = RestartPolicy()
  policy.delay = delay
  let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
  switch parts.first {
  case "no": policy.when = .no
  case "on-failure": policy.when = .onFailure
  case "always": policy.when = .always
  default: throw ArgumentError("--restart '\(text)' is invalid: give no, on-failure or always, or always:3")
  }
  if parts.count == 2 {
    guard let limit = parseSize(String(parts[1])), (1...1_000_000).contains(limit) else {
      throw ArgumentError("--restart '\(text)': the number of restarts follows the colon, as in on-failure:3")
    }
    policy.limit = Int64(limit)
  }
  return policy
}
