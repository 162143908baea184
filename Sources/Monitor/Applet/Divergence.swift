import Applet
import Machine

/// How two copies of a context differ.
public enum Divergence: Equatable, Sendable {
  /// A register, by name. Copy 0 is the primary.
  case register(String, copy: Int, value: UInt64, primary: UInt64)
  /// They pass different bytes to a call: the address of the first difference.
  case input(address: UInt64, copy: Int, value: UInt8, primary: UInt8)
  /// They stopped for different reasons: one made a call, or raised an exception, that the other did not.
  case event(copy: Int, ExecCtx.Event, primary: ExecCtx.Event)

  /// A description, in one line.
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
    case .fault(let fault, _): "raised an exception (\(fault.description))"
    case .interrupted: "made no call"
    case .ended: "ends"
    }
  }
}
