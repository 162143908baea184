import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// SBI calls other than Swiftlet's own that KVM forwards (RISC-V Supervisor Binary Interface Specification 2.0).
extension ExecCtx {
  /// Answers a call of another extension. Unsupported ones return SBI_ERR_NOT_SUPPORTED.
  func answerSBI(_ id: UInt64, _ function: UInt64, _ cpu: CPU) throws(ExecError) {
    if id != UInt64(APPLET_SBI_EXCEPTION), try answerFirmware(id, function, cpu) { return }
    let (first, second, third) = (cpu.vcpu.sbiArgument(0), cpu.vcpu.sbiArgument(1), cpu.vcpu.sbiArgument(2))
    switch (id, function) {
    case (UInt64(APPLET_SBI_EXCEPTION), _): throw exception(cpu)
    case (SBI.base, 3):
      // sbi_probe_extension, for the ranges that KVM forwards.
      cpu.vcpu.completeSBI(error: 0, value: first == UInt64(APPLET_SBI_EXTENSION) ? 1 : 0)
    case (SBI.debugConsole, 0):
      let range = third == 0 ? GuestRange(start: second, count: first) : nil
      let isSent = try range.map { range throws(ExecError) in try sendToConsole(range) } ?? false
      cpu.vcpu.completeSBI(error: isSent ? 0 : SBI.invalidParameter, value: isSent ? first : 0)
    case (SBI.debugConsole, 1):
      let range = third == 0 ? GuestRange(start: second, count: first) : nil
      let count = try range.map { range throws(ExecError) in try readFromConsole(range) } ?? nil
      cpu.vcpu.completeSBI(error: count == nil ? SBI.invalidParameter : 0, value: count ?? 0)
    case (SBI.debugConsole, 2):
      try send(UInt8(truncatingIfNeeded: first))
      cpu.vcpu.completeSBI(error: 0, value: 0)
    case (SBI.legacyPutCharacter, _):
      try send(UInt8(truncatingIfNeeded: first))
      // Legacy calls have one result, and preserve a1.
      cpu.vcpu.completeSBI(error: 0, value: second)
    case (SBI.legacyGetCharacter, _):
      cpu.vcpu.completeSBI(error: -1, value: second)
    default: break
    }
  }

  private func send(_ byte: UInt8) throws(ExecError) {
    try emit { console, mustStop throws(Errno) in try console.put(byte, mustStop: mustStop) }
  }

  /// Reads available input; this call does not wait.
  /// - Returns: the number of bytes; nil if the range is not completely in the guest's memory.
  private func readFromConsole(_ range: GuestRange) throws(ExecError) -> UInt64? {
    // Pending output may be a prompt.
    try flush()
    do throws(GuestMemoryError) { _ = try guest.memory.map.locate(range, for: .write) } catch { return nil }
    guard range.count > 0, linux_can_read(input) else { return 0 }
    let result = try readInput(at: range.start, count: range.count)
    // Another reader took the data, or a signal arrived.
    if result == -Int(EAGAIN) || result == -Int(EINTR) { return 0 }
    do { return UInt64(try checked(result)) } catch { throw .input(error) }
  }

  /// - Returns: false if the range is not completely in the guest's memory.
  private func sendToConsole(_ range: GuestRange) throws(ExecError) -> Bool {
    do throws(GuestMemoryError) { _ = try guest.memory.map.locate(range, for: .read) } catch { return false }
    try send(at: range.start, count: range.count).get()
    return true
  }
}

/// Numbers of the specification.
enum SBI {
  static let legacyPutCharacter: UInt64 = 1
  static let legacyGetCharacter: UInt64 = 2
  static let base: UInt64 = 0x10
  static let debugConsole: UInt64 = 0x4442_434e
  static let invalidParameter: Int64 = -3
}
