import AppletABI
import KVM
import Machine

/// The floating-point registers: of a program in system mode those of the CPU whose call is being answered, the first
/// CPU's otherwise. Each access costs as much as several calls.
extension ExecCtx {
  /// A floating-point register: q0 to q31 by its two halves, or f0 to f31, in AArch32 d0 to d31, with a high half of zero.
  /// - Parameter number: 0 to 31.
  /// - Throws: `ExecError.noRegister`, `.kvm`.
  public func floatingPoint(_ number: Int) throws(ExecError) -> (low: UInt64, high: UInt64) {
    guard (0..<32).contains(number) else { throw .noRegister(number) }
    return try read(architecture.floatingPointRegister(number))
  }

  /// Sets a floating-point register, in the context's shadows too.
  /// - Parameters:
  ///   - number: 0 to 31.
  ///   - high: the upper half of arm64's; not used with registers of 64 bits.
  /// - Throws: `ExecError.noRegister`, `.kvm`.
  public func setFloatingPoint(_ number: Int, low: UInt64, high: UInt64 = 0) throws(ExecError) {
    guard (0..<32).contains(number) else { throw .noRegister(number) }
    try write(architecture.floatingPointRegister(number), low, high)
  }

  /// The control and status registers: FPCR and FPSR, which in AArch32 are two parts of FPSCR; on riscv64 fcsr, which is both, and 0.
  /// - Throws: `ExecError.kvm`.
  public func floatingPointControl() throws(ExecError) -> (control: UInt64, status: UInt64) {
    let (control, status) = architecture.floatingPointControl
    return (try read(control).low, try status.map { (register) throws(ExecError) in try read(register).low } ?? 0)
  }

  /// Sets the control and status registers, in the context's shadows too; of each 32 bits.
  /// - Parameter status: not used on riscv64.
  /// - Throws: `ExecError.kvm`.
  public func setFloatingPointControl(_ control: UInt64, status: UInt64 = 0) throws(ExecError) {
    let registers = architecture.floatingPointControl
    try write(registers.control, control & 0xffff_ffff, 0)
    if let register = registers.status { try write(register, status & 0xffff_ffff, 0) }
  }

  private func read(_ register: FloatingPointRegister) throws(ExecError) -> (low: UInt64, high: UInt64) {
    do throws(KVMError) {
      guard isSecure else {
        var words: (UInt64, UInt64) = (0, 0)
        let result = withUnsafeMutableBytes(of: &words) { words in
          Result { () throws(KVMError) in try floatingPointCPU.vcpu.readRegister(register.id, into: words) }
        }
        try result.get()
        return words
      }
      try guest.captureFloatingPoint()
      return (frame[register.word], isWide(register) ? frame[register.word + 1] : 0)
    } catch { throw .kvm(error) }
  }

  private func write(_ register: FloatingPointRegister, _ low: UInt64, _ high: UInt64) throws(ExecError) {
    do throws(KVMError) {
      guard isSecure else {
        var words = (low, high)
        let result = withUnsafeMutableBytes(of: &words) { words in
          Result { () throws(KVMError) in try floatingPointCPU.vcpu.writeRegister(register.id, from: words) }
        }
        return try result.get()
      }
      for copy in guests {
        try copy.captureFloatingPoint()
        copy.frame[register.word] = low
        if isWide(register) { copy.frame[register.word + 1] = high }
      }
    } catch { throw .kvm(error) }
  }

  /// Whether it has two words.
  private func isWide(_ register: FloatingPointRegister) -> Bool {
    architecture.facts.floatingPoint.words == 2 && architecture.floatingPointWords.contains(register.word)
  }

  private var floatingPointCPU: CPU { program?.caller ?? guest.cpu }
}
