import AppletABI
import Applet
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// The initial state of a secure context's vCPU and memory, and the release of resources if its creation fails.
struct ConstructionTests {
  /// A register of the context's vCPU.
  private func register(_ fixture: Fixture, _ id: UInt64) -> UInt64 { fixture.kernel.cpus[0].register(id) }

  /// Guest physical memory in its only slot; nil if there is none.
  private func word(_ slot: ScriptedKernel.Slot, _ address: UInt64) -> UInt64? {
    guard address >= slot.address, address + 8 <= slot.address + slot.size else { return nil }
    return UnsafeRawPointer(bitPattern: UInt(slot.host + address - slot.address))?.load(as: UInt64.self)
  }

  @Test(arguments: Host.all) func aVCPUStartsInTheShimWithTheFramesRegisters(host: Host) throws {
    let fixture = try Fixture(host)
    let layout = fixture.context.memory.layout
    #expect(layout.slot.lowerBound == Fixture.text && layout.heap.lowerBound == Fixture.heap)
    switch host.architecture {
    case .arm64:
      #expect(register(fixture, ARM64.pc) == layout.shim + 0x800)
      #expect(register(fixture, ARM64.pstate) == 0x3c5)  // EL1h, interrupts masked
      #expect(register(fixture, ARM64.spEL1) == layout.frame)
      #expect(register(fixture, ARM64.vbarEL1) == layout.shim)
      #expect(register(fixture, ARM64.ttbr0EL1) == layout.tables.lowerBound)
      #expect(register(fixture, ARM64.mairEL1) & 0xffff == 0x04ff)
      #expect(register(fixture, ARM64.tcrEL1) & 0x3f == 25)
      #expect(register(fixture, ARM64.sctlrEL1) & 0x1005 == 0x1005)  // I, C, M
      #expect(register(fixture, ARM64.sctlrEL1) >> 16 & 0b101 == 0)  // WFI and WFE of EL0 trap
      #expect(register(fixture, ARM64.cpacrEL1) >> 20 & 3 == 3)
    case .aarch32: Issue.record("no host")
    case .riscv64:
      #expect(register(fixture, RISCV64.stvec) == layout.shim)
      #expect(register(fixture, RISCV64.x(4)) == layout.frame)
      #expect(register(fixture, RISCV64.satp) == 8 << 60 | layout.tables.lowerBound >> 12)
      #expect(register(fixture, RISCV64.sstatus) >> 13 & 3 == 1)
    }
    // The shim's code is in its page, except for the instruction that leaves the guest with the MMIO transport.
    let shim = host.architecture.shim
    for (index, instruction) in shim.enumerated() {
      let there = fixture.context.memory.bytes(at: layout.shim + UInt64(index) * 4, count: 4).load(as: UInt32.self)
      let isDoorbell = host.transport == .mmio && index * 4 == ARM64.shimCall
      guard there == (isDoorbell ? 0xb900_0040 : instruction) else {
        Issue.record("instruction \(index) of the shim is \(there)")
        break
      }
    }
    #expect(fixture.context.pc == 0x8000_0040)
    #expect(try fixture.context.register(host.architecture.facts.stackRegister) == Fixture.end)
    #expect(fixture.context.mode.saved == .user)
    #expect(fixture.context.transport == host.transport)
  }

  @Test(arguments: Host.all, [SecureLayout.Kind.compact, .contiguous])
  func thePageTablesGiveTheAppletItsRegionsAndNothingElse(host: Host, layout: SecureLayout.Kind) throws {
    let fixture = try Fixture(host, layout: layout)
    let memory = fixture.context.memory.layout
    let slot = try #require(fixture.kernel.cpus[0].machine.slots[0])
    #expect(slot.address == memory.slot.lowerBound && slot.size == memory.slot.upperBound - memory.slot.lowerBound)
    #expect(fixture.kernel.cpus[0].machine.slots.count == 1)
    let root =
      host.architecture == .arm64
      ? register(fixture, ARM64.ttbr0EL1) : (register(fixture, RISCV64.satp) & 0xfff_ffff_ffff) << 12
    let walker = TableWalker(host.architecture, root: root) { self.word(slot, $0) }
    var mappings: [UInt64: PageTable.Mapping] = [memory.shim: .init([.read, .execute], isUser: false)]
    mappings[memory.frame] = .init([.read, .write], isUser: false)
    if host.transport == .mmio { mappings[memory.doorbell] = .init([.read, .write], isUser: false, isDevice: true) }
    for region in fixture.context.memory.regions {
      #expect(!region.access.isSuperset(of: [.write, .execute]))
      for page in stride(from: region.range.lowerBound, to: region.range.upperBound, by: 4096) {
        mappings[page] = .init(region.access)
      }
    }
    // Page zero, the guard page, the tables themselves, and addresses outside the memory are unmapped.
    let pages =
      [0, 0x1000, 1 << 37] + Array(stride(from: Fixture.text - 0x20_0000, to: memory.doorbell + 0x20_0000, by: 4096))
    for page in pages {
      let expected = mappings[page].map { Translation(of: page, $0, host.architecture) }
      let found = try walker.translate(page)
      guard found == expected else {
        Issue.record("0x\(String(page, radix: 16)) is \(found as Any), not \(expected as Any)")
        return
      }
      if let found { #expect(found.physical < slot.address + slot.size || found.isDevice) }
    }
    #expect(try walker.translate(layout == .compact ? Fixture.guardPage : memory.stack.upperBound) == nil)
    #expect(try fixture.context.register(host.architecture.facts.stackRegister) == memory.stackPointer)
    #expect(try walker.translate(memory.tables.lowerBound) == nil)
  }

  @Test func callsUseHVCIfTheKernelForwardsIt() throws {
    let kernel = ScriptedKernel(.arm64)
    var options = ExecCtx.Options()
    func context() throws(LoadError) -> ExecCtx {
      let image: AppletImage
      do { image = try arm64Image(kernel) } catch { throw .image(error) }
      let system: System
      do { system = try System(kernel: kernel) } catch { throw .kvm(error) }
      return try ExecCtx(image: image, memorySize: 1 << 20, system: system, architecture: .arm64, options: options)
    }
    #expect(try context().transport == .hvc)
    let all = kernel.cpus[0].machine.forwarded
    #expect(all == [0..<UInt64(APPLET_CALL_LAST) + 1])
    kernel.hasFilter = false
    #expect(try context().transport == .mmio)
    options.transport = .hvc
    #expect(throws: LoadError.kvm(.failed(.setDeviceAttribute, .noSuchDevice))) { try context() }
    kernel.hasFilter = true
    options.transport = .mmio
    #expect(try context().transport == .mmio)
    #expect(kernel.cpus.last?.machine.forwarded.isEmpty == true)
    #expect(kernel.leaks == (0, 0))
  }

  private func arm64Image(_ kernel: ScriptedKernel) throws(ImageError) -> AppletImage {
    let bytes = ELFBuilder.applet(.arm64).bytes()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    let contents: FileContents
    do { contents = try FileContents(copying: UnsafeRawBufferPointer(buffer), kernel: kernel) } catch {
      throw .unreadable(error)
    }
    return try AppletImage(contents, architecture: .arm64)
  }

  @Test(arguments: Host.all) func theEndReleasesEverything(host: Host) throws {
    let kernel = ScriptedKernel(host.architecture)
    do {
      let fixture = try Fixture(host, kernel: kernel, [{ $0.call(APPLET_CALL_EXIT, 0) }])
      #expect(fixture.run() == .success(.exited(status: 0)))
      // The VM and its vCPU; memory, run page, and the file for symbols.
      #expect(kernel.leaks.descriptors == 2)
      #expect(kernel.leaks.mappings == 3)
    }
    #expect(kernel.leaks == (0, 0))
    #expect(kernel.violations == [])
  }

  @Test(arguments: Host.all, [ENOMEM, EPERM, EINVAL, ENXIO, EMFILE, EAGAIN, EIO])
  func failedCallsReleaseEverything(host: Host, errno: Int32) throws {
    let kernel = ScriptedKernel(host.architecture)
    var failures = 0
    for number in 0... {
      let plan = FaultPlan(call: number, errno: errno)
      kernel.plan = plan
      do throws(LoadError) {
        _ = try Fixture.context(host, kernel)
        // Optional, or after the last call.
        if kernel.plan?.failed == nil { break }
        switch kernel.plan?.failed {
        // Calls use the doorbell instead, as before Linux 6.4.
        case .ioctl(LINUX_KVM_SET_DEVICE_ATTR): #expect(errno == EINVAL || errno == ENXIO, "call \(number)")
        // The kernel's default address size is used instead.
        case .ioctl(LINUX_KVM_CREATE_VM): #expect(errno == EINVAL && host.architecture == .arm64)
        default: Issue.record("call \(number)")
        }
      } catch {
        failures += 1
        #expect(kernel.plan?.failed != nil, "\(error.description)")
        switch error {
        case .kvm(.failed(_, let found)), .kvm(.unavailable(let found)), .image(.unreadable(let found)):
          // A request for HVC fails.
          let isFilter = kernel.plan?.failed == .ioctl(LINUX_KVM_SET_DEVICE_ATTR) && errno == EINVAL
          #expect(found.code == (isFilter ? ENXIO : errno), "call \(number)")
        case let other: Issue.record("call \(number): \(other)")
        }
        #expect(!error.description.contains("\n"))
      }
      #expect(kernel.leaks == (0, 0), "call \(number), \(String(describing: kernel.plan?.failed))")
    }
    #expect(failures > (host.architecture == .arm64 ? 18 : 12))
    #expect(kernel.violations == [])
  }

  @Test(arguments: Host.all) func imagesThatDoNotFitAreRejected(host: Host) throws {
    let kernel = ScriptedKernel(host.architecture)
    for size in [0, 4096, 16384] as [UInt64] {
      #expect(throws: LoadError.self) { try Fixture.context(host, kernel, memory: size) }
    }
    for size in [UInt64.max, 1 << 50] {
      #expect(throws: LoadError.image(.layout(.beyondAddressSpace(limit: 1 << 38), memory: size))) {
        try Fixture.context(host, kernel, memory: size)
      }
    }
    #expect(kernel.leaks == (0, 0))
  }
}
