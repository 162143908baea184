import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// SBI calls that KVM hands on beside Swiftlet's own (RISC-V Supervisor Binary Interface Specification 2.0).
extension ExecCtx {
  /// Answers a call of another extension; what is not answered gets SBI_ERR_NOT_SUPPORTED.
  func answerSBI(_ id: UInt64, _ function: UInt64, _ vcpu: borrowing VCPU, _ processor: Int) throws(ExecError) {
    let (first, second, third) = (vcpu.sbiArgument(0), vcpu.sbiArgument(1), vcpu.sbiArgument(2))
    switch (id, function) {
    case (UInt64(APPLET_SBI_EXCEPTION), _): throw exception(vcpu, processor)
    case (SBI.base, 3):
      // sbi_probe_extension, of the ranges that are not the kernel's.
      vcpu.completeSBI(error: 0, value: first == UInt64(APPLET_SBI_EXTENSION) ? 1 : 0)
    case (SBI.debugConsole, 0):
      let range = third == 0 ? GuestRange(start: second, count: first) : nil
      let isSent = try range.map { range throws(ExecError) in try sendToConsole(range) } ?? false
      vcpu.completeSBI(error: isSent ? 0 : SBI.invalidParameter, value: isSent ? first : 0)
    case (SBI.debugConsole, 1):
      let range = third == 0 ? GuestRange(start: second, count: first) : nil
      let count = try range.map { range throws(ExecError) in try readFromConsole(range) } ?? nil
      vcpu.completeSBI(error: count == nil ? SBI.invalidParameter : 0, value: count ?? 0)
    case (SBI.debugConsole, 2):
      try send(UInt8(truncatingIfNeeded: first))
      vcpu.completeSBI(error: 0, value: 0)
    case (SBI.legacyPutCharacter, _):
      try send(UInt8(truncatingIfNeeded: first))
      // The old calls have one result, and keep a1.
      vcpu.completeSBI(error: 0, value: second)
    case (SBI.legacyGetCharacter, _):
      vcpu.completeSBI(error: -1, value: second)
    default: break
    }
  }

  private func send(_ byte: UInt8) throws(ExecError) {
    try emit { console, giveUp throws(Errno) in try console.put(byte, giveUp: giveUp) }
  }

  /// Reads what is there: this call does not wait.
  /// - Returns: how many bytes; nil where the range is not all the guest's memory.
  private func readFromConsole(_ range: GuestRange) throws(ExecError) -> UInt64? {
    // A prompt, for whoever is to type.
    try flush()
    let result: Int
    do throws(GuestMemory.Refusal) {
      result = try memory.withBytes(range, for: .write) {
        $0.isEmpty || !linux_can_read(input) ? 0 : linux_read(input, $0.baseAddress, $0.count)
      }
    } catch { return nil }
    // Somebody else took it first, or a signal came.
    if result == -Int(EAGAIN) || result == -Int(EINTR) { return 0 }
    do { return UInt64(try checked(result)) } catch { throw .input(error) }
  }

  /// - Returns: false where the range is not all the guest's memory.
  private func sendToConsole(_ range: GuestRange) throws(ExecError) -> Bool {
    let result: Result<Void, ExecError>
    do throws(GuestMemory.Refusal) {
      result = try memory.withBytes(range, for: .read) { bytes in
        do throws(ExecError) {
          try emit { console, giveUp throws(Errno) in
            try console.put(UnsafeRawBufferPointer(bytes), giveUp: giveUp)
          }
          return .success(())
        } catch { return .failure(error) }
      }
    } catch { return false }
    try result.get()
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
