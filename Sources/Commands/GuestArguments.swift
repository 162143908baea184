import Control
import Launch
import Monitor

/// The arguments that describe a guest, collected for a `GuestSpec`.
struct GuestArguments {
  var request = GuestRequest()
  /// The values as they were given, for error messages.
  private var values: [(field: GuestField, value: String)] = []

  /// Checks the arguments.
  func spec() throws(ArgumentError) -> GuestSpec {
    do { return try GuestSpec(request) } catch {
      let value = values.last { $0.field == error.field }?.value ?? ""
      throw ArgumentError(error.description(value: value))
    }
  }

  /// A number.
  mutating func number(_ field: GuestField, _ value: String) -> UInt64 {
    values.append((field, value))
    // An invalid number is outside of every range.
    return parseSize(value) ?? .max
  }

  /// A size, in bytes.
  mutating func size(_ field: GuestField, _ value: String) throws(ArgumentError) -> UInt64 {
    guard let size = parseSize(value) else {
      throw ArgumentError(
        "\(field.option) '\(value)' is not a size: give a number of bytes, with an optional suffix as in 16M")
    }
    values.append((field, value))
    return size
  }

  /// A duration in nanoseconds, greater than 0.
  mutating func duration(_ field: GuestField, _ value: String) throws(ArgumentError) -> Int64 {
    values.append((field, value))
    return try nanoseconds(field.option, value)
  }

  /// A limit of the guest's process.
  mutating func limit(_ field: GuestField, _ value: String) -> Int64 { Int64(clamping: number(field, value)) }
}

/// Parses a duration greater than 0, in nanoseconds.
func nanoseconds(_ option: StaticString, _ value: String) throws(ArgumentError) -> Int64 {
  guard let duration = parseDuration(value), duration > 0 else {
    throw ArgumentError(
      "\(option) '\(value)' is not a duration: give a number of seconds, with an optional suffix as in 500ms")
  }
  return duration
}

/// Arguments of a command with a guest's description.
protocol DescribesGuest {
  var guest: GuestArguments { get set }
}

/// The options of all commands with a guest's description, followed by those of one command.
func guestOptions<Arguments: DescribesGuest>(and own: [Option<Arguments>]) -> [Option<Arguments>] {
  table(of: memoryOptions(), timeLimitOptions(), modeOptions(), own)
}

private func memoryOptions<Arguments: DescribesGuest>() -> [Option<Arguments>] {
  [
    Option("memory", short: "m", argument: "SIZE", help: "memory for image, heap and stack (default 16M)") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.memory = try arguments.guest.size(.memory, value)
    },
    Option(
      "layout", argument: "LAYOUT", help: "compact or contiguous memory of an applet (default: as its image asks)"
    ) {
      arguments, value throws(ArgumentError) in
      guard let layout = GuestField.layout(named: value) else {
        throw ArgumentError("--layout '\(value)' is invalid: give compact or contiguous")
      }
      arguments.guest.request.layout = layout
    },
    Option("rpc-limit", argument: "SIZE", help: "maximum size of an RPC request and response (default 1M)") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.rpcLimit = try arguments.guest.size(.rpcLimit, value)
    },
    Option("clint", help: "riscv64: let an applet read a CLINT's mtime (default: if Go made its image)") {
      arguments, _ in
      arguments.guest.request.hasCLINT = true
    },
  ]
}

private func modeOptions<Arguments: DescribesGuest>() -> [Option<Arguments>] {
  [
    Option("lockstep", help: "run a shadow in lockstep, and stop if the two copies differ at a call") { arguments, _ in
      arguments.guest.request.copies = arguments.guest.request.copies ?? 1
    },
    Option("shadows", argument: "N", help: "run N shadows in lockstep; with 2 or more a faulty copy is repaired") {
      arguments, value in
      arguments.guest.request.copies = arguments.guest.number(.copies, value)
    },
    Option("parallel", help: "run the copies in parallel, each on its own thread") { arguments, _ in
      arguments.guest.request.isParallel = true
    },
    Option("non-secure", help: "run a bare-metal program in system mode (EL1, VS mode)") {
      arguments, _ in
      arguments.guest.request.isSecure = false
    },
  ]
}

/// The options of the limits of time.
func timeLimitOptions<Arguments: DescribesGuest>() -> [Option<Arguments>] {
  [
    Option("timeout", short: "t", argument: "DURATION", help: "stop the applet after this time (default: no limit)") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.limits.deadline = try arguments.guest.duration(.deadline, value)
    },
    Option("cpu-budget", argument: "DURATION", help: "stop the applet after this CPU time (default: no limit)") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.limits.cpuBudget = try arguments.guest.duration(.cpuBudget, value)
    },
    Option("call-budget", argument: "DURATION", help: "stop it after this CPU time between two calls") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.limits.callBudget = try arguments.guest.duration(.callBudget, value)
    },
  ]
}

/// The options of the limits of an applet's process in the daemon.
func processLimitOptions<Arguments: DescribesGuest>() -> [Option<Arguments>] {
  [
    Option("process-memory", argument: "SIZE", help: "maximum memory of its process, including the guest") {
      arguments, value throws(ArgumentError) in
      arguments.guest.request.limits.processMemory = Int64(clamping: try arguments.guest.size(.processMemory, value))
    },
    Option("cpu-percent", argument: "N", help: "limit its process to N percent of a CPU; 200 is two CPUs") {
      arguments, value in
      arguments.guest.request.limits.cpuPercent = arguments.guest.limit(.cpuPercent, value)
    },
    Option("threads", argument: "N", help: "maximum number of threads of its process") { arguments, value in
      arguments.guest.request.limits.threads = arguments.guest.limit(.threads, value)
    },
  ]
}

/// Arguments of a command with RPC services of other programs.
protocol HasServices {
  var services: [ServiceAddress] { get set }
}

/// `--rpc`.
func serviceOption<Arguments: HasServices>() -> Option<Arguments> {
  Option(
    "rpc", argument: "NAME=unix:PATH", help: "forward the applet's RPC service NAME to this socket; may be repeated"
  ) { arguments, value throws(ArgumentError) in
    let parts = value.split(separator: "=", maxSplits: 1)
    guard parts.count == 2, let service = ServiceAddress(name: String(parts[0]), address: String(parts[1])) else {
      throw ArgumentError("--rpc '\(value)' is not a service: give NAME=unix:PATH, with an absolute path")
    }
    arguments.services.append(service)
  }
}

/// `--cpus`, for programs in system mode, and for Linux in commands that run it.
func cpusOption<Arguments: DescribesGuest>(help: StaticString) -> Option<Arguments> {
  Option("cpus", argument: "N", help: help) { arguments, value in
    arguments.guest.request.cpus = arguments.guest.number(.cpus, value)
  }
}
