import CLinux
import KVM
import Machine
import Platform
import TestSupport
import Testing

/// The kernel's objects, on a scripted kernel that counts resources.
struct ObjectTests {
  private func error(_ body: () throws(KVMError) -> Void) -> KVMError? {
    do throws(KVMError) {
      try body()
      return nil
    } catch { return error }
  }

  private func expect(
    _ expected: KVMError, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws(KVMError) -> Void
  ) {
    let found = error(body)
    #expect(found == expected, sourceLocation: sourceLocation)
  }

  @Test func theDeviceMustHaveVersion12() {
    let kernel = ScriptedKernel(.arm64)
    kernel.hasDevice = false
    expect(.unavailable(.noEntry)) { () throws(KVMError) in _ = try System(kernel: kernel) }
    kernel.hasDevice = true
    kernel.apiVersion = 11
    expect(.version(11)) { () throws(KVMError) in _ = try System(kernel: kernel) }
    #expect(kernel.leaks == (0, 0))
    for errno in [EACCES, EPERM, ENXIO, ENODEV, EMFILE] {
      kernel.plan = FaultPlan(call: 0, errno: errno)
      expect(.unavailable(Errno(errno))) { () throws(KVMError) in _ = try System(kernel: kernel) }
    }
    kernel.plan = FaultPlan(call: 1, errno: EINVAL)
    expect(.failed(.getAPIVersion, .invalid)) { () throws(KVMError) in _ = try System(kernel: kernel) }
    #expect(kernel.leaks == (0, 0))
  }

  @Test func capabilitiesAreCheckedByNumber() throws {
    let kernel = ScriptedKernel(.arm64)
    kernel.capabilities = [3: 7, 136: 0, 165: 44]
    let system = try System(kernel: kernel)
    let answers = [system.check(.userMemory), system.check(.immediateExit), system.check(.addressBits)]
    #expect(answers == [7, 0, 44])
    // An error counts as a missing capability.
    kernel.plan = FaultPlan(call: 0, errno: EINVAL)
    let refused = system.check(.userMemory)
    #expect(refused == 0)
  }

  @Test func memorySlotsAreSetReplacedAndRemoved() throws {
    let kernel = ScriptedKernel(.riscv64)
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let memory = try Mapping(anonymous: 3 * 4096, kernel: kernel)
    try machine.setMemory(slot: 1, address: 0x8000_0000, memory: memory.bytes, isReadOnly: true)
    expect(.failed(.setUserMemoryRegion, Errno(EEXIST))) { () throws(KVMError) in
      try machine.setMemory(slot: 2, address: 0x8000_2000, memory: memory.bytes)
    }
    expect(.failed(.setUserMemoryRegion, .invalid)) { () throws(KVMError) in
      try machine.setMemory(slot: 2, address: 0x9000_0001, memory: memory.bytes)
    }
    let vcpu = try machine.makeVCPU(number: 0, architecture: .riscv64)
    let slot = try #require(kernel.cpus[0].machine.slots[1])
    #expect(slot.address == 0x8000_0000 && slot.size == 3 * 4096)
    #expect(slot.flags == 2)  // KVM_MEM_READONLY
    try machine.removeMemory(slot: 1)
    #expect(kernel.cpus[0].machine.slots.isEmpty)
    expect(.failed(.setUserMemoryRegion, .invalid)) { () throws(KVMError) in try machine.removeMemory(slot: 1) }
    vcpu.leave()
    #expect(kernel.violations == [])
  }

  @Test func theFilterIsUsedIfTheKernelHasIt() throws {
    let kernel = ScriptedKernel(.arm64)
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let hasFilter = try machine.forwardHypercalls(0...5)
    #expect(hasFilter)
    // An error of a kernel with the filter is reported.
    expect(.failed(.setDeviceAttribute, Errno(EEXIST))) { () throws(KVMError) in
      _ = try machine.forwardHypercalls(5...6)
    }
    _ = try machine.forwardHypercalls(6...6)
    // The error of Linux 6.1, and those of kernels with other attributes.
    for errno in [EINVAL, ENXIO, ENOTTY, ENODEV] {
      kernel.plan = FaultPlan(call: 0, errno: errno)
      let hasFilter = try machine.forwardHypercalls(7...7)
      #expect(!hasFilter)
    }
  }

  @Test(arguments: [32, 36, 39, 40, 48]) func vmsFitHostsWithNarrowAddresses(bits: Int) throws {
    let kernel = ScriptedKernel(.arm64)
    kernel.capabilities[LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue] = bits
    let system = try System(kernel: kernel)
    _ = try system.makeVirtualMachine()
    _ = try system.makeVirtualMachine(addressBits: 38)
  }

  @Test func otherCPUsOfArm64StartPoweredOff() throws {
    let kernel = ScriptedKernel(.arm64)
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let first = try machine.makeVCPU(number: 0, architecture: .arm64)
    let second = try machine.makeVCPU(number: 1, architecture: .arm64)
    #expect(kernel.cpus.map(\.features) == [0b100, 0b101])
    first.leave()
    second.leave()
  }

  @Test func registersAreAccessedByIdAndSize() throws {
    let kernel = ScriptedKernel(.arm64)
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    let vcpu = try machine.makeVCPU(number: 0, architecture: .arm64)
    try vcpu.setRegister(ARM64.pc, 0x1234_5678_9abc_def0)
    #expect(kernel.cpus[0].register(0x6030_0000_0010_0040) == 0x1234_5678_9abc_def0)
    let counter = try vcpu.register(ARM64.pc)
    #expect(counter == 0x1234_5678_9abc_def0)
    kernel.cpus[0].registers[ARM64.q(3)] = Array(1...16)
    kernel.cpus[0].registers[ARM64.fpcr] = [1, 2, 3, 4]
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 16)
    defer { bytes.deallocate() }
    try vcpu.readRegister(ARM64.q(3), into: bytes)
    #expect(bytes.elementsEqual(1...16))
    bytes.initializeMemory(as: UInt8.self, repeating: 0xff)
    try vcpu.readRegister(ARM64.fpcr, into: bytes)
    #expect(bytes.elementsEqual([1, 2, 3, 4] + [UInt8](repeating: 0xff, count: 12)))
    expect(.failed(.setOneRegister, .noEntry)) { () throws(KVMError) in try vcpu.setRegister(RISCV64.pc, 0) }
    expect(.failed(.getOneRegister, .noEntry)) { () throws(KVMError) in _ = try vcpu.register(RISCV64.pc) }
  }

  @Test func aRunPageThatIsTooSmallIsRejected() throws {
    let kernel = ScriptedKernel(.riscv64)
    kernel.runPageSize = 1024
    let system = try System(kernel: kernel)
    let machine = try system.makeVirtualMachine()
    expect(.failed(.getVCPUMapSize, .invalid)) { () throws(KVMError) in
      _ = try machine.makeVCPU(number: 0, architecture: .riscv64)
    }
    #expect(kernel.leaks == (2, 0))
  }

  @Test(arguments: [Architecture.arm64, .riscv64])
  func failedCallsAreNamedAndReleaseEverything(architecture: Architecture) {
    let kernel = ScriptedKernel(architecture)
    var names: [String] = []
    for number in 0..<20 {
      kernel.plan = FaultPlan(call: number, errno: EIO)
      let failure = error { () throws(KVMError) in
        let system = try System(kernel: kernel)
        let machine = try system.makeVirtualMachine()
        let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
        try vcpu.setRegister(architecture == .arm64 ? ARM64.pc : RISCV64.pc, 0)
      }
      #expect(kernel.leaks == (0, 0), "call \(number)")
      switch failure {
      case .failed(let call, let errno):
        #expect(errno.code == EIO)
        names.append(call.name.description)
      case .unavailable: names.append("open")
      case .version: Issue.record("a version from a failure")
      case nil: #expect(kernel.plan?.failed == nil)
      }
    }
    let initialization = architecture == .arm64 ? ["KVM_ARM_PREFERRED_TARGET", "KVM_ARM_VCPU_INIT"] : []
    #expect(
      names == ["open", "KVM_GET_API_VERSION", "KVM_CREATE_VM", "KVM_GET_VCPU_MMAP_SIZE", "KVM_CREATE_VCPU"]
        + initialization + ["mmap of the vCPU's run page", "KVM_SET_ONE_REG"])
    #expect(kernel.violations == [])
  }

  @Test func errorsAreOneLineWithARemedy() {
    for error in [
      .unavailable(.noEntry), .unavailable(.accessDenied), .unavailable(.notPermitted), .unavailable(.noDevice),
      .version(11), .failed(.createVM, .noMemory), .failed(.run, .notSupported),
    ] as [KVMError] {
      #expect(!error.description.contains("\n") && error.description.utf8.count > 20)
    }
    #expect(KVMError.failed(.run, .invalid).description == "KVM_RUN failed: Invalid argument")
  }
}
