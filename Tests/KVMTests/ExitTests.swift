import CLinux
import KVM
import Machine
import Platform
import TestSupport
import Testing

/// The result of an entry, decoded from the run page that the kernel fills.
struct ExitTests {
  /// Enters a guest once.
  private func enter(_ architecture: Architecture = .riscv64, _ guest: @escaping (Guest) -> Int) throws -> Exit {
    let kernel = ScriptedKernel(architecture)
    kernel.program = guest
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let memory = try Mapping(anonymous: 4096, kernel: kernel)
    try machine.setMemory(slot: 0, address: 0, memory: memory.bytes)
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    defer { vcpu.leave() }
    return try vcpu.enter()
  }

  @Test func eachReasonIsDecoded() throws {
    #expect(try enter { $0.sbi(0x0800_0000, 3) } == .sbi(extension: 0x0800_0000, function: 3))
    #expect(try enter { $0.exit(3) { $0.hypercall.nr = 0x100 } } == .hypercall(function: 0x100))
    #expect(try enter { $0.exit(10) } == .interrupted)
    #expect(try enter { $0.exit(24) { $0.system_event.type = 2 } } == .systemEvent(type: 2))
    #expect(
      try enter { $0.exit(9) { $0.fail_entry.hardware_entry_failure_reason = 7 } } == .failEntry(reason: 7))
    #expect(try enter { $0.exit(17) { $0.internal.suberror = 1 } } == .internalError(suberror: 1))
    for isWrite in [false, true] {
      #expect(
        try enter { guest in
          guest.exit(28) {
            $0.arm_nisv.esr_iss = isWrite ? 0x45 : 5
            $0.arm_nisv.fault_ipa = 0x4000_0008
          }
        } == .accessWithoutSyndrome(address: 0x4000_0008, isWrite: isWrite))
    }
    for reason: UInt32 in [0, 2, 4, 8, 36, 39, 999, .max] {
      #expect(try enter { $0.exit(reason) } == .unknown(reason: reason))
    }
  }

  @Test func aStoreHasItsBytes() throws {
    let data: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 0x88]
    for (length, value) in [(1, 1), (2, 0x201), (4, 0x0403_0201), (8, 0x8807_0605_0403_0201)] as [(Int, UInt64)] {
      #expect(
        try enter { guest in
          let result = guest.mmio(0x900_0000, isWrite: true, data)
          guest.run.pointee.mmio.len = UInt32(length)
          return result
        } == .mmio(address: 0x900_0000, length: length, isWrite: true, value: value))
    }
    // Only eight bytes exist, even if the length is larger, which no CPU causes.
    #expect(
      try enter { guest in
        let result = guest.mmio(0, isWrite: false, data)
        guest.run.pointee.mmio.len = .max
        return result
      } == .mmio(address: 0, length: 8, isWrite: false, value: 0x8807_0605_0403_0201))
  }

  @Test func interruptionsAreNotErrors() throws {
    #expect(try enter { _ in -Int(EINTR) } == .interrupted)
    #expect(try enter { _ in -Int(EAGAIN) } == .interrupted)
  }

  @Test(arguments: [EFAULT, ENOSYS, EOPNOTSUPP, ENOEXEC, EIO, EBADF])
  func failuresAreErrors(errno: Int32) {
    #expect(throws: KVMError.failed(.run, Errno(errno))) { try enter { _ in -Int(errno) } }
  }

  @Test func anExitRequestEndsEntriesUntilItIsCleared() throws {
    let kernel = ScriptedKernel(.riscv64)
    kernel.program = { $0.exit(24) }
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let memory = try Mapping(anonymous: 4096, kernel: kernel)
    try machine.setMemory(slot: 0, address: 0, memory: memory.bytes)
    let vcpu = try machine.makeVCPU(number: 0, architecture: .riscv64)
    defer { vcpu.leave() }
    vcpu.requestExit()
    var exits = [try vcpu.enter(), try vcpu.enter()]
    vcpu.clearExitRequest()
    exits.append(try vcpu.enter())
    #expect(exits == [.interrupted, .interrupted, .systemEvent(type: 0)])
  }

  @Test func aLoadIsCompletedInTheRunPage() throws {
    let kernel = ScriptedKernel(.riscv64)
    kernel.script([
      { $0.mmio(0x1000, isWrite: false, [0, 0, 0, 0]) },
      { $0.exit(24) { run in run.system_event.type = UInt32(run.mmio.data.0) | UInt32(run.mmio.data.3) << 8 } },
    ])
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let memory = try Mapping(anonymous: 4096, kernel: kernel)
    try machine.setMemory(slot: 0, address: 0, memory: memory.bytes)
    let vcpu = try machine.makeVCPU(number: 0, architecture: .riscv64)
    defer { vcpu.leave() }
    _ = try vcpu.enter()
    vcpu.completeLoad(0xddcc_bbaa)
    let exit = try vcpu.enter()
    #expect(exit == .systemEvent(type: 0xddaa))
  }
}
