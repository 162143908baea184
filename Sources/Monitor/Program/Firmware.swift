import AppletABI
import KVM
import Machine

/// A call of a program in system mode to its firmware that KVM forwards to the monitor. Most are answered by KVM itself: PSCI, and SBI's
/// extensions for timers, IPIs, fences, harts and resets; a shutdown or reset ends the run.
public struct FirmwareCall: Equatable, Sendable {
  /// riscv64: the extension ID, a7. arm64: the function identifier, the low 32 bits of x0.
  public let number: UInt64
  /// riscv64: the function ID, a6. arm64: 0.
  public let function: UInt64
  /// a0 to a2; x1 to x3.
  public let arguments: (UInt64, UInt64, UInt64)

  init(number: UInt64, function: UInt64, arguments: (UInt64, UInt64, UInt64)) {
    self.number = number
    self.function = function
    self.arguments = arguments
  }

  /// Whether two calls are the same.
  public static func == (a: FirmwareCall, b: FirmwareCall) -> Bool {
    (a.number, a.function) == (b.number, b.function) && a.arguments == b.arguments
  }
}

/// The result of a call to the firmware.
public struct FirmwareResult: Equatable, Sendable {
  /// riscv64: a0, 0 or an SBI_ERR. arm64: x0, unless it is 0.
  public var error: Int64
  /// riscv64: a1. arm64: x0, if the error is 0.
  public var value: UInt64

  /// A result.
  public init(error: Int64 = 0, value: UInt64 = 0) {
    self.error = error
    self.value = value
  }
}

extension ExecCtx {
  /// Whether a hypercall of the SMC Calling Convention is for the firmware, not one of the ABI's.
  static func isFirmware(_ number: UInt64) -> Bool {
    number > UInt64(APPLET_CALL_LAST)
      && !(UInt64(APPLET_CALL_EXCEPTION)...UInt64(APPLET_CALL_SYSTEM_LAST)).contains(number)
  }

  /// arm64: lets the firmware handler answer a hypercall.
  /// - Returns: false if it does not.
  func answerFirmware(_ number: UInt64, _ cpu: CPU) throws(ExecError) -> Bool {
    guard let firmwareHandler, Self.isFirmware(number) else { return false }
    let arguments = (try register(ARM64.x(1), cpu), try register(ARM64.x(2), cpu), try register(ARM64.x(3), cpu))
    let call = FirmwareCall(number: number, function: 0, arguments: arguments)
    guard let result = try firmwareHandler(self, call) else { return false }
    let value = result.error == 0 ? result.value : UInt64(bitPattern: result.error)
    do { try cpu.vcpu.setRegister(ARM64.x(0), value) } catch { throw .kvm(error) }
    return true
  }

  /// riscv64: lets the firmware handler answer a call.
  /// - Returns: false if it does not.
  func answerFirmware(_ id: UInt64, _ function: UInt64, _ cpu: CPU) throws(ExecError) -> Bool {
    guard let firmwareHandler else { return false }
    let arguments = (cpu.vcpu.sbiArgument(0), cpu.vcpu.sbiArgument(1), cpu.vcpu.sbiArgument(2))
    let call = FirmwareCall(number: id, function: function, arguments: arguments)
    guard let result = try firmwareHandler(self, call) else { return false }
    cpu.vcpu.completeSBI(error: result.error, value: result.value)
    return true
  }
}
