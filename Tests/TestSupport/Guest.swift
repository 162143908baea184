import AppletABI
import CLinux
import Machine
import Platform

/// A guest at one entry: what its script does to the trap frame, to memory and to the run page, as processor, shim and kernel
/// would. Each exit answers what KVM_RUN answers.
public struct Guest {
  public let processor: ScriptedKernel.Processor
  public let run: UnsafeMutablePointer<kvm_run>
  public let architecture: Architecture

  init(_ processor: ScriptedKernel.Processor, run: UnsafeMutablePointer<kvm_run>, architecture: Architecture) {
    self.processor = processor
    self.run = run
    self.architecture = architecture
  }

  /// Number of this entry into the vCPU, from 0.
  public var entry: Int { processor.entries - 1 }

  /// The trap frame, found as the processor finds it: by SP_EL1, or by tp.
  public var frame: UnsafeMutablePointer<UInt64> {
    let address = processor.register(architecture == .arm64 ? 0x6030_0000_0010_0044 : 0x8030_0000_0200_0004)
    return bytes(at: address, count: Int(APPLET_FRAME_WORDS) * 8).baseAddress!.assumingMemoryBound(to: UInt64.self)
  }

  /// Guest memory behind the machine's slots; ends the test program where there is none.
  public func bytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    for slot in processor.machine.slots.values
    where address >= slot.address && address + UInt64(count) <= slot.address + slot.size {
      return UnsafeMutableRawBufferPointer(
        start: UnsafeMutableRawPointer(bitPattern: UInt(slot.host + address - slot.address)), count: count)
    }
    fatalError("the script uses guest memory at 0x\(String(address, radix: 16)), where no slot is")
  }

  /// Puts bytes into guest memory.
  public func store(_ data: some Collection<UInt8>, at address: UInt64) {
    bytes(at: address, count: data.count).copyBytes(from: data)
  }

  /// The program counter in the frame, and the result of the last call.
  public var pc: UInt64 { frame[Int(APPLET_FRAME_PC)] }
  public var result: UInt64 { frame[architecture.callRegister] }

  // MARK: Exits

  /// The applet calls the monitor from where it is: an `svc` or `ecall` at PC.
  public func call(_ number: some BinaryInteger, _ arguments: UInt64...) -> Int {
    frame[architecture.callRegister] = UInt64(truncatingIfNeeded: number)
    for (index, argument) in arguments.enumerated() { frame[architecture.callRegister + 1 + index] = argument }
    // An svc leaves ELR behind it; an ecall leaves sepc at itself.
    if architecture == .arm64 { frame[Int(APPLET_FRAME_PC)] &+= 4 }
    return trap(cause: architecture == .arm64 ? 0x5600_0000 : 8)
  }

  /// The applet raises an exception.
  public func trap(cause: UInt64, address: UInt64 = 0, pc: UInt64? = nil) -> Int {
    frame[Int(APPLET_FRAME_CAUSE)] = cause
    frame[Int(APPLET_FRAME_ADDRESS)] = address
    if let pc { frame[Int(APPLET_FRAME_PC)] = pc }
    return leave()
  }

  /// The shim leaves the guest, by the instruction that stands in its page.
  public func leave() -> Int {
    guard architecture == .arm64 else { return sbi(0x0800_0000, 0) }
    let vectors = processor.register(0x6030_0000_0013_c600)
    let instruction = bytes(at: vectors + UInt64(ARM64.shimLeave) * 4, count: 4).loadUnaligned(as: UInt32.self)
    switch instruction {
    case 0xd400_0002: return hypercall(1)
    case 0xb900_0040: return mmio(frame[Int(APPLET_FRAME_DOORBELL)], isWrite: true, [1, 0, 0, 0])
    default: fatalError("the shim leaves by no instruction that this kernel knows")
    }
  }

  /// The shim's work behind an exception, where the vCPU stands at its beginning: it stores the processor's registers, not the
  /// script's, and leaves.
  /// - Returns: what KVM_RUN answers; nil where the vCPU stands elsewhere.
  func storeRegisters() -> Int? {
    let ids = architecture.exceptionRegisters
    let isARM = architecture == .arm64
    let vectors = processor.register(isARM ? ARM64.vbarEL1 : RISCV64.stvec)
    // A vCPU whose registers nobody has set has no shim.
    let entry = vectors + (isARM ? 0x400 : 0)
    guard vectors != 0, processor.register(architecture.programCounter) == entry else { return nil }
    for number in architecture.generalRegisters where isARM || number != 4 {
      frame[number] = processor.register(isARM ? ARM64.x(number) : RISCV64.x(number))
    }
    frame[Int(APPLET_FRAME_STATUS)] = processor.register(isARM ? ARM64.spsrEL1 : RISCV64.sstatus)
    processor.setRegister(architecture.programCounter, vectors + UInt64(isARM ? ARM64.shimResume : RISCV64.shimResume))
    return trap(cause: processor.register(ids.cause), pc: processor.register(ids.pc))
  }

  /// arm64: HVC with a function id, where the machine's filter forwards it; else the kernel answers it itself, which no script
  /// here means.
  public func hypercall(_ function: UInt64) -> Int {
    precondition(processor.machine.forwarded.contains { $0.contains(function) }, "a hypercall that is not forwarded")
    return exit(LINUX_KVM_EXIT_HYPERCALL.rawValue) { $0.hypercall.nr = function }
  }

  public func sbi(_ number: UInt, _ function: UInt) -> Int {
    exit(LINUX_KVM_EXIT_RISCV_SBI.rawValue) {
      $0.riscv_sbi.extension_id = number
      $0.riscv_sbi.function_id = function
    }
  }

  public func mmio(_ address: UInt64, isWrite: Bool, _ data: [UInt8]) -> Int {
    exit(LINUX_KVM_EXIT_MMIO.rawValue) { run in
      run.mmio.phys_addr = address
      run.mmio.len = UInt32(data.count)
      run.mmio.is_write = isWrite ? 1 : 0
      withUnsafeMutableBytes(of: &run.mmio.data) { $0.copyBytes(from: data.prefix(8)) }
    }
  }

  /// A program in system mode calls: by HVC with its arguments in registers, or by SBI in Swiftlet's extension.
  public func systemCall(_ number: some BinaryInteger, _ arguments: UInt64...) -> Int {
    switch architecture {
    case .arm64:
      processor.setRegister(ARM64.x(0), UInt64(truncatingIfNeeded: number))
      for (index, argument) in arguments.enumerated() { processor.setRegister(ARM64.x(1 + index), argument) }
      return hypercall(UInt64(truncatingIfNeeded: number))
    case .riscv64: return sbi(0x0800_0000, UInt(truncatingIfNeeded: number), arguments)
    }
  }

  /// What the last call of such a program came to: x0; a1, or the error in a0 where there was one.
  public var systemResult: Int64 {
    switch architecture {
    case .arm64: return Int64(bitPattern: processor.register(ARM64.x(0)))
    case .riscv64:
      let (error, value) = sbiResult
      return error == 0 ? Int64(bitPattern: value) : error
    }
  }

  /// riscv64: a0 and a1 behind an ECALL.
  public var sbiResult: (error: Int64, value: UInt64) {
    (Int64(Int(bitPattern: run.pointee.riscv_sbi.ret.0)), UInt64(run.pointee.riscv_sbi.ret.1))
  }

  /// riscv64: an ECALL that the kernel hands on; its results are NOT_SUPPORTED until somebody sets them.
  public func sbi(_ number: UInt, _ function: UInt, _ arguments: [UInt64]) -> Int {
    exit(LINUX_KVM_EXIT_RISCV_SBI.rawValue) { run in
      run.riscv_sbi.extension_id = number
      run.riscv_sbi.function_id = function
      run.riscv_sbi.ret = (UInt(bitPattern: -2), 0)
      withUnsafeMutableBytes(of: &run.riscv_sbi.args) { room in
        for (index, argument) in arguments.enumerated() {
          room.storeBytes(of: argument, toByteOffset: index * 8, as: UInt64.self)
        }
      }
    }
  }

  /// Any exit.
  public func exit(_ reason: UInt32, _ fill: (inout kvm_run) -> Void = { _ in }) -> Int {
    run.pointee.exit_reason = reason
    fill(&run.pointee)
    return 0
  }

  /// The guest spins until it is kicked; after 20 seconds it gives up, with an errno that no kernel answers here.
  /// - Parameter pc: where the processor stands then.
  public func spin(pc: UInt64? = nil) -> Int {
    if let pc { processor.setRegister(architecture == .arm64 ? 0x6030_0000_0010_0040 : 0x8030_0000_0200_0000, pc) }
    let end = Clock.monotonic + 20_000_000_000
    while linux_immediate_exit(run) == 0 {
      if Clock.monotonic > end { return -Int(ETIME) }
      usleep(200)
    }
    return -Int(EINTR)
  }
}

extension ScriptedKernel {
  /// Lets each vCPU do one step at each entry; an entry behind the last step fails with ENODATA.
  public func script(_ steps: [(Guest) -> Int]) {
    program = { guest in guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA) }
  }
}
