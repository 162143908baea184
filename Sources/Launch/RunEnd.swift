import Applet
import Machine
import Monitor

/// How a run ended: for the exit status of `swiftlet run`, the record of a worker, and replies to the daemon's clients.
public struct RunEnd: Equatable, Sendable {
  /// The exit status: an `ExitCode`, the applet's own status, or 128 plus the number of a signal.
  public var code: Int32
  /// The status with which the applet exited; nil if it did not exit.
  public var status: UInt8?
  /// The signal that killed its process; nil for none.
  public var signal: Int32?
  /// A description.
  public var reason: String
  /// The registers at the end, if the guest did not exit.
  public var registers: [RegisterValue] = []
  /// The function that it was in, from the applet's symbols.
  public var symbol: String?
  /// Whether a request stopped it.
  public package(set) var isStopped = false

  /// The end of a run from its parts.
  public init(code: Int32, status: UInt8? = nil, signal: Int32? = nil, reason: String) {
    self.code = code
    self.status = status
    self.signal = signal
    self.reason = reason
  }

  /// An end with one of Swiftlet's own statuses.
  public init(_ code: ExitCode, reason: String) {
    self.init(code: code.rawValue, reason: reason)
    isStopped = code == .stopped
  }

  /// The applet exited with a status, 0 to 255.
  public init(exited status: UInt8) {
    let way = ExitCode.isAmbiguous(status) ? "exited by itself" : "exited"
    self.init(code: Int32(status), status: status, reason: "\(way) with status \(status)")
  }

  /// The end of a run without an error.
  public init(_ outcome: Outcome) {
    switch outcome {
    case .exited(let status): self.init(exited: status)
    case .stopped: self.init(.stopped, reason: "stopped")
    case .shutdown: self.init(code: ExitCode.success.rawValue, status: 0, reason: "powered off")
    case .reset: self.init(.reset, reason: "requested a reset")
    }
  }

  /// The end of a run with an error.
  public init(_ error: ExecError) { self.init(error.exitCode, reason: error.description) }

  /// Runs a context to its end. If it does not exit by itself, its registers and the function that it was in are recorded.
  public init(running context: ExecCtx) {
    do throws(ExecError) {
      let outcome = try context.run()
      self.init(outcome)
      guard case .stopped = outcome else { return }
    } catch {
      self.init(error)
      reason = context.description(of: error)
    }
    symbol = context.name(of: context.pc)
    registers = RegisterValue.listOfAll(of: context)
  }

  /// Whether a restart policy counts it as a failure.
  public var isFailure: Bool { status != 0 }
}

/// A register of a context: the interface's type Register.
public struct RegisterValue: Equatable, Sendable {
  /// The name of the register, as in assembly.
  public let name: String
  /// Hexadecimal with the prefix "0x".
  public let value: String
  /// Index of the CPU; nil if there is only one.
  public let cpu: Int?

  /// Maximum number of CPUs whose registers are recorded.
  public static let maxCPUs = 64

  /// A register and its value.
  public init(name: String, value: String, cpu: Int? = nil) {
    self.name = name
    self.value = value
    self.cpu = cpu
  }

  /// The registers of a context.
  public static func list(of context: ExecCtx, cpu: Int? = nil) -> [RegisterValue] {
    let general = context.architecture.facts.generalRegisters.compactMap { number in
      (try? context.register(number)).map {
        RegisterValue(name: context.architecture.registerName(number), value: hex($0), cpu: cpu)
      }
    }
    return general + [RegisterValue(name: "pc", value: hex(context.pc), cpu: cpu)]
  }

  /// Those of all CPUs of a context that does not run, up to `maxCPUs`.
  static func listOfAll(of context: ExecCtx) -> [RegisterValue] {
    guard context.cpuCount > 1 else { return list(of: context) }
    var all: [RegisterValue] = []
    for cpu in 0..<min(context.cpuCount, maxCPUs) {
      guard (try? context.show(cpu: cpu)) != nil else { continue }
      all += list(of: context, cpu: cpu)
    }
    return all
  }
}
