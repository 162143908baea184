import Control
import JSON
import Launch

/// The end of a run as JSON, for clients, and for the record that a worker leaves for the daemon.
extension RunEnd {
  /// The members of the interface's type End.
  public var json: JSONValue {
    var members = [JSONMember("code", .integer(Int64(code)))]
    if let status { members.append(JSONMember("status", .integer(Int64(status)))) }
    if let signal { members.append(JSONMember("signal", .integer(Int64(signal)))) }
    members.append(JSONMember("reason", .string(reason)))
    return .object(members)
  }

  /// The same with registers, as the worker writes it: those of each CPU in one string, `NAME=VALUE` separated by
  /// spaces. As separate values they would be the largest cost of a stop. With several CPUs there are at least two
  /// strings.
  var record: JSONValue {
    guard case .object(var members) = json else { return .null }
    if isStopped { members.append(JSONMember("stopped", .bool(true))) }
    var texts = [String](repeating: "", count: registers.first?.cpu == nil ? 1 : 2)
    for register in registers {
      let index = register.cpu ?? 0
      while texts.count <= index { texts.append("") }
      let pair = register.name + "=" + register.value
      texts[index] += texts[index].isEmpty ? pair : " " + pair
    }
    members.append(JSONMember("registers", .array(texts.map { .string($0) })))
    if let symbol { members.append(JSONMember("symbol", .string(symbol))) }
    return .object(members)
  }

  /// The registers in the interface's format.
  public var registerList: JSONValue {
    .array(registers.map { $0.json })
  }

  /// Reads a record of a worker or an earlier daemon; nil if it is not valid. The worker may be compromised, and its
  /// record goes to the log and to clients, so the lengths of its values are limited.
  init?(record: JSONValue) {
    guard case .integer(let code)? = record["code"], let code = Int32(exactly: code),
      let reason = Self.line(record["reason"], maxBytes: Self.maxReason)
    else { return nil }
    self.init(code: code, reason: reason)
    if case .integer(let status)? = record["status"] { self.status = UInt8(exactly: status) }
    isStopped = status == nil && record["stopped"] == .bool(true)
    if case .integer(let signal)? = record["signal"] { self.signal = Int32(exactly: signal) }
    symbol = Self.line(record["symbol"], maxBytes: Self.maxSymbol)
    guard case .array(let texts)? = record["registers"] else { return }
    for index in 0..<min(texts.count, RegisterValue.maxCPUs) {
      guard case .string(let text) = texts[index] else { continue }
      let pairs = Array(text.utf8)[...].split(separator: UInt8(ascii: " "), maxSplits: Self.maxRegisters)
      for pair in pairs.prefix(Self.maxRegisters) {
        guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { continue }
        registers.append(
          RegisterValue(
            name: Self.registerText(pair[..<equals]), value: Self.registerText(pair[(equals + 1)...]),
            cpu: texts.count > 1 ? index : nil))
      }
    }
  }

  private static func registerText(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes, as: UTF8.self).printable(maxBytes: maxRegister)
  }

  /// Maximum lengths in bytes of a reason, a symbol, and a register's name and value, and maximum number of registers
  /// of a CPU.
  static let maxReason = 1024
  static let maxSymbol = 128
  static let maxRegister = 24
  static let maxRegisters = 40

  private static func line(_ value: JSONValue?, maxBytes: Int) -> String? {
    if case .string(let text)? = value { text.printable(maxBytes: maxBytes) } else { nil }
  }
}

extension RegisterValue {
  var json: JSONValue {
    var members = [JSONMember("name", .string(name)), JSONMember("value", .string(value))]
    if let cpu { members.append(JSONMember("processor", .integer(Int64(cpu)))) }
    return .object(members)
  }
}
