import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Makes a copy of the context as it is now, to run in lockstep with it (see `shadows`): in a machine and memory of its own,
  /// with the same registers, floating point included. The handler is not carried over.
  ///
  /// Not while the context runs; between two calls, or before the first.
  /// - Parameter system: the host's KVM.
  /// - Throws: `KVMError` where the kernel cannot make it; `.failed(.createVM, .notSupported)` for a non-secure context, whose
  ///   state is not all the monitor's to copy.
  public func clone(on system: borrowing System) throws(KVMError) -> ExecCtx {
    guard isSecure else { throw .failed(.createVM, .notSupported) }
    try captureFloatingPoint()
    let copy: GuestMemory
    do { copy = try GuestMemory(layout: memory.layout, kernel: kernel) } catch { throw .failed(.mapMemory, error) }
    // The device tree comes with the memory.
    let parts = try Parts.secure(
      entry: pc, memory: copy, system: system, described: described, transport: transport)
    var options = Options()
    options.output = console.descriptor
    options.input = input
    let clone = ExecCtx(parts, options: options)
    for piece in memory.added {
      var access: Access = []
      for region in memory.regions where piece.range.contains(region.range.lowerBound) {
        access.formUnion(region.access)
      }
      clone.memory.added.append(try piece.forCopy(access, kernel: kernel))
    }
    clone.memory.copyContents(of: memory)
    if let tables { clone.tables?.follow(tables) }
    clone.memory.regions = memory.regions
    try clone.fitSlots()
    clone.sleepUnderWay = sleepUnderWay
    try clone.copyThreadPointer(of: self)
    if mayReadCounter {
      // The copy's time lags by what passes between the two requests, which is much where the thread loses its processor there.
      for _ in 0..<10 {
        let start = Clock.monotonic
        try clone.vcpu.setRegister(architecture.counterRegister, vcpu.register(architecture.counterRegister))
        if Clock.monotonic - start < 200_000 { break }
      }
      try clone.allowCounter(true)
      clone.mayReadCounter = true
    }
    clone.frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_FP | APPLET_ENTRY_FENCE)
    clone.frame[Int(APPLET_FRAME_ON_EXIT)] = 0
    return clone
  }

  /// Takes over the register of another context that the trap frame does not hold: to do so costs more than a call does.
  func copyThreadPointer(of other: ExecCtx) throws(KVMError) {
    guard let register = architecture.threadPointer else { return }
    try vcpu.setRegister(register, try other.vcpu.register(register))
  }

  /// Brings the floating-point registers into the trap frame, from where the next entry loads them again.
  func captureFloatingPoint() throws(KVMError) {
    // Those of a copy that has not run yet, or was repaired, are there already.
    guard frame[Int(APPLET_FRAME_ON_ENTRY)] & UInt64(APPLET_ENTRY_FP) == 0 else { return }
    for register in architecture.floatingPointRegisters {
      // Every register's words lie within the frame, as the ABI header has them.
      let words = UnsafeMutableRawBufferPointer(start: frame + register.word, count: 16)
      try vcpu.readRegister(register.id, into: words)
    }
    frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_FP)
  }
}

extension GuestMemory {
  /// Takes over the contents of another memory with the same layout and the same added pieces.
  package func copyContents(of other: borrowing GuestMemory) {
    mapping.copyContents(of: other.mapping)
    for (mine, theirs) in zip(added, other.added) where mine.memory !== theirs.memory {
      mine.memory.copyContents(of: theirs.memory)
    }
  }
}
