import JSON
import Launch

/// `swiftlet wait`: exits with the status that `swiftlet run` would have; for several applets with that of the last one that is not
/// zero.
func wait(_ arguments: AppletArguments) throws(Failure) -> Int32 {
  let names = arguments.names
  if names.count == 1 {
    return try readEnd(of: names[0], beginWait(for: names[0], arguments), isJSON: arguments.isJSON)
  }
  // All begin to wait before the first one ends: with --rm it is removed then. A user has a limited number of connections.
  var calls: [LastingCall?] = []
  var status: Int32 = 0
  for (index, name) in names.enumerated() {
    while calls.count < min(names.count, index + maxWaiting) {
      calls.append(try beginWait(for: names[calls.count], arguments))
    }
    guard let call = calls[index] else { continue }
    // Its connection is closed.
    calls[index] = nil
    do throws(Failure) {
      let one = try readEnd(of: name, call, isJSON: arguments.isJSON)
      if one != 0 { status = one }
    } catch {
      guard case .failed(let code, let message) = error else { throw error }
      complain("swiftlet: \(message)")
      status = code.rawValue
    }
  }
  return status
}

/// Maximum number of calls at a time.
private let maxWaiting = 32

private func beginWait(for name: String, _ arguments: AppletArguments) throws(Failure) -> LastingCall {
  try LastingCall("Wait", named(name), arguments.connect)
}

/// The failure of the client, with a status that no applet uses.
func hostFailure(_ failure: Failure) -> Failure {
  if case .failed(_, let message) = failure { return .failed(.host, message) }
  return failure
}

extension JSONValue {
  /// The applet's own exit status in an End; nil if it did not exit.
  fileprivate var status: UInt8? {
    guard case .integer(let status)? = self["status"] else { return nil }
    return UInt8(exactly: status)
  }
}

/// Reads the reply of Wait.
func readEnd(of name: String, _ call: LastingCall, isJSON: Bool = false) throws(Failure) -> Int32 {
  let reply: JSONValue
  do { reply = try accepted(call.next()) } catch { throw hostFailure(error) }
  let end = reply["end"] ?? .null
  if isJSON {
    try say(json: reply)
  } else if end.status.map({ ExitCode.isAmbiguous($0) }) ?? true {
    complain("swiftlet: \(name): \(end.text("reason"))")
  }
  return Int32(truncatingIfNeeded: end.number("code"))
}
