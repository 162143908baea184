import JSON

/// Whether and how often an applet is restarted.
public struct RestartPolicy: Equatable, Sendable {
  /// When an applet is restarted.
  public enum When: String, Sendable {
    /// Never.
    case no
    /// After a failure.
    case onFailure = "on_failure"
    /// After every run.
    case always
  }

  /// When it is restarted.
  public var when = When.no
  /// Maximum number of restarts; 0 for no limit.
  public var limit: Int64 = 0
  /// Delay before the first restart, in milliseconds.
  public var delay: Int64 = 1000

  /// Maximum delay between two restarts, in milliseconds.
  public static let maxDelay: Int64 = 60_000

  /// No restarts.
  public init() {}

  /// Decodes the interface's type Restart.
  public init(_ parameters: Parameters) throws(ControlError) {
    guard let text = try parameters.string("policy"), let when = When(rawValue: text) else {
      throw .invalidParameter("policy")
    }
    self.when = when
    limit = try parameters.integer("limit", in: 0...1_000_000) ?? 0
    delay = try parameters.integer("delay", in: 1...Self.maxDelay) ?? 1000
  }

  /// The interface's type Restart.
  public var json: JSONValue {
    .object([
      JSONMember("policy", .string(when.rawValue)), JSONMember("limit", .integer(limit)),
      JSONMember("delay", .integer(delay)),
    ])
  }

  /// The delay before the next restart, in milliseconds; nil if there is none.
  /// - Parameters:
  ///   - restarts: number of restarts so far.
  ///   - isFailure: whether the run did not exit with status 0.
  public func delay(after restarts: Int64, isFailure: Bool) -> Int64? {
    guard when == .always || when == .onFailure && isFailure, limit == 0 || restarts < limit else { return nil }
    // After sixteen restarts the doubled delay exceeds the maximum whatever the first one was.
    return min(delay << min(restarts, 16), Self.maxDelay)
  }
}
