import AppletABI
import CLinux
import Machine
import Platform

/// A guest during one entry: its script's effect on trap frame, memory and run page, as from CPU, shim and kernel. Each
/// exit returns the result of KVM_RUN.
public struct Guest {
  public let cpu: ScriptedKernel.VCPU
  public let run: UnsafeMutablePointer<kvm_run>
  public let architecture: Architecture

  init(_ cpu: ScriptedKernel.VCPU, run: UnsafeMutablePointer<kvm_run>, architecture: Architecture) {
    self.cpu = cpu
    self.run = run
    self.architecture = architecture
  }

  /// Number of this entry into the vCPU, from 0.
  public var entry: Int { cpu.entries - 1 }

  /// The trap frame, located as by the CPU: SP_EL1, or tp.
  public var frame: UnsafeMutablePointer<UInt64> {
    let address = cpu.register(architecture == .arm64 ? 0x6030_0000_0010_0044 : 0x8030_0000_0200_0004)
    return bytes(at: address, count: Int(APPLET_FRAME_WORDS) * 8).baseAddress!.assumingMemoryBound(to: UInt64.self)
  }

  /// Guest memory in the VM's slots; ends the test program if there is none.
  public func bytes(at address: UInt64, count: Int) -> UnsafeMutableRawBufferPointer {
    for slot in cpu.machine.slots.values
    where address >= slot.address && address + UInt64(count) <= slot.address + slot.size {
      return UnsafeMutableRawBufferPointer(
        start: UnsafeMutableRawPointer(bitPattern: UInt(slot.host + address - slot.address)), count: count)
    }
    fatalError("the script uses guest memory at 0x\(String(address, radix: 16)), where no slot is")
  }

  /// Writes bytes to guest memory.
  public func store(_ data: some Collection<UInt8>, at address: UInt64) {
    bytes(at: address, count: data.count).copyBytes(from: data)
  }

  /// The program counter in the frame, and the result of the last call.
  public var pc: UInt64 { frame[Int(APPLET_FRAME_PC)] }
  public var result: UInt64 { frame[architecture.callRegister] }

  // MARK: Exits

  /// The applet makes a call: an `svc` or `ecall` at PC.
  public func call(_ number: some BinaryInteger, _ arguments: UInt64...) -> Int {
    frame[architecture.callRegister] = UInt64(truncatingIfNeeded: number)
    for (index, argument) in arguments.enumerated() { frame[architecture.callRegister + 1 + index] = argument }
    // After an svc, ELR is past it; after an ecall, sepc is its address.
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

  /// The shim leaves the guest, with the instruction in its page.
  public func leave() -> Int {
    guard architecture == .arm64 else { return sbi(0x0800_0000, 0) }
    let vectors = cpu.register(0x6030_0000_0013_c600)
    let instruction = bytes(at: vectors + UInt64(ARM64.shimCall), count: 4).loadUnaligned(as: UInt32.self)
    switch instruction {
    case 0xd400_0002: return hypercall(1)
    case 0xb900_0040: return mmio(frame[Int(APPLET_FRAME_DOORBELL)], isWrite: true, [1, 0, 0, 0])
    default: fatalError("the shim leaves by no instruction that this kernel knows")
    }
  }

  /// The shim's handling of an exception, if the vCPU is at its beginning: it saves the CPU's registers, not the
  /// script's, and leaves the guest.
  /// - Returns: the result of KVM_RUN; nil if the vCPU is elsewhere.
  func storeRegisters() -> Int? {
    let ids = architecture.facts.exception
    let isARM = architecture == .arm64
    let vectors = cpu.register(isARM ? ARM64.vbarEL1 : RISCV64.stvec)
    // A vCPU whose registers were not set has no shim.
    let entry = vectors + (isARM ? 0x400 : 0)
    guard vectors != 0, cpu.register(architecture.facts.programCounter) == entry else { return nil }
    for number in architecture.facts.generalRegisters where isARM || number != 4 {
      frame[number] = cpu.register(isARM ? ARM64.x(number) : RISCV64.x(number))
    }
    frame[Int(APPLET_FRAME_STATUS)] = cpu.register(isARM ? ARM64.spsrEL1 : RISCV64.sstatus)
    cpu.setRegister(
      architecture.facts.programCounter, vectors + UInt64(isARM ? ARM64.shimResume : RISCV64.shimResume))
    return trap(cause: cpu.register(ids.cause), pc: cpu.register(ids.pc))
  }

  /// arm64: an HVC with a function identifier that the VM's filter forwards. Others are answered by the kernel, which
  /// no script here expects.
  public func hypercall(_ function: UInt64) -> Int {
    precondition(cpu.machine.forwarded.contains { $0.contains(function) }, "a hypercall that is not forwarded")
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

  /// A load or store outside of memory that KVM does not emulate: it leaves the guest, or KVM_RUN fails, as the machine is.
  public func unemulatedAccess(_ address: UInt64, isWrite: Bool, isMisaligned: Bool = false) -> Int {
    guard architecture == .arm64 else { return isMisaligned ? -Int(EIO) : -Int(EOPNOTSUPP) }
    guard cpu.machine.forwardsAccesses else { return -Int(ENOSYS) }
    return exit(LINUX_KVM_EXIT_ARM_NISV.rawValue) { run in
      run.arm_nisv.fault_ipa = address
      // A translation fault at level 1.
      run.arm_nisv.esr_iss = 5 | (isWrite ? 1 << 6 : 0)
    }
  }

  /// A program in system mode makes a call: by HVC with its arguments in registers, or by SBI with Swiftlet's extension
  /// ID.
  public func systemCall(_ number: some BinaryInteger, _ arguments: UInt64...) -> Int {
    switch architecture {
    case .arm64, .aarch32:
      cpu.setRegister(ARM64.x(0), UInt64(truncatingIfNeeded: number))
      for (index, argument) in arguments.enumerated() { cpu.setRegister(ARM64.x(1 + index), argument) }
      return hypercall(UInt64(truncatingIfNeeded: number))
    case .riscv64: return sbi(0x0800_0000, UInt(truncatingIfNeeded: number), arguments)
    }
  }

  /// The result of the last call of such a program: x0; a1, or the error in a0 if there was one.
  public var systemResult: Int64 {
    switch architecture {
    case .arm64, .aarch32: return Int64(bitPattern: cpu.register(ARM64.x(0)))
    case .riscv64:
      let (error, value) = sbiResult
      return error == 0 ? Int64(bitPattern: value) : error
    }
  }

  /// riscv64: a0 and a1 after an ECALL.
  public var sbiResult: (error: Int64, value: UInt64) {
    (Int64(Int(bitPattern: run.pointee.riscv_sbi.ret.0)), UInt64(run.pointee.riscv_sbi.ret.1))
  }

  /// riscv64: an ECALL that the kernel forwards; its results are NOT_SUPPORTED until they are set.
  public func sbi(_ number: UInt, _ function: UInt, _ arguments: [UInt64]) -> Int {
    exit(LINUX_KVM_EXIT_RISCV_SBI.rawValue) { run in
      run.riscv_sbi.extension_id = number
      run.riscv_sbi.function_id = function
      run.riscv_sbi.ret = (UInt(bitPattern: -2), 0)
      withUnsafeMutableBytes(of: &run.riscv_sbi.args) { buffer in
        for (index, argument) in arguments.enumerated() {
          buffer.storeBytes(of: argument, toByteOffset: index * 8, as: UInt64.self)
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

  /// The guest loops until it is kicked; after 20 seconds the entry fails with an errno that is not used otherwise.
  /// - Parameter pc: the program counter then.
  public func spin(pc: UInt64? = nil) -> Int {
    if let pc { cpu.setRegister(architecture == .arm64 ? 0x6030_0000_0010_0040 : 0x8030_0000_0200_0000, pc) }
    let end = Clock.monotonic + 20_000_000_000
    while linux_immediate_exit(run) == 0 {
      if Clock.monotonic > end { return -Int(ETIME) }
      usleep(200)
    }
    return -Int(EINTR)
  }
}

extension ScriptedKernel {
  /// Each vCPU executes one step in each entry; an entry after the last step fails with ENODATA.
  public func script(_ steps: [(Guest) -> Int]) {
    program = { guest in guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA) }
  }
}
