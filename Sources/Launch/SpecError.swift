import Machine
import Monitor

/// Why a description of a guest is invalid.
public enum SpecError: Error, Equatable, Sendable {
  /// The value is not in `GuestField.range`.
  case outOfRange(GuestField, GuestKind)
  /// Guests of this kind do not have the setting, or not this value.
  case unsuited(GuestField, GuestKind)
  /// The setting is about copies in lockstep, but there are none.
  case needsCopies(GuestField)
  /// More than a guest can have.
  case tooMany(GuestField, max: Int)
  /// The arguments are longer than the command line that Linux keeps, in bytes.
  case kernelArgumentsTooLong(max: Int)

  /// The setting in error.
  public var field: GuestField {
    switch self {
    case .outOfRange(let field, _), .unsuited(let field, _), .needsCopies(let field), .tooMany(let field, _): field
    case .kernelArgumentsTooLong: .kernelArguments
    }
  }

  /// The error and its remedy, with the options of the command line.
  /// - Parameter value: the value that was given.
  public func description(value: String) -> String {
    switch self {
    case .outOfRange(.faults, let kind):
      "--inject-faults '\(value)' is not a percentage: give \(GuestField.faults.rangeText(for: kind))"
    case .outOfRange(let field, let kind):
      "\(field.option) '\(value)' is out of range: give \(field.rangeText(for: kind))"
    case .unsuited(.copies, .linux): "--lockstep and --shadows are for applets, not for --linux"
    case .unsuited(let field, .linux): "\(field.option) is not for --linux"
    case .unsuited(.cpus, .applet): "--cpus needs --non-secure: an applet has one CPU"
    case .unsuited(.peer, .applet):
      "--with-secure needs --non-secure: only a program in system mode can call the applet"
    case .unsuited(.copies, .program): "--lockstep and --shadows are for applets, not for --non-secure"
    case .unsuited(.layout, .program), .unsuited(.clint, .program):
      "\(field.option) is for applets, not for --non-secure without --with-secure"
    case .unsuited(.transport, .program):
      "--transport mmio is for applets: programs in system mode use only HVC"
    case .unsuited(let field, _): "\(field.option) needs --linux"
    case .needsCopies(let field): "\(field.option) needs --lockstep or --shadows"
    case .tooMany(.disks, let max): "--disk: no more than \(max) disks"
    case .tooMany(let field, let max): "\(field.option): no more than \(max) of them"
    case .kernelArgumentsTooLong(let max):
      "--append: the command line is longer than the \(max) bytes that Linux keeps"
    }
  }
}
