import Applet
import AppletABI
import CLinux
import Devices
import KVM
import Machine
import Platform

/// How a non-secure context runs: a thread a processor, each entering its vCPU until the machine has ended.
extension ExecCtx {
  /// Runs all processors until the program exits, its machine is off or reset, it is stopped, or something fails.
  func runProcessors(_ shared: Processors) throws(ExecError) -> Outcome {
    if let final = shared.final { return final }
    control.began()
    do throws(ExecError) {
      do { try limits.begin(calls: calls) } catch { throw .host(error) }
      try giveRegisters(shared)
    } catch {
      limits.end()
      control.ended()
      throw error
    }
    var threads: [(processor: Processor, thread: Thread)] = []
    for processor in shared.others {
      do {
        let thread = try Thread { [self] in
          processor.control.began()
          processor.measured { run(processor.vcpu, processor.number, processor.control, shared) }
          processor.control.ended()
          shared.waitForFirst { control.wake { vcpu.requestExit() } }
        }
        threads.append((processor, thread))
      } catch { finish(.error(.host(error)), shared, from: 0) }
    }
    run(vcpu, 0, control, shared)
    shared.firstIsBack()
    for (processor, thread) in threads {
      // It has been asked to stop: it is kicked until it has.
      _ = processor.control.waitForEnd(until: nil)
      thread.join()
    }
    for processor in shared.others { _ = processor.control.takeStop() }
    shared.caller = nil
    defer {
      limits.end()
      control.ended()
    }
    switch shared.takeEnd() {
    case .outcome(let outcome):
      shared.trusted?.context.console.flushAtOnce()
      do throws(ExecError) { try flush() } catch {
        console.flushAtOnce()
        if case .stopped = error { return .stopped }
        throw error
      }
      return outcome
    case .error(let error):
      console.flushAtOnce()
      // Another processor's call may have come after it. Of a limit, where the first processor was tells most.
      try? show(processor: shared.ending)
      if case .stopped = error { return .stopped }
      throw error
    }
  }

  /// Whether the call that is being answered comes from the first processor, on whose thread this is then; a secure context
  /// has no other.
  public var isFirstProcessorsCall: Bool { processors?.caller.map { $0 === control } ?? true }

  /// How many processors it has.
  public var processorCount: Int { 1 + (processors?.others.count ?? 0) }

  /// Makes the registers of one of its processors those that can be read of the context, until it runs again. Not while it runs.
  /// Those of the first can be changed, too: they are its own when it runs on.
  /// - Parameter number: below `processorCount`; after a run that has failed the context shows the one that it failed on.
  /// - Throws: `ExecError.kvm`.
  public func show(processor number: Int) throws(ExecError) {
    precondition((0..<processorCount).contains(number))
    guard let processors else { return }
    let isInVectors = processors.areInVectors[number]
    guard number == 0 else {
      // What was changed of the first processor's is forgotten.
      processors.taken = nil
      return try show(processors.others[number - 1].vcpu, isInVectors)
    }
    // They are there, and may have been changed.
    guard processors.taken == nil else { return }
    try show(vcpu, isInVectors)
    processors.taken = TakenRegisters(frame: frameWords)
  }

  /// Shows the registers of the first processor amid a run, to whoever has the context's attention (`attend`): it is out of the
  /// guest meanwhile. A secure context shows them by itself.
  public func showingFirstProcessor(_ body: () -> Void) {
    guard processors != nil else { return body() }
    // A call that waits has its arguments there.
    let call = frameWords
    try? capture(vcpu)
    body()
    for (word, value) in call.enumerated() { frame[word] = value }
  }

  private func show(_ vcpu: borrowing VCPU, _ isInVectors: Bool) throws(ExecError) {
    try capture(vcpu)
    if isInVectors { try captureException(vcpu) }
  }

  /// Ends the run: whatever the processors do, they come back.
  /// - Parameter number: of the processor on whose thread this is, which comes back by itself.
  private func finish(_ end: Processors.End, _ shared: Processors, from number: Int) {
    guard shared.finish(end, of: number) else { return }
    // It may wait for something in a call of its own.
    shared.trusted?.context.stop()
    if number != 0 { control.wake { vcpu.requestExit() } }
    for processor in shared.others { processor.control.requestStop { processor.vcpu.requestExit() } }
  }

  private func run(_ vcpu: borrowing VCPU, _ number: Int, _ control: RunControl, _ shared: Processors) {
    do throws(ExecError) {
      if number == 0 {
        // Others may be in the monitor already.
        shared.monitor.acquire()
        defer { shared.monitor.release() }
        shared.caller = control
        try checkStops()
      } else {
        vcpu.clearExitRequest()
      }
      while !shared.hasEnded { try step(vcpu, number, control, shared) }
    } catch { finish(.error(error), shared, from: number) }
    vcpu.leave()
    // What made it come back is done with.
    vcpu.clearExitRequest()
  }

  /// Enters the guest once and deals with what it left for.
  @inline(__always)
  private func step(_ vcpu: borrowing VCPU, _ number: Int, _ control: RunControl, _ shared: Processors)
    throws(ExecError)
  {
    let exit: Exit
    do { exit = try vcpu.enter() } catch {
      // What it leaves in the frame must not come between a call of another processor's and its answer.
      shared.monitor.acquire()
      defer { shared.monitor.release() }
      throw failure(error, vcpu)
    }
    try serve(exit, vcpu, number, control, shared)
  }

  /// Deals with what the guest left for.
  @inline(__always)
  func serve(
    _ exit: Exit, _ vcpu: borrowing VCPU, _ number: Int, _ control: RunControl, _ shared: Processors
  ) throws(ExecError) {
    switch exit {
    case .hypercall, .sbi:
      shared.monitor.acquire()
      defer { shared.monitor.release() }
      shared.caller = control
      do throws(ExecError) { try answer(exit, vcpu, number, shared) } catch {
        try repeatCall(exit, vcpu, after: error)
        throw error
      }
      if let exitStatus { finish(.outcome(.exited(status: exitStatus)), shared, from: number) }
    case .mmio(let address, let length, isWrite: true, let value)
    where shared.bus.store(address, length: length, value: value): break
    case .mmio(let address, let length, isWrite: false, _):
      guard let value = shared.bus.load(address, length: length) else { throw describe(exit, vcpu, shared) }
      vcpu.completeLoad(value)
    case .interrupted:
      vcpu.clearExitRequest()
      if number > 0 { return }
      shared.monitor.acquire()
      defer { shared.monitor.release() }
      shared.caller = control
      try checkStops()
    case .systemEvent(1): finish(.outcome(.shutdown), shared, from: number)
    case .systemEvent(2): finish(.outcome(.reset), shared, from: number)
    default: throw describe(exit, vcpu, shared)
    }
  }

  /// Answers a call, with the monitor's lock held.
  @inline(__always)
  private func answer(_ exit: Exit, _ vcpu: borrowing VCPU, _ number: Int, _ shared: Processors) throws(ExecError) {
    switch exit {
    case .hypercall(let function): try answerHypercall(function, vcpu, number, shared)
    case .sbi(extension: UInt64(APPLET_SBI_EXTENSION), let function):
      try answerCall(function, vcpu, number, shared)
    case .sbi(let id, let function): try answerSBI(id, function, vcpu, number)
    default: break
    }
  }

  /// arm64: the arguments are in registers that cost 1,500 instructions each; no more of them are moved than the call has.
  private func answerHypercall(_ function: UInt64, _ vcpu: borrowing VCPU, _ processor: Int, _ shared: Processors)
    throws(ExecError)
  {
    // The SMC calling convention's function ids have 32 bits.
    let number = function & 0xffff_ffff
    if number == APPLET_CALL_BY_BLOCK, let block = shared.blocks[processor] {
      return try answerBlock(block, notSupported: .max)
    }
    guard number != APPLET_CALL_EXCEPTION else { throw exception(vcpu, processor) }
    frame[0] = number
    let count = handler == nil ? Self.argumentCount(of: number) : 3
    for argument in 0..<count { frame[1 + argument] = try register(ARM64.x(1 + argument), vcpu) }
    if number == APPLET_CALL_BLOCK {
      frame[0] = UInt64(bitPattern: nameBlock(at: frame[1], processor, shared))
    } else if try !handleCall() {
      frame[0] = .max
    }
    guard frame[0] != number else { return }
    do { try vcpu.setRegister(ARM64.x(0), frame[0]) } catch { throw .kvm(error) }
  }

  /// riscv64: arguments and results are in the run page.
  private func answerCall(_ number: UInt64, _ vcpu: borrowing VCPU, _ processor: Int, _ shared: Processors)
    throws(ExecError)
  {
    let first = architecture.callRegister
    frame[first] = number
    for argument in 0..<3 { frame[first + 1 + argument] = vcpu.sbiArgument(argument) }
    if number == APPLET_CALL_BY_BLOCK, let block = shared.blocks[processor] {
      try answerBlock(block, notSupported: .max - 1)
    } else if number == APPLET_CALL_BLOCK {
      frame[first] = UInt64(bitPattern: nameBlock(at: frame[first + 1], processor, shared))
    } else if try !handleCall() {
      return
    }
    vcpu.completeSBI(error: 0, value: frame[first])
  }

  /// Takes a block of the guest's memory for a processor's calls.
  /// - Returns: 0, or -EINVAL where it cannot be one.
  private func nameBlock(at address: UInt64, _ processor: Int, _ shared: Processors) -> Int64 {
    let size = UInt64(MemoryLayout<applet_block>.size)
    guard address % size == 0, address >= memory.slot.lowerBound, address < memory.slot.upperBound,
      let range = GuestRange(start: address, count: size), (try? memory.check(range, for: .write)) != nil
    else { return -Int64(EINVAL) }
    // Blocks are aligned to their size, and so never cross the slot's end.
    shared.blocks[processor] = memory.bytes(at: address, count: Int(size)).baseAddress?
      .bindMemory(to: UInt64.self, capacity: Int(size) / 8)
    return 0
  }

  /// Makes the call that is in a block.
  private func answerBlock(_ block: UnsafeMutablePointer<UInt64>, notSupported: UInt64) throws(ExecError) {
    let first = architecture.callRegister
    for word in 0..<4 { frame[first + word] = block[word] }
    block[0] = try handleCall() ? frame[first] : notSupported
  }

  /// Lets the program make the call again that a stop or a limit has interrupted, when the context is run on.
  private func repeatCall(_ exit: Exit, _ vcpu: borrowing VCPU, after error: ExecError) throws(ExecError) {
    switch error {
    case .stopped, .limit: break
    default: return
    }
    do throws(KVMError) {
      if case .sbi = exit { try passCall(vcpu) }
      try goBackToCall(vcpu)
    } catch { throw .kvm(error) }
  }

  /// riscv64: completes an SBI call with what it was called with, so that PC alone has changed, which is behind it. The vCPU's
  /// next entry comes back at once: `checkStops` is to follow.
  func passCall(_ vcpu: borrowing VCPU) throws(KVMError) {
    vcpu.completeSBI(error: Int64(bitPattern: vcpu.sbiArgument(0)), value: vcpu.sbiArgument(1))
    vcpu.requestExit()
    _ = try vcpu.enter()
  }

  /// Lets a program whose PC is behind a call make it again.
  func goBackToCall(_ vcpu: borrowing VCPU) throws(KVMError) {
    let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
    // HVC and ECALL have four bytes.
    try vcpu.setRegister(pc, try vcpu.register(pc) &- 4)
  }

  /// Lets the handler answer the call that is in the frame.
  /// - Returns: false where there is no such call.
  private func handleCall() throws(ExecError) -> Bool {
    calls &+= 1
    do throws(ExecError) {
      if let handler { try handler(self) } else { try nonSecureHandler(self) }
    } catch {
      if case .unknownCall = error { return false }
      throw error
    }
    return true
  }

  /// Lets the other processors into the monitor while a call of this one waits there.
  func waiting(_ body: (RunControl) throws(Errno) -> Bool) throws(Errno) -> Bool {
    guard let processors, let caller = processors.caller else { return try body(control) }
    return try lettingOthersIn(processors, caller) { () throws(Errno) in try body(caller) }
  }

  /// Does something for a call without the monitor's lock. The call stands in the frame again behind it.
  func lettingOthersIn<Result, Failure: Error>(
    _ processors: Processors, _ caller: RunControl, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let first = architecture.callRegister
    let saved = (frame[first], frame[first + 1], frame[first + 2], frame[first + 3])
    processors.monitor.release()
    defer {
      processors.monitor.acquire()
      processors.caller = caller
      (frame[first], frame[first + 1], frame[first + 2], frame[first + 3]) = saved
    }
    return try body()
  }

  // MARK: What went wrong

  private func register(_ id: UInt64, _ vcpu: borrowing VCPU) throws(ExecError) -> UInt64 {
    do { return try vcpu.register(id) } catch { throw .kvm(error) }
  }

  /// Brings the registers of a processor into the frame, where what is told of the context finds them.
  func capture(_ vcpu: borrowing VCPU) throws(ExecError) {
    for (word, id) in architecture.systemRegisters { frame[word] = try register(id, vcpu) }
  }

  /// What an exception was that came to the monitor's own vectors.
  func exception(_ vcpu: borrowing VCPU, _ number: Int) -> ExecError {
    processors?.areInVectors[number] = true
    do throws(ExecError) { try capture(vcpu) } catch { return error }
    return capturedException(vcpu)
  }

  /// The same, with the registers in the frame already.
  func capturedException(_ vcpu: borrowing VCPU) -> ExecError {
    do throws(ExecError) { try captureException(vcpu) } catch { return error }
    return describe(architecture.systemFault(cause: frame[Int(APPLET_FRAME_CAUSE)]))
  }

  /// Replaces what the monitor's vectors have changed by what the exception came of.
  private func captureException(_ vcpu: borrowing VCPU) throws(ExecError) {
    let ids = architecture.exceptionRegisters
    frame[architecture.vectorRegister] = try register(ids.saved, vcpu)
    frame[Int(APPLET_FRAME_PC)] = try register(ids.pc, vcpu)
    frame[Int(APPLET_FRAME_CAUSE)] = try register(ids.cause, vcpu)
    frame[Int(APPLET_FRAME_ADDRESS)] = try register(ids.address, vcpu)
  }

  /// An exit that nothing answers.
  private func describe(_ exit: Exit, _ vcpu: borrowing VCPU, _ shared: Processors) -> ExecError {
    shared.monitor.acquire()
    defer { shared.monitor.release() }
    do throws(ExecError) {
      try capture(vcpu)
      // Memory that the program may not write, or not access at all (`fitSlots`).
      if case .mmio(let address, _, let isWrite, _) = exit,
        memory.regions.contains(where: { $0.range.contains(address) })
      {
        return .fault(isWrite ? .write : .read, pc: pc, address: address)
      }
      return .unexpectedExit(exit)
    } catch { return error }
  }

  /// A failure of KVM_RUN. On riscv64 one is a jump to where no memory is, which on arm64 is the guest's own exception.
  func failure(_ failure: KVMError, _ vcpu: borrowing VCPU) -> ExecError {
    do throws(ExecError) {
      try capture(vcpu)
      let isMemory = memory.regions.contains { $0.range.contains(pc) } || memory.slot.contains(pc)
      if case .failed(.run, .notSupported) = failure, !isMemory { return .fault(.execute, pc: pc, address: pc) }
      return .kvm(failure)
    } catch { return error }
  }
}
