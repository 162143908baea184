import JSON
import Launch

/// Limits in the control interface, where times are in milliseconds.
extension GuestLimits {
  private static let nanoseconds: Int64 = 1_000_000

  /// - Throws: InvalidParameter with the name of a limit that is out of range.
  public init(_ parameters: Parameters) throws(ControlError) {
    self.init()
    deadline = try Self.time("deadline", parameters)
    cpuBudget = try Self.time("cpu_budget", parameters)
    callBudget = try Self.time("call_budget", parameters)
    processMemory = try parameters.integer("process_memory", in: 0...Int64.max)
    cpuPercent = try parameters.integer("cpu_percent", in: 0...Int64.max)
    threads = try parameters.integer("threads", in: 0...Int64.max)
    do { try check() } catch { throw ControlError(error) }
  }

  private static func time(_ name: String, _ parameters: Parameters) throws(ControlError) -> Int64? {
    try parameters.integer(name, in: 0...Int64.max / nanoseconds).map { $0 * nanoseconds }
  }

  /// The limits that are set, as the interface's type Limits.
  public var json: JSONValue {
    var members: [JSONMember] = []
    func add(_ name: String, _ value: Int64?) { if let value { members.append(JSONMember(name, .integer(value))) } }
    add("deadline", milliseconds(deadline))
    add("cpu_budget", milliseconds(cpuBudget))
    add("call_budget", milliseconds(callBudget))
    add("process_memory", processMemory)
    add("cpu_percent", cpuPercent)
    add("threads", threads)
    return .object(members)
  }

  /// Milliseconds for the interface: at least one.
  private func milliseconds(_ time: Int64?) -> Int64? { time.map { max($0 / Self.nanoseconds, 1) } }

  /// The deadline, in milliseconds of a run.
  public var deadlineMilliseconds: Int64? { milliseconds(deadline) }

  /// The interface's names of limits that need a control group.
  static let namesOfControlGroups = ["process_memory", "cpu_percent", "threads"]

  /// Those that need a control group for the applet, each with its controller in the kernel.
  public var ofControlGroups: [(limit: String, controller: String)] {
    var found: [(limit: String, controller: String)] = []
    if processMemory != nil { found.append(("process_memory", "memory")) }
    if cpuPercent != nil { found.append(("cpu_percent", "cpu")) }
    if threads != nil { found.append(("threads", "pids")) }
    return found
  }
}

extension ControlError {
  /// The reply for an invalid description of a guest.
  public init(_ error: SpecError) { self = .invalidParameter(error.field.parameter.description) }
}
