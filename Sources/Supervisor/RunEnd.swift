import Applet
import Control
import JSON
import Machine
import Monitor

/// How a run of an applet ended: what a worker leaves behind, and what clients are told.
public struct RunEnd: Equatable, Sendable {
  /// The exit status that `swiftlet run` would have ended with.
  public var code: Int32
  /// What the applet exited with; nil where it did not.
  public var status: UInt8?
  /// What killed its process.
  public var signal: Int32?
  /// In words.
  public var reason: String
  /// The registers at the end, where it did not end by itself.
  public var registers: [RegisterValue] = []
  /// Where it stood, by the applet's own names.
  public var symbol: String?

  public init(code: Int32, status: UInt8? = nil, signal: Int32? = nil, reason: String) {
    self.code = code
    self.status = status
    self.signal = signal
    self.reason = reason
  }

  public static func == (a: RunEnd, b: RunEnd) -> Bool { a.json == b.json }

  /// Whether a restart policy counts it as a failure.
  public var isFailure: Bool { status != 0 }
  /// Whether a request ended it.
  public var isStopped: Bool { code == RunEnd.stoppedCode }

  /// Exit statuses of `swiftlet run` that the daemon gives itself.
  public static let brokeRuleCode: Int32 = 121
  public static let hostCode: Int32 = 123
  public static let stoppedCode: Int32 = 125
  public static let resetCode: Int32 = 133

  /// What the interface's type End has.
  public var json: JSONValue {
    var members = [JSONMember("code", .integer(Int64(code)))]
    if let status { members.append(JSONMember("status", .integer(Int64(status)))) }
    if let signal { members.append(JSONMember("signal", .integer(Int64(signal)))) }
    members.append(JSONMember("reason", .string(reason)))
    return .object(members)
  }

  /// The same with registers, as the worker writes it: those of each processor in one text, `NAME=VALUE` with spaces between them.
  /// As values of their own they cost worker and daemon more than all else of a stop. Of several processors there are two texts at
  /// least.
  var record: JSONValue {
    guard case .object(var members) = json else { return .null }
    var texts = [String](repeating: "", count: registers.first?.processor == nil ? 1 : 2)
    for register in registers {
      let index = register.processor ?? 0
      while texts.count <= index { texts.append("") }
      let word = register.name + "=" + register.value
      texts[index] += texts[index].isEmpty ? word : " " + word
    }
    members.append(JSONMember("registers", .array(texts.map { .string($0) })))
    if let symbol { members.append(JSONMember("symbol", .string(symbol))) }
    return .object(members)
  }

  /// Registers as the interface has them.
  public var registerList: JSONValue {
    .array(registers.map { $0.json })
  }

  /// Reads what a worker, or a daemon before, has written; nil for anything else. A worker may have been taken over, and what it
  /// leaves goes into the log and to every client that lists applets: it is cut to what a worker would say.
  init?(record: JSONValue) {
    guard case .integer(let code)? = record["code"], let code = Int32(exactly: code),
      let reason = Self.line(record["reason"], most: Self.longestReason)
    else { return nil }
    self.init(code: code, reason: reason)
    if case .integer(let status)? = record["status"] { self.status = UInt8(exactly: status) }
    if case .integer(let signal)? = record["signal"] { self.signal = Int32(exactly: signal) }
    symbol = Self.line(record["symbol"], most: Self.longestSymbol)
    guard case .array(let texts)? = record["registers"] else { return }
    for index in 0..<min(texts.count, RegisterValue.mostProcessors) {
      guard case .string(let text) = texts[index] else { continue }
      let words = Array(text.utf8)[...].split(separator: 0x20, maxSplits: Self.mostRegisters)
      for word in words.prefix(Self.mostRegisters) {
        guard let equals = word.firstIndex(of: 0x3d) else { continue }
        registers.append(
          RegisterValue(
            name: Self.registerText(word[..<equals]), value: Self.registerText(word[(equals + 1)...]),
            processor: texts.count > 1 ? index : nil))
      }
    }
  }

  private static func registerText(_ bytes: ArraySlice<UInt8>) -> String {
    String(decoding: bytes, as: UTF8.self).printable(most: longestRegister)
  }

  /// Bytes that a reason, a symbol, and a register's name or value have at most; registers of a processor that there are at most.
  static let longestReason = 1024
  static let longestSymbol = 128
  static let longestRegister = 24
  static let mostRegisters = 40

  private static func line(_ value: JSONValue?, most: Int) -> String? {
    if case .string(let text)? = value { text.printable(most: most) } else { nil }
  }
}

/// A register of a context: the interface's type Register.
public struct RegisterValue: Equatable, Sendable {
  let name: String
  /// Hexadecimal digits behind "0x".
  let value: String
  /// Which processor's, where there are several.
  let processor: Int?

  /// Processors whose registers a reply has room for.
  static let mostProcessors = 64

  var json: JSONValue {
    var members = [JSONMember("name", .string(name)), JSONMember("value", .string(value))]
    if let processor { members.append(JSONMember("processor", .integer(Int64(processor)))) }
    return .object(members)
  }

  /// The registers that a context shows.
  static func list(of context: ExecCtx, processor: Int? = nil) -> [RegisterValue] {
    let general = context.architecture.generalRegisters.map {
      RegisterValue(
        name: context.architecture.registerName($0), value: hex(context.register($0)), processor: processor)
    }
    return general + [RegisterValue(name: "pc", value: hex(context.pc), processor: processor)]
  }

  /// Those of all processors of a context that does not run, or of as many as a reply has room for.
  static func listOfAll(of context: ExecCtx) -> [RegisterValue] {
    guard context.processorCount > 1 else { return list(of: context) }
    var all: [RegisterValue] = []
    for processor in 0..<min(context.processorCount, mostProcessors) {
      guard (try? context.show(processor: processor)) != nil else { continue }
      all += list(of: context, processor: processor)
    }
    return all
  }

  init(name: String, value: String, processor: Int? = nil) {
    self.name = name
    self.value = value
    self.processor = processor
  }
}
