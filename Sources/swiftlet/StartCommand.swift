import CLinux
import Control
import JSON
import Platform

let socketOption = Option(
  "socket", short: "s", argument: "PATH", help: "the daemon's socket (default $SWIFTLET_SOCKET, or the daemon's own)")
let jsonOption = Option("json", help: "print the reply as JSON")

let startOptions = [
  Option("name", short: "n", argument: "NAME", help: "call it so (default: applet- and a number)"),
  Option("memory", short: "m", argument: "SIZE", help: "memory for image, heap and stack (default 16M)"),
  Option("timeout", short: "t", argument: "DURATION", help: "stop the applet after so long (default: never)"),
  Option("cpu-budget", argument: "DURATION", help: "stop the applet after so much processor time (default: never)"),
  Option("call-budget", argument: "DURATION", help: "stop it after so much processor time between two calls"),
  Option("lockstep", help: "run a copy beside it, and stop where the two differ at a call"),
  Option("shadows", argument: "N", help: "run N copies; from 2 on a faulty one is repaired from the majority"),
  Option("parallel", help: "run the copies at the same time, each on a thread of its own"),
  Option("non-secure", help: "run a bare-metal program in system mode (EL1, VS mode) in place of an applet"),
  Option("cpus", argument: "N", help: "--non-secure: how many processors (default 1)"),
  Option("process-memory", argument: "SIZE", help: "kill it when its process, with its guest, has more memory"),
  Option("cpu-percent", argument: "N", help: "let its process have N percent of a processor, 200 of two"),
  Option("threads", argument: "N", help: "let its process have N threads"),
  Option("restart", argument: "POLICY", help: "no, on-failure or always, with :N behind it for N times at most"),
  Option("restart-delay", argument: "DURATION", help: "wait before the first restart, twice as long before each other"),
  Option("rpc", argument: "NAME=unix:PATH", help: "let the program at that socket serve the applet's RPC service NAME"),
  Option("input", short: "i", help: "let it be sent input (swiftlet attach)"),
  Option("debug", help: "let its memory and registers be read while it runs, and its memory be written"),
  Option("rm", help: "forget it, with its output, when it has ended"),
  socketOption, jsonOption,
]

/// What the words of `swiftlet start` ask for; the image is the first operand.
func startRequest(_ words: ParsedWords) throws(Failure) -> (request: StartRequest, socket: String?, isJSON: Bool) {
  var request = StartRequest()
  var socket: String?
  var isJSON = false
  for (index, value) in words.options {
    switch startOptions[index].long.description {
    case "name":
      guard AppletName.isValid(value) else {
        throw .usage(.start, "--name '\(value)' is no name: give 1 to 64 letters, digits, '-', '_' and '.'")
      }
      request.name = value
    case "memory":
      guard let size = parseSize(value), let size = Int64(exactly: size), size > 0 else {
        throw .usage(
          .start, "--memory '\(value)' is no size: give a number of bytes, or one with K, M or G, such as 16M")
      }
      request.memory = size
    case "timeout": request.limits.deadline = try milliseconds("--timeout", value)
    case "cpu-budget": request.limits.cpuBudget = try milliseconds("--cpu-budget", value)
    case "call-budget": request.limits.callBudget = try milliseconds("--call-budget", value)
    case "lockstep": request.copies = max(request.copies, 1)
    case "shadows": request.copies = Int(try count("--shadows", value, in: 1...8))
    case "parallel": request.isParallel = true
    case "non-secure": request.isSecure = false
    case "cpus": request.cpus = Int(try count("--cpus", value, in: 1...StartRequest.mostCPUs))
    case "process-memory":
      guard let size = parseSize(value), let size = Int64(exactly: size), AppletLimits.processMemories.contains(size)
      else {
        throw .usage(.start, "--process-memory '\(value)' is no size from 1M to 32T: give one such as 64M")
      }
      request.limits.processMemory = size
    case "cpu-percent": request.limits.cpuPercent = try count("--cpu-percent", value, in: AppletLimits.cpuPercents)
    case "threads": request.limits.threads = try count("--threads", value, in: AppletLimits.threadCounts)
    case "restart": request.restart = try restart(value, delay: request.restart.delay)
    case "restart-delay":
      request.restart.delay = try milliseconds("--restart-delay", value)
      guard request.restart.delay <= RestartPolicy.longestDelay else {
        throw .usage(.start, "--restart-delay '\(value)' is too long: give a minute at most")
      }
    case "rpc":
      let parts = value.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, let service = ServiceAddress(name: String(parts[0]), address: String(parts[1])) else {
        throw .usage(.start, "--rpc '\(value)' is no service: give NAME=unix:PATH, with the whole path")
      }
      request.services.append(service)
    case "input": request.hasInput = true
    case "debug": request.isDebug = true
    case "rm": request.isRemoved = true
    case "socket": socket = value
    default: isJSON = true
    }
  }
  if request.isSecure, request.cpus > 1 {
    throw .usage(.start, "--cpus needs --non-secure: an applet has one processor")
  }
  if !request.isSecure, request.copies > 0 {
    throw .usage(.start, "--lockstep and --shadows are for applets, not for --non-secure")
  }
  guard !words.operands.isEmpty else { throw .usage(.start, "the applet's file is missing") }
  request.arguments = Array(words.operands.dropFirst())
  return (request, socket, isJSON)
}

/// `swiftlet start`.
func start(_ words: ParsedWords) throws(Failure) -> Int32 {
  var (request, socket, isJSON) = try startRequest(words)
  // There is one, as was looked at.
  let path = words.operands[0]
  // The file goes along open: the daemon need not be able to see it. Its path tells what it is.
  let file: OwnedFD
  do { file = try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: LinuxKernel()) } catch {
    throw .failed(.unreadable, "\(path): \(error.description)")
  }
  request.imageDescriptor = 0
  request.image = absolute(path)
  let reply = try Client(socket: socket).call("Start", request.json, file: file.number)
  if isJSON { say(json: reply) } else { say(reply.text("name") + "\n") }
  return Status.success.rawValue
}

/// A path from the root on.
private func absolute(_ path: String) -> String {
  if path.utf8.first == 0x2f { return path }
  let folder = linux_working_folder().map { String(cString: $0) } ?? ""
  return folder + "/" + path
}

/// The interface's milliseconds; at least one.
func milliseconds(_ option: StaticString, _ value: String) throws(Failure) -> Int64 {
  guard let duration = parseDuration(value), duration > 0 else {
    throw .usage(
      .start, "\(option) '\(value)' is no duration: give a number of seconds, or one with ms, s, m or h, such as 500ms")
  }
  return max(duration / 1_000_000, 1)
}

private func count(_ option: StaticString, _ value: String, in range: ClosedRange<Int64>) throws(Failure) -> Int64 {
  guard let number = parseSize(value), let number = Int64(exactly: number), range.contains(number) else {
    throw .usage(
      .start, "\(option) '\(value)' is out of range: give \(range.lowerBound) to \(range.upperBound)")
  }
  return number
}

private func restart(_ text: String, delay: Int64) throws(Failure) -> RestartPolicy {
  var policy = RestartPolicy()
  policy.delay = delay
  let parts = text.split(separator: ":", maxSplits: 1)
  switch parts.first {
  case "no": policy.when = .no
  case "on-failure": policy.when = .onFailure
  case "always": policy.when = .always
  default: throw .usage(.start, "--restart '\(text)' does not exist: give no, on-failure or always, or always:3")
  }
  if parts.count == 2 {
    guard let limit = parseSize(String(parts[1])), (1...1_000_000).contains(limit) else {
      throw .usage(.start, "--restart '\(text)': behind the colon stands how often, such as on-failure:3")
    }
    policy.limit = Int64(limit)
  }
  return policy
}
