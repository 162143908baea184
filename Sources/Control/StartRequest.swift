import JSON

/// Limits of an applet, as the interface has them; times in milliseconds, nil for none.
public struct AppletLimits: Equatable, Sendable {
  public var deadline: Int64?
  public var cpuBudget: Int64?
  public var callBudget: Int64?
  /// Bytes of memory of the whole process.
  public var processMemory: Int64?
  /// Percent of one processor.
  public var cpuPercent: Int64?
  public var threads: Int64?

  /// The longest time: a thousand years, which nanoseconds in 64 bits do not hold; a hundred, which they do.
  static let longest: Int64 = 100 * 365 * 86_400_000

  public static let processMemories: ClosedRange<Int64> = 1 << 20...1 << 45
  public static let cpuPercents: ClosedRange<Int64> = 1...100_000
  public static let threadCounts: ClosedRange<Int64> = 1...10_000

  public init() {}

  public init(_ parameters: Parameters) throws(ControlError) {
    deadline = try parameters.integer("deadline", in: 1...Self.longest)
    cpuBudget = try parameters.integer("cpu_budget", in: 1...Self.longest)
    callBudget = try parameters.integer("call_budget", in: 1...Self.longest)
    processMemory = try parameters.integer("process_memory", in: Self.processMemories)
    cpuPercent = try parameters.integer("cpu_percent", in: Self.cpuPercents)
    threads = try parameters.integer("threads", in: Self.threadCounts)
  }

  public var json: JSONValue {
    JSONValue.object(
      members: [
        ("deadline", deadline), ("cpu_budget", cpuBudget), ("call_budget", callBudget),
        ("process_memory", processMemory), ("cpu_percent", cpuPercent), ("threads", threads),
      ])
  }

  /// The interface's names of those that take a control group.
  static let namesOfControlGroups = ["process_memory", "cpu_percent", "threads"]

  /// Those that take a control group of the applet's own, each with the kernel's controller for it.
  public var ofControlGroups: [(limit: String, controller: String)] {
    var found: [(limit: String, controller: String)] = []
    if processMemory != nil { found.append(("process_memory", "memory")) }
    if cpuPercent != nil { found.append(("cpu_percent", "cpu")) }
    if threads != nil { found.append(("threads", "pids")) }
    return found
  }

  /// These limits, with those that the other has in their place.
  public func changed(by other: AppletLimits) -> AppletLimits {
    var limits = self
    limits.deadline = other.deadline ?? deadline
    limits.cpuBudget = other.cpuBudget ?? cpuBudget
    limits.callBudget = other.callBudget ?? callBudget
    limits.processMemory = other.processMemory ?? processMemory
    limits.cpuPercent = other.cpuPercent ?? cpuPercent
    limits.threads = other.threads ?? threads
    return limits
  }
}

extension JSONValue {
  /// An object of the numbers that are there.
  fileprivate static func object(members: [(String, Int64?)]) -> JSONValue {
    .object(members.compactMap { name, value in value.map { JSONMember(name, .integer($0)) } })
  }
}

/// Whether and how often an applet is started again.
public struct RestartPolicy: Equatable, Sendable {
  public enum When: String, Sendable {
    case no
    case onFailure = "on_failure"
    case always
  }

  public var when = When.no
  /// How many times at most; 0 for any number.
  public var limit: Int64 = 0
  /// Milliseconds before the first.
  public var delay: Int64 = 1000

  /// Milliseconds between two attempts at most.
  public static let longestDelay: Int64 = 60_000

  public init() {}

  public init(_ parameters: Parameters) throws(ControlError) {
    guard let text = try parameters.string("policy"), let when = When(rawValue: text) else {
      throw .invalidParameter("policy")
    }
    self.when = when
    limit = try parameters.integer("limit", in: 0...1_000_000) ?? 0
    delay = try parameters.integer("delay", in: 1...Self.longestDelay) ?? 1000
  }

  public var json: JSONValue {
    .object([
      JSONMember("policy", .string(when.rawValue)), JSONMember("limit", .integer(limit)),
      JSONMember("delay", .integer(delay)),
    ])
  }

  /// How long to wait before another start; nil where there is to be none.
  /// - Parameters:
  ///   - restarts: how many there were.
  ///   - isFailure: whether the run ended otherwise than by exiting with status 0.
  public func delay(after restarts: Int64, isFailure: Bool) -> Int64? {
    guard when == .always || when == .onFailure && isFailure, limit == 0 || restarts < limit else { return nil }
    // Doubling goes beyond the longest delay after sixteen times whatever it began with.
    return min(delay << min(restarts, 16), Self.longestDelay)
  }
}

/// A service that another program serves.
public struct ServiceAddress: Equatable, Sendable {
  public let name: String
  /// The socket's path.
  public let path: String

  public init?(name: String, address: String) {
    // struct sockaddr_un has room for 107 bytes and the zero behind them.
    guard !name.isEmpty, !name.utf8.contains(0x2e), address.hasPrefix("unix:/"), address.utf8.count <= 5 + 107 else {
      return nil
    }
    self.name = name
    path = String(address.dropFirst(5))
  }
}

/// What `Start` asks for.
public struct StartRequest: Equatable, Sendable {
  public var name: String?
  /// Path of the image; where it came as a descriptor, what it was opened by, or nothing.
  public var image = ""
  public var imageDescriptor: Int?
  public var arguments: [String] = []
  public var services: [ServiceAddress] = []
  /// Whether it is an applet in user mode, not a program in system mode.
  public var isSecure = true
  /// Processors of a program in system mode; an applet has one.
  public var cpus = 1
  /// Bytes of guest memory; nil for the default.
  public var memory: Int64?
  public var copies = 0
  public var isParallel = false
  public var hasInput = false
  public var restart = RestartPolicy()
  public var limits = AppletLimits()
  public var isDebug = false
  public var isRemoved = false

  /// As many processors as KVM gives a guest on arm64.
  public static let mostCPUs: Int64 = 512
  /// Bytes of a path with the zero behind them (PATH_MAX).
  private static let longestPath = 4096

  public init() {}

  public init(_ value: JSONValue) throws(ControlError) {
    let parameters = Parameters(value)
    if parameters.has("name") { name = try parameters.name() }
    image = try parameters.string("image") ?? ""
    imageDescriptor = try parameters.integer("image_descriptor", in: 0...15).map { Int($0) }
    guard image.hasPrefix("/") || (image.isEmpty && imageDescriptor != nil), image.utf8.count < Self.longestPath else {
      throw .invalidParameter("image")
    }
    arguments = try parameters.strings("arguments")
    for service in try parameters.array("services") {
      let entry = Parameters(service)
      guard let name = try entry.string("name"), let address = try entry.string("address"),
        let parsed = ServiceAddress(name: name, address: address)
      else { throw .invalidParameter("services") }
      services.append(parsed)
    }
    if parameters.has("secure") { isSecure = try parameters.bool("secure") }
    cpus = Int(try parameters.integer("cpus", in: 1...(isSecure ? 1 : Self.mostCPUs)) ?? 1)
    memory = try parameters.integer("memory", in: 1...1 << 40)
    copies = Int(try parameters.integer("copies", in: 0...(isSecure ? 8 : 0)) ?? 0)
    isParallel = try parameters.bool("parallel")
    hasInput = try parameters.bool("input")
    if let policy = try parameters.object("restart") { restart = try RestartPolicy(policy) }
    if let limits = try parameters.object("limits") { self.limits = try AppletLimits(limits) }
    isDebug = try parameters.bool("debug")
    isRemoved = try parameters.bool("remove")
  }

  /// The same as parameters; a client sends it, and the daemon hands it to the worker.
  public var json: JSONValue {
    var members: [JSONMember] = []
    if let name { members.append(JSONMember("name", .string(name))) }
    if let imageDescriptor { members.append(JSONMember("image_descriptor", .integer(Int64(imageDescriptor)))) }
    if !image.isEmpty { members.append(JSONMember("image", .string(image))) }
    if !arguments.isEmpty { members.append(JSONMember("arguments", .array(arguments.map { .string($0) }))) }
    if !services.isEmpty {
      let list: [JSONValue] = services.map {
        .object([JSONMember("name", .string($0.name)), JSONMember("address", .string("unix:" + $0.path))])
      }
      members.append(JSONMember("services", .array(list)))
    }
    if !isSecure { members.append(JSONMember("secure", .bool(false))) }
    if cpus > 1 { members.append(JSONMember("cpus", .integer(Int64(cpus)))) }
    if let memory { members.append(JSONMember("memory", .integer(memory))) }
    if copies > 0 { members.append(JSONMember("copies", .integer(Int64(copies)))) }
    for (name, flag) in [
      ("parallel", isParallel), ("input", hasInput), ("debug", isDebug), ("remove", isRemoved),
    ] where flag { members.append(JSONMember(name, .bool(true))) }
    if restart.when != .no { members.append(JSONMember("restart", restart.json)) }
    if limits != AppletLimits() { members.append(JSONMember("limits", limits.json)) }
    return .object(members)
  }
}
