import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// The run loop of a program in system mode: each CPU on a thread of its own, until the machine has ended.
extension ExecCtx {
  /// Runs all CPUs until the program exits, its VM is powered off or reset, it is stopped, or an error occurs.
  func runProgram(_ program: ProgramMode) throws(ExecError) -> Outcome {
    if let final = program.final { return final }
    let (cpus, cpu) = (guest.cpus, guest.cpu)
    guard let wasBlocked = cpu.entered() else { throw .running }
    defer {
      limits.end()
      cpu.left(wasBlocked: wasBlocked)
    }
    do { try limits.begin(calls: calls) } catch { throw .host(error) }
    try restoreRegisters(program)
    for number in program.hasFaulted.indices { program.hasFaulted[number] = false }
    cpus.run {
      serve($0, program)
    } failed: {
      program.finish(.error(.host($0)), on: cpu)
    }
    program.caller = nil
    let ending = cpus.control.takeEnd()
    switch program.takeEnd() {
    case .outcome(let outcome):
      program.peer?.context.console.flushAtOnce()
      do throws(ExecError) { try flush() } catch {
        console.flushAtOnce()
        if case .stopped = error { return .stopped }
        throw error
      }
      return outcome
    case .error(let error):
      console.flushAtOnce()
      // Another CPU's call may have followed. After a limit, the state of CPU 0 is the most useful.
      try? show(cpu: ending)
      if case .stopped = error {
        // Another CPU may have seen the stop by the peer's flag.
        _ = cpus.control.takeStop()
        return .stopped
      }
      throw error
    }
  }

  /// The number of CPUs.
  public var cpuCount: Int { guest.cpus.count }

  /// Selects the CPU whose registers the context shows, until it runs again. The context must not be running. The
  /// registers of CPU 0 can also be changed: they are written to its vCPU at the next run.
  /// - Parameter number: below `cpuCount`. After a run that has failed the context shows the CPU on which it
  ///   failed.
  /// - Throws: `ExecError.noCPU`, `.kvm`.
  public func show(cpu number: Int) throws(ExecError) {
    guard (0..<cpuCount).contains(number) else { throw .noCPU(number) }
    guard let program else { return }
    guard number == 0 else {
      // Changes of CPU 0's registers are discarded.
      program.snapshot = nil
      try capture(guest.cpus[number])
      if program.hasFaulted[number] { try captureException(guest.cpus[number]) }
      return
    }
    // They are in the frame already, and may have been changed.
    guard program.snapshot == nil else { return }
    try takeSnapshot(program)
    // As changes: the next run continues at the instruction that raised it, and not at the monitor's vector.
    if program.hasFaulted[0] { try captureException(guest.cpu) }
  }

  /// Shows the registers of CPU 0 during a run, for a function set by `onReadable`; the CPU stays out of the guest
  /// meanwhile. For a secure context it only calls `body`.
  public func showingFirstCPU(_ body: () -> Void) {
    guard program != nil else { return body() }
    // A call that waits has its arguments in the frame.
    let call = guest.frameWords
    try? capture(guest.cpu)
    body()
    for (word, value) in call.enumerated() { frame[word] = value }
  }

  /// Runs a CPU on the calling thread until the run ends.
  private func serve(_ cpu: CPU, _ program: ProgramMode) {
    let control = cpu.control
    do throws(ExecError) {
      if cpu.number == 0 {
        // Other CPUs may be in calls already.
        program.callLock.acquire()
        defer { program.callLock.release() }
        program.caller = cpu
        try checkStops()
      } else {
        resume(cpu)
      }
      if !control.isEnding {
        try cpu.run { (exit) throws(ExecError) -> Void? in
          try handle(exit, cpu, program)
          return control.isEnding ? () : nil
        } failed: { (error) throws(ExecError) in
          // The frame must not change between another CPU's call and its result.
          program.callLock.acquire()
          defer { program.callLock.release() }
          throw failure(error, cpu)
        }
      }
    } catch { program.finish(.error(error), on: cpu) }
    cpu.vcpu.leave()
    // The reason for the exit request has been handled.
    cpu.vcpu.clearExitRequest()
  }

  /// Continues a CPU that was kicked, after any change of memory that keeps CPUs out of the guest.
  private func resume(_ cpu: CPU) {
    cpu.vcpu.clearExitRequest()
    guest.cpus.waitUntilMayEnter()
  }

  /// Handles an exit of a CPU.
  @inline(__always)
  func handle(_ exit: Exit, _ cpu: CPU, _ program: ProgramMode) throws(ExecError) {
    switch exit {
    case .hypercall, .sbi:
      program.callLock.acquire()
      defer { program.callLock.release() }
      program.caller = cpu
      do throws(ExecError) { try answer(exit, cpu, program) } catch {
        try repeatCall(exit, cpu, after: error)
        throw error
      }
      if let exitStatus { program.finish(.outcome(.exited(status: exitStatus)), on: cpu) }
    case .interrupted:
      resume(cpu)
      if cpu.number > 0 { return }
      program.callLock.acquire()
      defer { program.callLock.release() }
      program.caller = cpu
      try checkStops()
    case .systemEvent(1): program.finish(.outcome(.shutdown), on: cpu)
    case .systemEvent(2): program.finish(.outcome(.reset), on: cpu)
    default: throw describe(exit, cpu, program)
    }
  }

  func checkStops(of program: ProgramMode) throws(ExecError) {
    let control = guest.cpus.control
    if control.isEnding { throw .stopped }
    // CPU 0 handles stops and limits: its exit request must stay set for it.
    if let caller = program.caller, caller.number != 0 { return }
    guest.cpu.vcpu.clearExitRequest()
    try callReadable {}
    if control.takeStop() { throw .stopped }
    try checkLimits()
  }

  /// Answers a call, with the call lock held.
  @inline(always)
  private func answer(_ exit: Exit, _ cpu: CPU, _ program: ProgramMode) throws(ExecError) {
    switch exit {
    case .hypercall(let function): try answerHypercall(function, cpu, program)
    case .sbi(extension: UInt64(APPLET_SBI_EXTENSION), let function):
      try answerCall(function, cpu, program)
    case .sbi(let id, let function): try answerSBI(id, function, cpu)
    default: break
    }
  }

  /// arm64: each argument is in a register that takes 1,500 instructions to read, so only as many are read as the call
  /// has.
  @inline(always)
  private func answerHypercall(_ function: UInt64, _ cpu: CPU, _ program: ProgramMode)
    throws(ExecError)
  {
    // Function identifiers of SMCCC have 32 bits.
    let number = function & 0xffff_ffff
    if number == APPLET_CALL_BY_BLOCK, let block = program.blocks[cpu.number]?.words {
      return try answerBlock(block, notSupported: .max)
    }
    guard number != APPLET_CALL_EXCEPTION else { throw exception(cpu) }
    if try answerFirmware(number, cpu) { return }
    frame[0] = number
    let count = handlers.call == nil ? Self.argumentCount(of: number) : 3
    for argument in 0..<count { frame[1 + argument] = try register(ARM64.x(1 + argument), cpu) }
    if number == APPLET_CALL_BLOCK {
      frame[0] = UInt64(bitPattern: nameBlock(at: frame[1], cpu, program))
    } else if try !handleCall() {
      frame[0] = .max
    }
    guard frame[0] != number else { return }
    do { try cpu.vcpu.setRegister(ARM64.x(0), frame[0]) } catch { throw .kvm(error) }
  }

  /// riscv64: arguments and results are in the run page.
  @inline(always)
  private func answerCall(_ number: UInt64, _ cpu: CPU, _ program: ProgramMode)
    throws(ExecError)
  {
    let first = architecture.callRegister
    frame[first] = number
    for argument in 0..<3 { frame[first + 1 + argument] = cpu.vcpu.sbiArgument(argument) }
    if number == APPLET_CALL_BY_BLOCK, let block = program.blocks[cpu.number]?.words {
      try answerBlock(block, notSupported: .max - 1)
    } else if number == APPLET_CALL_BLOCK {
      frame[first] = UInt64(bitPattern: nameBlock(at: frame[first + 1], cpu, program))
    } else if try !handleCall() {
      return
    }
    cpu.vcpu.completeSBI(error: 0, value: frame[first])
  }

  /// Sets a CPU's call block.
  /// - Returns: 0, or -EINVAL if the memory cannot be a block.
  private func nameBlock(at address: UInt64, _ cpu: CPU, _ program: ProgramMode) -> Int64 {
    let size = UInt64(MemoryLayout<applet_block>.size)
    guard address % size == 0, address >= memory.slot.lowerBound, address < memory.slot.upperBound,
      let range = GuestRange(start: address, count: size), (try? memory.check(range, for: .write)) != nil
    else { return -Int64(EINVAL) }
    // Blocks are aligned to their size, and so never cross the end of the slot.
    let words = memory.bytes(at: address, count: Int(size)).baseAddress?
      .bindMemory(to: UInt64.self, capacity: Int(size) / 8)
    program.blocks[cpu.number] = words.map { CallBlock(words: $0, range: range) }
    return 0
  }

  /// Answers the call in a block.
  private func answerBlock(_ block: UnsafeMutablePointer<UInt64>, notSupported: UInt64) throws(ExecError) {
    let first = architecture.callRegister
    for word in 0..<4 { frame[first + word] = block[word] }
    block[0] = try handleCall() ? frame[first] : notSupported
  }

  /// Makes the program repeat a call that a stop or a limit has interrupted, when the context is run again.
  private func repeatCall(_ exit: Exit, _ cpu: CPU, after error: ExecError) throws(ExecError) {
    switch error {
    case .stopped, .limit: break
    default: return
    }
    do throws(KVMError) {
      if case .sbi = exit { try passCall(cpu) }
      try goBackToCall(cpu)
    } catch { throw .kvm(error) }
  }

  /// riscv64: completes an SBI call so that its registers keep their values and PC is after it. The next entry returns
  /// at once: `checkStops` must follow.
  func passCall(_ cpu: CPU) throws(KVMError) {
    cpu.vcpu.completeSBI(error: Int64(bitPattern: cpu.vcpu.sbiArgument(0)), value: cpu.vcpu.sbiArgument(1))
    cpu.vcpu.requestExit()
    _ = try cpu.vcpu.enter()
  }

  /// Moves a program's PC from after a call to the call.
  func goBackToCall(_ cpu: CPU) throws(KVMError) {
    let pc = architecture.facts.programCounter
    // HVC and ECALL have four bytes.
    try cpu.vcpu.setRegister(pc, try cpu.vcpu.register(pc) &- 4)
  }

  /// Calls the handler for the call in the frame.
  /// - Returns: false if the call is not defined.
  private func handleCall() throws(ExecError) -> Bool {
    callCounts.countOther()
    do throws(ExecError) {
      if let handler = handlers.call { try handler(self) } else { try nonSecureHandler(self) }
    } catch {
      if case .unknownCall = error { return false }
      throw error
    }
    return true
  }

  /// Runs `body` for a call without the call lock, which other CPUs may take meanwhile. The call is written into the
  /// frame again afterwards.
  func withCallLockReleased<Result, Failure: Error>(
    _ program: ProgramMode, _ caller: CPU, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let first = architecture.callRegister
    let saved = (frame[first], frame[first + 1], frame[first + 2], frame[first + 3])
    program.callLock.release()
    defer {
      program.callLock.acquire()
      program.caller = caller
      (frame[first], frame[first + 1], frame[first + 2], frame[first + 3]) = saved
    }
    return try body()
  }

  // MARK: Errors

  func register(_ id: UInt64, _ cpu: CPU) throws(ExecError) -> UInt64 {
    do { return try cpu.vcpu.register(id) } catch { throw .kvm(error) }
  }

  /// Reads a CPU's registers into the frame, for messages about the context.
  func capture(_ cpu: CPU) throws(ExecError) {
    for (word, id) in architecture.systemRegisters { frame[word] = try register(id, cpu) }
  }

  /// The exception that reached the monitor's vectors.
  func exception(_ cpu: CPU) -> ExecError {
    program?.hasFaulted[cpu.number] = true
    if !architecture.facts.usesSMCCC { do { try passCall(cpu) } catch { return .kvm(error) } }
    do throws(ExecError) { try capture(cpu) } catch { return error }
    return capturedException(cpu)
  }

  /// The same, if the registers are in the frame already.
  func capturedException(_ cpu: CPU) -> ExecError {
    do throws(ExecError) { try captureException(cpu) } catch { return error }
    return describe(architecture.systemFault(cause: frame[Int(APPLET_FRAME_CAUSE)]))
  }

  /// Replaces the registers that the monitor's vectors have changed by those before the exception.
  private func captureException(_ cpu: CPU) throws(ExecError) {
    let ids = architecture.facts.exception
    frame[architecture.facts.vectorRegister] = try register(ids.saved, cpu)
    frame[Int(APPLET_FRAME_PC)] = try register(ids.pc, cpu)
    frame[Int(APPLET_FRAME_CAUSE)] = try register(ids.cause, cpu)
    frame[Int(APPLET_FRAME_ADDRESS)] = try register(ids.address, cpu)
  }

  /// The error of an exit that is not handled.
  private func describe(_ exit: Exit, _ cpu: CPU, _ program: ProgramMode) -> ExecError {
    program.callLock.acquire()
    defer { program.callLock.release() }
    do throws(ExecError) {
      try capture(cpu)
      if case .mmio = exit { try undo(cpu) }
      // The program has no write access to this memory, or none at all (`syncMemorySlots`).
      if case .mmio(let address, _, let isWrite, _) = exit,
        memory.regions.contains(where: { $0.range.contains(address) })
      {
        return .fault(isWrite ? .write : .read, pc: pc, address: address)
      }
      if case .accessWithoutSyndrome(let address, let isWrite) = exit {
        return .fault(isWrite ? .write : .read, pc: pc, address: address)
      }
      return .unexpectedExit(exit)
    } catch { return error }
  }

  /// Completes a load or store that KVM would complete with the next entry, and restores the registers in the frame: the program
  /// repeats it when the context is run again.
  private func undo(_ cpu: CPU) throws(ExecError) {
    do throws(KVMError) {
      cpu.vcpu.requestExit()
      _ = try cpu.vcpu.enter()
      for (word, id) in architecture.systemRegisters { try cpu.vcpu.setRegister(id, frame[word]) }
    } catch { throw .kvm(error) }
  }

  /// The error of a failed KVM_RUN. That of an access to an address without memory is a fault of the program. On riscv64 a jump
  /// there is one; on arm64 the guest gets an exception.
  func failure(_ failure: KVMError, _ cpu: CPU) -> ExecError {
    do throws(ExecError) { try capture(cpu) } catch { return error }
    guard failure.isAccess else { return .kvm(failure) }
    // By an older kernel that does not say more.
    if architecture.facts.kernelInjectsAborts { return .fault(.read, pc: pc, address: nil) }
    let table: UInt64
    do throws(ExecError) { table = try register(architecture.facts.translationTable, cpu) } catch { return error }
    // A program that has page tables of its own is anywhere in them.
    let found = instruction(at: pc) { architecture.physicalAddress(of: $0, table: table, load: word) }
    guard let instruction = found else { return .fault(.execute, pc: pc, address: pc) }
    let access = architecture.access(of: instruction) { frame[$0] }
    let isMisaligned = failure == .failed(.run, .inputOutput)
    return .fault(
      isMisaligned ? .misaligned : access?.isWrite == true ? .write : .read, pc: pc, address: access?.address)
  }

  /// 8 bytes of physical memory, where a program may have page tables; nil where there is none.
  private func word(at address: UInt64) -> UInt64? {
    if memory.slot.contains(address), memory.slot.upperBound - address >= 8 {
      return memory.bytes(at: address, count: 8).loadUnaligned(as: UInt64.self)
    }
    guard let range = GuestRange(start: address, count: 8) else { return nil }
    return try? memory.withBytes(range, for: []) { $0.loadUnaligned(as: UInt64.self) }
  }
}
