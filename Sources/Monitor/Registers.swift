import AppletABI
import Machine

extension ExecCtx {
  /// The call's number: x0 or a0.
  @inline(__always)
  public var a0: UInt64 { frame[architecture.callRegister] }
  /// The call's first argument: x1 or a1.
  @inline(__always)
  public var a1: UInt64 { frame[architecture.callRegister + 1] }
  /// The call's second argument: x2 or a2.
  @inline(__always)
  public var a2: UInt64 { frame[architecture.callRegister + 2] }
  /// The call's third argument: x3 or a3.
  public var a3: UInt64 { frame[architecture.callRegister + 3] }

  /// Sets the call's result, x0 or a0.
  @inline(__always)
  public func ret(_ value: UInt64) { frame[architecture.callRegister] = value }
  /// Sets the call's result; negative numbers are sign-extended.
  public func ret(_ value: Int64) { ret(UInt64(bitPattern: value)) }
  /// Sets the call's result; zero-extended.
  public func ret(_ value: UInt32) { ret(UInt64(value)) }
  /// Sets the call's result; sign-extended.
  public func ret(_ value: Int32) { ret(Int64(value)) }

  /// Address of the instruction that runs next; for an exception that is no call, of the one that raised it.
  public var pc: UInt64 { frame[Int(APPLET_FRAME_PC)] }
}

extension ExecCtx: CustomStringConvertible {
  /// The registers by name, four to a line.
  public var description: String {
    var lines = ""
    var column = 0
    func add(_ name: String, _ value: UInt64) {
      let digits = String(value, radix: 16)
      for _ in name.utf8.count..<max(name.utf8.count, 8) { lines += " " }
      lines += name
      lines += ":"
      for _ in digits.utf8.count..<16 { lines += "0" }
      lines += digits
      column += 1
      if column % 4 == 0 { lines += "\n" }
    }
    for number in architecture.generalRegisters { add(architecture.registerName(number), frame[number]) }
    add("pc", pc)
    add(architecture.statusName.description, frame[Int(APPLET_FRAME_STATUS)])
    add("cause", frame[Int(APPLET_FRAME_CAUSE)])
    add("address", frame[Int(APPLET_FRAME_ADDRESS)])
    if column % 4 != 0 { lines += "\n" }
    return lines
  }
}
