import Applet
import AppletABI
import CLinux
import DeviceTree
import JSON
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Wrong uses of the library: a typed error, and no change.
struct MisuseTests {
  private static let place: UInt64 = 0x1_0000_0000

  private func ranges(_ context: ExecCtx) -> [Range<UInt64>] { context.memory.regions.map(\.range) }

  // MARK: Memory

  /// Shim, trap frame and page tables are between stack and heap.
  @Test(arguments: Host.all) func memoryBetweenRegionsCannotBeProtected(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_EXIT_STATUS, 7) }])
    let context = fixture.context
    let layout = context.memory.layout
    let before = ranges(context)
    let tables = Array(context.memory.bytes(at: layout.tables.lowerBound, count: layout.tables.count))
    for range in [
      layout.stack.lowerBound..<layout.heap.upperBound, layout.shim..<layout.frame, 0..<0xffff_ffff_ffff_f000,
      0..<0, 0x1000..<0x1000, layout.heap.lowerBound..<layout.heap.upperBound + 4096,
    ] as [Range<UInt64>] {
      for access in [[], [.read], [.read, .write], [.read, .execute]] as [Access] {
        #expect(throws: RegionError.missing) { try context.protect(range, access) }
      }
    }
    #expect(ranges(context) == before)
    #expect(Array(context.memory.bytes(at: layout.tables.lowerBound, count: layout.tables.count)) == tables)
    #expect(fixture.run() == .success(.exited(status: 7)))
  }

  /// A shim that does not continue is given up.
  @Test(arguments: Host.all) func aShimThatDoesNotReturnIsAnError(host: Host) throws {
    let fixture = try Fixture(host)
    let context = fixture.context
    fixture.kernel.program = { guest in
      // It is interrupted repeatedly while it saves the registers.
      let start = guest.cpu.register(host.architecture == .arm64 ? ARM64.vbarEL1 : RISCV64.stvec)
      return guest.spin(pc: start + (host.architecture == .arm64 ? 0x404 : 4))
    }
    context.deadline = Fixture.deadlineAfterEntry
    #expect(fixture.run() == .failure(.shim))
  }

  @Test func sizesOfMemoryAreChecked() throws {
    let kernel = ScriptedKernel(.arm64)
    let page = linux_page_size()
    for (count, alignment) in [
      (0, 4096), (-page, 4096), (page + 1, 4096), (page, 3), (page, 0), (page, -4096), (.max, 4096), (.min, 4096),
    ] {
      #expect(throws: Errno.self) { try SharedMemory(count: count, alignment: alignment, kernel: kernel) }
    }
    let memory = try SharedMemory(count: page, kernel: kernel)
    #expect(throws: GuestMemoryError.outside) { _ = try GuestMemory(slot: 0..<UInt64(page) * 2, mapping: memory) }
    #expect(throws: GuestMemoryError.outside) {
      var memory = try GuestMemory(slot: 0..<UInt64(page), mapping: memory)
      try memory.addImage([1], at: 0, access: .read)
    }
  }

  @Test(arguments: Host.all) func countsAreWithinTheBuffer(host: Host) throws {
    let fixture = try Fixture(host)
    for count in [-5, .min, .max] {
      #expect(throws: ExecError.self) { try fixture.context.readMemory(at: Fixture.heap, count: count) }
    }
    #expect(try fixture.context.readMemory(at: Fixture.heap, count: 0) == [])
  }

  @Test(arguments: both) func aProgramHasNoAppletLayout(architecture: Architecture) throws {
    let layout = try Program(architecture).context.memory.secureLayout
    #expect(layout == nil)
  }

  // MARK: Options

  @Test(arguments: both) func theNumberOfCPUsIsChecked(architecture: Architecture) throws {
    for (number, isSecure) in [
      (0, false), (-1, false), (.min, false), (9, false), (.max, false), (-1, true), (9, true),
    ] {
      let kernel = ScriptedKernel(architecture)
      kernel.capabilities[LINUX_KVM_CAP_MAX_VCPUS.rawValue] = 8
      kernel.runsApplets = isSecure
      var options = ExecCtx.Options()
      options.cpus = number
      #expect(throws: LoadError.cpus(max: 8)) {
        try ExecCtx(
          image: try Fixture.image(architecture, kernel), secure: isSecure, system: try System(kernel: kernel),
          architecture: architecture, options: options)
      }
      #expect(kernel.leaks == (0, 0))
    }
  }

  @Test(arguments: Host.all) func argumentsWithAZeroByteAreRejected(host: Host) throws {
    #expect(throws: LoadError.argument(1)) { try Fixture(host, arguments: ["a", "b\0c"]) }
    #expect(throws: Errno.noEntry) { _ = try OwnedFD(opening: "/dev/null\0/x", kernel: LinuxKernel()) }
  }

  @Test(arguments: both) func memoryOfAnotherKindIsRejected(architecture: Architecture) throws {
    let kernel = ScriptedKernel(architecture)
    let system = try System(kernel: kernel)
    let page = UInt64(linux_page_size())
    func memory() throws -> GuestMemory {
      try GuestMemory(slot: 0..<page, mapping: try SharedMemory(count: Int(page), kernel: kernel))
    }
    #expect(throws: LoadError.memory) {
      try ExecCtx(entry: 0, memory: try memory(), system: system, architecture: architecture)
    }
    for tree in [0..<2 * page, page..<page * 2, 4..<page, 8..<8, UInt64.max - 8..<UInt64.max] as [Range<UInt64>] {
      #expect(throws: LoadError.memory) {
        try ExecCtx(
          machine: MachineDescription(
            architecture: architecture, kind: .program, memory: [0..<page], cpus: .init(count: 1)),
          memory: try memory(), deviceTree: tree, start: [], system: system)
      }
    }
  }

  // MARK: Registers

  @Test(arguments: Host.all) func missingRegistersAreErrors(host: Host) throws {
    let context = try Fixture(host).context
    for number in [-1, 99, .min, .max] {
      #expect(throws: ExecError.noRegister(number)) { try context.register(number) }
      #expect(throws: ExecError.noRegister(number)) { try context.setRegister(number, 1) }
      #expect(throws: ExecError.noRegister(number)) { try context.floatingPoint(number) }
      #expect(throws: ExecError.noRegister(number)) { try context.setFloatingPoint(number, low: 1) }
      #expect(throws: ExecError.noCPU(number)) { try context.show(cpu: number) }
    }
    #expect(throws: ExecError.noRegister(32)) { try context.floatingPoint(32) }
  }

  /// KVM copies as many bytes as a register's id says.
  @Test(arguments: both) func wideRegistersAreRejectedAs64BitRegisters(architecture: Architecture) throws {
    let machine = try System(kernel: ScriptedKernel(architecture)).makeVirtualMachine()
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    let wide = architecture.floatingPointRegisters[0].id & ~(15 << 52) | 4 << 52
    #expect(throws: KVMError.failed(.getOneRegister, .noEntry)) { try vcpu.register(wide) }
    #expect(throws: KVMError.failed(.setOneRegister, .noEntry)) { try vcpu.setRegister(wide, 1) }
    // No range of function identifiers has 2^32 elements.
    #expect(throws: KVMError.self) { if try !machine.forwardHypercalls(0...UInt32.max) { throw KVMError.version(0) } }
  }

  // MARK: Lockstep

  @Test(arguments: Host.all) func onlyCopiesCanBeShadows(host: Host) throws {
    let fixture = try Fixture(
      host, [{ $0.call(APPLET_CALL_WRITE, Fixture.heap, 8) }, { $0.call(APPLET_CALL_EXIT_STATUS, 7) }])
    let (kernel, context) = (fixture.kernel, fixture.context)
    let system = try KVM.System(kernel: kernel)
    let clone = try context.clone(on: system)
    let smaller = try Fixture.context(host, kernel, memory: 512 << 10)
    func expectRefusal(_ shadows: [ExecCtx], _ error: LockstepError) {
      #expect(throws: error) { try context.setShadows(shadows) }
      #expect(context.shadows.isEmpty)
    }
    expectRefusal([context], .noCopy(0))
    expectRefusal([clone, clone], .noCopy(1))
    expectRefusal([clone, smaller], .noCopy(1))
    // The other has additional memory.
    let memory = try SharedMemory(count: linux_page_size(), kernel: kernel)
    try context.addRegion(at: Self.place, memory, access: [.read, .write])
    expectRefusal([clone], .noCopy(0))
    try context.removeRegion(at: Self.place)
    try clone.protect(Fixture.heap..<Fixture.heap + 4096, [.read])
    expectRefusal([clone], .noCopy(0))
    try clone.protect(Fixture.heap..<Fixture.heap + 4096, [.read, .write])
    expectRefusal([clone], .noCopy(0))
    // In lockstep with another context; the same shadows may be set again.
    let (first, second) = (try context.clone(on: system), try context.clone(on: system))
    let other = try context.clone(on: system)
    try context.setShadows([first, second])
    try context.setShadows([second, first])
    #expect(throws: LockstepError.noCopy(0)) { try other.setShadows([first]) }
    #expect(throws: LockstepError.noCopy(0)) { try other.setShadows([context]) }
    #expect(throws: LockstepError.notFit) { try first.setShadows([other]) }
    // A shadow's memory is only changed together with its primary's.
    #expect(throws: RegionError.shadow) { try first.addRegion(at: Self.place, memory, access: [.read]) }
    #expect(throws: RegionError.shadow) { try first.protect(Fixture.heap..<Fixture.heap + 4096, [.read]) }
    #expect(fixture.run() == .success(.exited(status: 7)))
    try context.setShadows([])
    try first.addRegion(at: Self.place, memory, access: [.read])
  }

  /// An applet on a program's kernel.
  private func applet(_ program: Program) throws -> ExecCtx {
    program.kernel.runsApplets = true
    return try Fixture.context(Host.all.first { $0.architecture == program.architecture }!, program.kernel)
  }

  @Test(arguments: both) func aProgramHasNoShadows(architecture: Architecture) throws {
    let program = try Program(architecture)
    let applet = try self.applet(program)
    #expect(throws: LockstepError.notFit) { try program.context.setShadows([]) }
    #expect(throws: LockstepError.noCopy(0)) { try applet.setShadows([program.context]) }
    // A peer cannot be attached to a second program, or be in lockstep.
    try program.context.attach(applet)
    #expect(throws: AttachError.notFit) { try Program(architecture).context.attach(applet) }
    #expect(throws: LockstepError.notFit) { try applet.setShadows([]) }
  }

  /// A failed `attach` has no effect.
  @Test(arguments: both) func aFailedAttachHasNoEffect(architecture: Architecture) throws {
    let program = try Program(architecture)
    let applet = try self.applet(program)
    let memory = try SharedMemory(count: linux_page_size(), kernel: program.kernel)
    try applet.addRegion(at: ExecCtx.sharedAddress, memory, access: [.read])
    let before = ranges(program.context)
    #expect(throws: AttachError.region(isSecure: true, .taken)) { try program.context.attach(applet) }
    #expect(ranges(program.context) == before)
    try applet.removeRegion(at: ExecCtx.sharedAddress)
    try program.context.attach(applet)
  }

  // MARK: Runs and services

  /// A context that is running cannot be run again.
  @Test(arguments: Host.all) func aHandlerCannotRunARunningContext(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(0x50) }, { $0.call(APPLET_CALL_EXIT_STATUS, 7) }])
    let clone = try fixture.context.clone(on: try KVM.System(kernel: fixture.kernel))
    fixture.context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try secureHandler(context) }
      #expect(throws: ExecError.running) { try context.run() }
      #expect(throws: ExecError.running) { try context.exec() }
      #expect(throws: ExecError.running) { try context.schedule() }
      #expect(throws: LockstepError.running) { try context.setShadows([clone]) }
      context.ret(UInt64(0))
    }
    #expect(fixture.run() == .success(.exited(status: 7)))
  }

  @Test func aMethodNameHasTwoParts() throws {
    let server = Server()
    for name in ["NoDot", "", ".", "A.", ".B"] {
      #expect(throws: RPCError.self) {
        try server.register(name) { (text: String) throws(RPCError) -> String in text }
      }
    }
    #expect(throws: RPCError.self) {
      try server.forward("") { (_: String, value: JSONValue) throws(RPCError) -> JSONValue in value }
    }
  }
}
