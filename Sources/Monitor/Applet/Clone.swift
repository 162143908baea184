import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Makes a copy of the context, to run in lockstep with it (see `shadows`). The copy has a VM and memory of its own,
  /// and the same registers, including floating point. It has no handler.
  ///
  /// The context must not be in the guest: call this before its first run, between two calls, or after a stop.
  /// - Parameter system: the host's KVM.
  /// - Throws: `KVMError` if the kernel cannot create the VM; `.failed(.createVM, .notSupported)` for a non-secure
  ///   context, part of whose state is in the kernel.
  public func clone(on system: borrowing System) throws(KVMError) -> ExecCtx {
    guard let applet else { throw .failed(.createVM, .notSupported) }
    try guest.captureFloatingPoint()
    let copy: GuestMemory
    do { copy = try GuestMemory(layout: memory.layout, kernel: guest.kernel) } catch {
      throw .failed(.mapMemory, error)
    }
    // The device tree is copied with the memory.
    let clone = try GuestMachine.applet(
      entry: pc, memory: copy, system: system, described: guest.described, transport: transport)
    for piece in memory.added {
      var access: Access = []
      for region in memory.regions where piece.range.contains(region.range.lowerBound) {
        access.formUnion(region.access)
      }
      clone.memory.added.append(try piece.forCopy(access, kernel: guest.kernel))
    }
    clone.memory.copyContents(of: memory)
    if let tables = guest.tables { clone.tables?.follow(tables) }
    clone.memory.regions = memory.regions
    try clone.syncMemorySlots()
    try clone.copyThreadPointer(of: guest)
    if guest.mayReadCounter {
      // The copy's counter lags by the time between the two ioctls, which is long if the thread is preempted between
      // them.
      for _ in 0..<10 {
        let start = Clock.monotonic
        try clone.cpu.vcpu.setRegister(
          architecture.facts.counter, guest.cpu.vcpu.register(architecture.facts.counter))
        if Clock.monotonic - start < 200_000 { break }
      }
      try clone.allowCounter(true)
      clone.mayReadCounter = true
    }
    clone.frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_FP | APPLET_ENTRY_FENCE)
    clone.frame[Int(APPLET_FRAME_ON_EXIT)] = 0
    let mode = AppletMode(architecture)
    mode.sleepUnderWay = applet.sleepUnderWay
    var options = Options()
    options.output = console.descriptor
    options.input = input
    let context = ExecCtx(clone, .applet(mode), options: options)
    context.clocks.mtimeStart = clocks.mtimeStart
    return context
  }
}

extension GuestMachine {
  /// Copies the one register that the trap frame does not hold: copying it costs more than a call.
  func copyThreadPointer(of other: GuestMachine) throws(KVMError) {
    guard let register = architecture.facts.threadPointer else { return }
    try cpu.vcpu.setRegister(register, try other.cpu.vcpu.register(register))
  }

  /// Saves the floating-point registers in the trap frame, from which the next entry loads them.
  func captureFloatingPoint() throws(KVMError) {
    // A copy that has not run yet, or was repaired, has them there already.
    guard frame[Int(APPLET_FRAME_ON_ENTRY)] & UInt64(APPLET_ENTRY_FP) == 0 else { return }
    for register in architecture.floatingPointRegisters {
      // Each register is within the frame, by the ABI header.
      let words = UnsafeMutableRawBufferPointer(start: frame + register.word, count: 16)
      try cpu.vcpu.readRegister(register.id, into: words)
    }
    frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_FP)
  }
}

extension GuestMemory {
  /// Copies the contents of another memory with the same layout and the same added regions.
  package func copyContents(of other: borrowing GuestMemory) {
    mapping.copyContents(of: other.mapping)
    for (mine, theirs) in zip(added, other.added) where mine.memory !== theirs.memory {
      mine.memory.copyContents(of: theirs.memory)
    }
  }
}
