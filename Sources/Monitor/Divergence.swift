import Applet
import Machine

/// How two copies of a context differ.
public enum Divergence: Equatable, Sendable {
  /// A register by its name; copy 0 is the primary.
  case register(String, copy: Int, value: UInt64, primary: UInt64)
  /// They hand over different bytes: the first that differs, by its address.
  case input(address: UInt64, copy: Int, value: UInt8, primary: UInt8)
  /// One raised what the other did not.
  case event(copy: Int, ExecCtx.Event, primary: ExecCtx.Event)

  /// What differs, in one line.
  public var description: String {
    switch self {
    case .register(let name, let copy, let value, let primary):
      "\(name) is \(hex(primary)) in the primary and \(hex(value)) in shadow \(copy)"
    case .input(let address, let copy, let value, let primary):
      "the input byte at \(hex(address)) is \(hex(UInt64(primary))) in the primary and \(hex(UInt64(value))) in shadow \(copy)"
    case .event(let copy, let event, let primary):
      "the primary \(Self.name(primary)) and shadow \(copy) \(Self.name(event))"
    }
  }

  private static func name(_ event: ExecCtx.Event) -> String {
    switch event {
    case .call: "calls"
    case .fault(let fault): "raises an exception (\(fault.description))"
    case .interrupted: "does not come to a call"
    case .ended: "ends"
    }
  }
}
